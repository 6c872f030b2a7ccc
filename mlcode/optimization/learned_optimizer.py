"""Learned optimizers: learn how to step, from many problems, each begun at a fresh point."""

from collections.abc import Callable
from copy import deepcopy

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_map

from mlcode.checks import check_int, check_support, check_tasks
from mlcode.learner import LossFn, Mapping, MetaLearner
from mlcode.optimization.inner_loop import Parameters, State, UpdateRule, unroll
from mlcode.optimization.learned_rules import LSTMRule
from mlcode.optimization.starts import Starts
from mlcode.tasks import Examples, Tasks

__all__ = ["LearnedOptimizer"]


class LearnedOptimizer(MetaLearner):
    r"""Solve each task by a rule whose steps are learned, instead of the point they start from.

    A task is a problem: minimise the support loss over the weights of `model`. The rule m(·; φ)
    makes the steps, θₜ₊₁ = θₜ + m(∇f(θₜ), state; φ), and meta-training lowers the query loss f
    along the way, the mean of f(θ₁), …, f(θ_T), by a gradient through the steps (Andrychowicz et
    al., 2016, equation 3 with all weights equal). With `mlcode.sources.problems` the queries are
    the support set, so that this is the loss being minimised, as in the paper.

    In training every problem starts at a fresh random point, drawn from torch's global generator
    as dropout draws from it, so that `train` resumes bit for bit. `predict`, and so `evaluate`,
    starts at the weights that `model` has: nothing is random, and the weights are not learned.

    Differs from the paper in one update of φ for each run of T steps; the paper makes one after
    every `truncation` steps. In one task's mean over steps, not a sum, so that the size of the
    loss does not depend on T.

    Args:
        model: What the rule trains: any module. A copy is kept. Parameters with
            `requires_grad=False` are constants.
        rule: An `UpdateRule`. None: a fresh `LSTMRule()`. Several learners may share one, so that
            a rule that was trained on one family of problems is tried on another.
        n_inner_steps: T, the steps on a problem in training; the paper's 100.
        n_test_steps: The same in evaluation. None: as many as in training.
        truncation: Steps after which the gradient through the steps is cut, while the parameters
            and the rule's state go on: memory and the reach of the gradient end there. The paper's
            20. None: it is never cut.
        first_order: Take ∇f(θₜ) as a constant that does not depend on φ, as in the paper, which
            needs no second derivatives. That biases the gradient: on `Quadratics(10)` it led
            `InterpretableRule` to a quarter of the rate found without. With an `LSTMRule` that
            preprocesses, whose slope is 1/g, it is needed: training failed without (measured).
        loss_fn: `loss_fn(prediction, target)`, the mean over examples.
        mapping: See `MetaLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: If `model` is no module or a count no integer.
        ValueError: If a count is below 1 (`n_test_steps`: below 0), the model has no trainable
            parameter, or a batch norm keeps running statistics.
    """

    def __init__(
        self,
        model: nn.Module,
        rule: UpdateRule | None = None,
        *,
        n_inner_steps: int = 100,
        n_test_steps: int | None = None,
        truncation: int | None = 20,
        first_order: bool = True,
        loss_fn: LossFn = F.mse_loss,
        mapping: Mapping = "auto",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(loss_fn=loss_fn, mapping=mapping, chunk_size=chunk_size)
        check_int("n_inner_steps", n_inner_steps, minimum=1)
        n_test_steps = n_inner_steps if n_test_steps is None else n_test_steps
        check_int("n_test_steps", n_test_steps, minimum=0)
        if truncation is not None:
            check_int("truncation", truncation, minimum=1)
        self.start = Starts(model)
        self.model = deepcopy(model).requires_grad_(False)
        self.rule = LSTMRule() if rule is None else rule
        self.n_inner_steps = n_inner_steps
        self.n_test_steps = n_test_steps
        self.truncation = truncation
        self.first_order = first_order

    @property
    def n_way(self) -> int | None:
        """The model's `n_out`, if it says so."""
        return getattr(self.model, "n_out", None)

    def predict(
        self, support: Examples, query_x: Shaped[Tensor, "example *feature"]
    ) -> Shaped[Tensor, "example *target"]:
        """Solve one task from the model's own weights and predict its queries."""
        return functional_call(self.model, self.adapt(support), (query_x,))

    def adapt(
        self,
        support: Examples,
        n_steps: int | None = None,
        start: Float[Tensor, "coordinate"] | None = None,
    ) -> Parameters:
        """The parameters after the steps on one task.

        Args:
            support: The support set of one task.
            n_steps: How many. None: `n_inner_steps` in training mode, else `n_test_steps`.
            start: One of `starts`. None: the model's own weights.
        """
        return self._run(support, n_steps, start, lambda theta: None)[0]

    def trajectory(
        self,
        support: Examples,
        n_steps: int | None = None,
        start: Float[Tensor, "coordinate"] | None = None,
    ) -> Float[Tensor, "step"]:
        """The support loss at the start and after each step on one task, so n_steps + 1 numbers.

        The arguments are those of `adapt`.
        """
        return torch.stack(
            self._run(support, n_steps, start, lambda theta: self._loss(theta, support))[1]
        )

    def trajectories(
        self,
        tasks: Tasks,
        n_steps: int | None = None,
        starts: Float[Tensor, "task coordinate"] | None = None,
    ) -> Float[Tensor, "task step"]:
        """`trajectory` of each task of a batch, each from its own start if `starts` are given."""
        check_tasks(tasks, like=self.start.own, n_way=self.n_way)
        if starts is None:
            starts = self.start.own.expand(tasks.n_tasks, -1)
        return self.map(
            lambda support, start: self.trajectory(support, n_steps, start), tasks.support, starts
        )

    def starts(
        self, n_tasks: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "task coordinate"]:
        """Fresh starting points, one a task, as `mlcode.optimization.starts.Starts` draws them."""
        return self.start.sample(n_tasks, generator=generator)

    def with_rule(self, rule: UpdateRule) -> "LearnedOptimizer":
        """The same problems, model and settings under another rule, hand-made or learned."""
        twin = deepcopy(self)
        twin.rule = rule
        return twin

    def losses(self, tasks: Tasks) -> Float[Tensor, "task"]:
        """In training the mean query loss along each run, else the query loss at its end."""
        if not self.training:
            return super().losses(tasks)
        check_tasks(tasks, like=self.start.own, n_way=self.n_way)
        return self.map(self.mean_loss, *tasks, self.starts(tasks.n_tasks))

    def mean_loss(
        self, support: Examples, query: Examples, start: Float[Tensor, "coordinate"]
    ) -> Float[Tensor, ""]:
        """The mean of the query losses at θ₁, …, θ_T on one task: what meta-training lowers."""
        seen = self._run(support, None, start, lambda theta: self._loss(theta, query))[1]
        return torch.stack(seen[1:]).mean()  # the first is at the start, which no rule can change

    def _run(
        self,
        support: Examples,
        n_steps: int | None,
        start: Tensor | None,
        watch: Callable[[Parameters], Tensor | None],
    ) -> tuple[Parameters, list]:
        """The parameters at the end, and what `watch` says of those at the start and each step."""
        if n_steps is None:
            n_steps = self.n_inner_steps if self.training else self.n_test_steps
        check_int("n_steps", n_steps, minimum=0)
        if n_steps > 0:
            check_support(support, like=self.start.own)
        theta = self.start.named(self.start.own if start is None else start)
        state, seen = self.rule.init(theta), [watch(theta)]
        for step in range(n_steps):
            if step and self.truncation is not None and step % self.truncation == 0:
                theta, state = _cut(theta), _cut(state)
            theta, state = unroll(
                lambda at: self._loss(at, support),
                theta,
                self.rule,
                1,
                first_order=self.first_order,
                state=state,
            )
            seen.append(watch(theta))
        return theta, seen

    def _loss(self, theta: Parameters, examples: Examples) -> Float[Tensor, ""]:
        return self.loss(functional_call(self.model, theta, (examples.x,)), examples.y)

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        names = ("n_inner_steps", "n_test_steps", "truncation", "first_order")
        loss_name = getattr(self.loss_fn, "__name__", repr(self.loss_fn))
        return ", ".join(f"{n}={getattr(self, n)}" for n in names) + f", loss_fn={loss_name}"


def _cut(values: Parameters | State) -> Parameters | State:
    return tree_map(lambda t: t.detach(), values)
