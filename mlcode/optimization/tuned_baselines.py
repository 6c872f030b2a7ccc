"""Hand-made optimizers at their best: every rate is tried, and problems of their own decide."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mlcode.checks import check_choice, check_int, check_positive
from mlcode.optimization.inner_loop import UpdateRule
from mlcode.optimization.learned_optimizer import LearnedOptimizer
from mlcode.optimization.rules import Adam, GradientDescent, Momentum
from mlcode.tasks import Tasks

Makers = Sequence[Callable[[float], UpdateRule]]

RATES = tuple(10 ** (k / 4) for k in range(-12, 5))  # 0.001 to 10, four a decade

BASELINES: dict[str, Makers] = {
    "gradient descent": (GradientDescent,),
    "momentum": tuple(partial(Momentum, momentum=m) for m in (0.5, 0.8, 0.9, 0.95)),
    "Adam": tuple(partial(Adam, betas=(b, 0.999)) for b in (0.5, 0.9)),
}


class Tuned(NamedTuple):
    """The best of a kind of optimizer on validation problems."""

    rule: UpdateRule
    lr: float
    loss: float  # mean over the problems, by the criterion of the sweep
    at_edge: bool  # the best rate was the first or last tried: a wider sweep may find a better one


def tune(
    learner: LearnedOptimizer,
    tasks: Tasks,
    *,
    n_steps: int,
    starts: Float[Tensor, "task coordinate"] | None = None,
    criterion: str = "final",
    baselines: Mapping[str, Makers] = BASELINES,
    rates: Sequence[float] = RATES,
) -> dict[str, Tuned]:
    """Run each baseline at each rate on the same problems and starts, and keep its best.

    What a learned optimizer is compared with: an optimizer whose rate was guessed loses to anything
    that was trained. A rate at which some problem diverges counts as infinitely bad.

    Args:
        learner: Its model and loss are used, its rule is not.
        tasks: Validation problems; others than those on which the best are then compared.
        n_steps: Steps on each problem, as many as in the comparison.
        starts: Where the steps begin, from `learner.starts`. None: all at the model's own weights.
        criterion: "final", the loss after the last step, or "mean", its mean over all steps, which
            is what meta-training lowers.
        baselines: For each name the optimizers of that kind, as functions of a rate; by default
            momentum has four coefficients and Adam two values of β₁ to choose from.
        rates: The rates to try, in increasing order.

    Raises:
        TypeError: If `n_steps` is not an integer or a rate no number.
        ValueError: If `n_steps` is below 1, a rate not positive, `criterion` unknown, there are
            fewer than two rates, or a baseline diverges at every rate.
    """
    check_int("n_steps", n_steps, minimum=1)
    check_choice("criterion", criterion, ("final", "mean"))
    for rate in rates:
        check_positive("a rate", rate)
    if len(rates) < 2:
        raise ValueError(f"a sweep needs at least two rates; got {rates}.")

    def loss(rule: UpdateRule) -> float:
        with torch.no_grad():
            losses = learner.with_rule(rule).trajectories(tasks, n_steps, starts)
        value = float((losses[:, -1] if criterion == "final" else losses[:, 1:]).mean())
        return value if losses.isfinite().all() else float("inf")

    return {name: _best(name, makers, rates, loss) for name, makers in baselines.items()}


def _best(
    name: str, makers: Makers, rates: Sequence[float], loss: Callable[[UpdateRule], float]
) -> Tuned:
    tried = [(loss(rule), rate, rule) for make in makers for rate in rates for rule in [make(rate)]]
    value, rate, rule = min(tried, key=lambda one: one[0])
    if value == float("inf"):
        raise ValueError(f"{name} diverges at every rate from {min(rates)} on; try smaller ones.")
    return Tuned(rule, rate, value, at_edge=rate in (rates[0], rates[-1]))
