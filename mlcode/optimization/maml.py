"""Model-agnostic meta-learning: find weights from which a few gradient steps are enough."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.func import functional_call

from mlcode.batch_norm import call_on_queries, check_stateless, check_statistics
from mlcode.checks import check_int, check_positive, check_support
from mlcode.learner import LossFn, Mapping, MetaLearner
from mlcode.optimization.inner_loop import Parameters, UpdateRule, unroll
from mlcode.optimization.rules import GradientDescent
from mlcode.optimization.unroll_memory import check_fits
from mlcode.tasks import Examples, Tasks


class MAML(MetaLearner):
    r"""Adapt by gradient descent on the support set, starting from meta-learned weights θ.

    One inner step is θ′ = θ − α ∇L_support(θ); the meta-objective is L_query(θ′), averaged over
    tasks, and its gradient passes through the steps (Finn, Abbeel and Levine, 2017, algorithm 1).

    Differs from the paper's code for images in one respect: every parameter that matches `adapted`
    takes inner steps, those of batch norm included.

    Args:
        model: Any module whose forward takes the inputs. Parameters with `requires_grad=False` are
            constants: neither adapted nor meta-learned.
        inner_lr: α, the inner learning rate; the paper's 0.01 for sinusoids.
        n_inner_steps: Gradient steps on the support set while the learner is in training mode.
        n_test_steps: The same in evaluation mode. None: as many as in training.
        loss_fn: `loss_fn(prediction, target)`, the mean over examples; inner and outer loss.
        first_order: Treat the inner gradients as constants, which drops the second derivatives.
        adapted: Name patterns (as in file names: `*`, `?`) of the parameters that take inner steps;
            the others are meta-learned but stay as they are within a task. Names are those of
            `model.named_parameters()`.
        statistics: Which examples supply batch norm with its statistics when queries are answered:
            "query", all queries together, as in the paper's code, or "support"; see
            `mlcode.batch_norm.call_on_queries`. An inner step uses the support set's either way.
        rule: What an inner step does with a gradient. None: gradient descent with `inner_lr`. With
            one of `mlcode.optimization.rules`, `inner_lr` is without effect.
        checkpoint_every: Inner steps between stored parameters, to save memory in long inner loops;
            see `mlcode.optimization.inner_loop.unroll`. Tasks are then mapped by a loop.
        mapping: See `MetaLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: If `model` is no module or a number is of the wrong type.
        ValueError: If `inner_lr` is not positive, a step count is negative, a pattern matches no
            trainable parameter, `statistics` is unknown or beyond the model, or a batch norm keeps
            running statistics (they would carry information from one task to the next).
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        inner_lr: float = 0.01,
        n_inner_steps: int = 1,
        n_test_steps: int | None = None,
        loss_fn: LossFn = F.mse_loss,
        first_order: bool = False,
        adapted: str | Sequence[str] = "*",
        statistics: str = "query",
        rule: UpdateRule | None = None,
        checkpoint_every: int | None = None,
        mapping: Mapping = "auto",
        chunk_size: int | None = None,
    ) -> None:
        if checkpoint_every is not None:
            check_int("checkpoint_every", checkpoint_every, minimum=1)
            if mapping == "vmap":
                raise ValueError("checkpoint_every does not work under vmap; use mapping='loop'.")
            mapping = "loop"
        super().__init__(loss_fn=loss_fn, mapping=mapping, chunk_size=chunk_size)
        check_positive("inner_lr", inner_lr)
        check_int("n_inner_steps", n_inner_steps, minimum=0)
        n_test_steps = n_inner_steps if n_test_steps is None else n_test_steps
        check_int("n_test_steps", n_test_steps, minimum=0)
        check_stateless(model)
        check_statistics(model, statistics)
        self.model = model
        self.inner_lr = inner_lr
        self.rule = GradientDescent(inner_lr) if rule is None else rule
        self.checkpoint_every = checkpoint_every
        self.n_inner_steps = n_inner_steps
        self.n_test_steps = n_test_steps
        self.first_order = first_order
        self.statistics = statistics
        self.adapted = (adapted,) if isinstance(adapted, str) else tuple(adapted)
        self._adapted_names = _matching(model, self.adapted)

    @property
    def n_way(self) -> int | None:
        """The model's `n_out`, if it says so."""
        return getattr(self.model, "n_out", None)

    def predict(
        self, support: Examples, query_x: Shaped[Tensor, "example *feature"]
    ) -> Shaped[Tensor, "example *target"]:
        """Adapt to the support set of one task, then predict its queries."""
        return self.outputs(self.adapt(support), support, query_x)

    def adapt(self, support: Examples, n_steps: int | None = None) -> Parameters:
        """The adapted parameters θ′ of one task, by name; the graph back to θ is kept.

        Args:
            support: The support set of one task.
            n_steps: Inner steps. None: `n_inner_steps` in training mode, else `n_test_steps`.
        """
        theta = self.initial()
        adapted, _ = unroll(
            lambda at: self.support_loss(at, support),
            theta,
            self.rule,
            self._checked_steps(n_steps, support),
            first_order=self.first_order,
            checkpoint_every=self.checkpoint_every,
            through=[p for name, p in self.model.named_parameters() if name not in theta],
        )
        return adapted

    def initial(self) -> Parameters:
        """The meta-learned parameters that take inner steps, by name: where adaptation starts."""
        return {n: p for n, p in self.model.named_parameters() if n in self._adapted_names}

    def outputs(
        self, theta: Parameters, support: Examples, query_x: Shaped[Tensor, "example *feature"]
    ) -> Shaped[Tensor, "example *target"]:
        """What the model answers to the queries at the parameters `theta`."""
        return call_on_queries(self.model, theta, support.x, query_x, self.statistics)

    def _checked_steps(self, n_steps: int | None, support: Examples) -> int:
        if n_steps is None:
            n_steps = self.n_inner_steps if self.training else self.n_test_steps
        check_int("n_steps", n_steps, minimum=0)
        if n_steps > 0:
            check_support(support, like=next(iter(self.initial().values())))
        return n_steps

    def support_loss(self, theta: Parameters, support: Examples) -> Float[Tensor, ""]:
        """The loss on the support set at the parameters `theta`, which an inner step lowers."""
        return self.loss(functional_call(self.model, theta, (support.x,)), support.y)

    def check_fits(self, tasks: Tasks) -> None:
        """Raise MemoryError, with what would help, if unrolling on `tasks` needs too much memory.

        See `mlcode.optimization.unroll_memory`.
        """
        check_fits(self, tasks)

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        names = (
            "inner_lr",
            "n_inner_steps",
            "n_test_steps",
            "first_order",
            "adapted",
            "statistics",
        )
        loss_name = getattr(self.loss_fn, "__name__", repr(self.loss_fn))
        return ", ".join(
            [f"{name}={getattr(self, name)}" for name in names] + [f"loss_fn={loss_name}"]
        )


def _matching(model: nn.Module, patterns: tuple[str, ...]) -> frozenset[str]:
    """Names of trainable parameters that match a pattern; every pattern must match one."""
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise TypeError(f"adapted must be a name pattern or several; got {patterns!r}.")
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    found = {pattern: [n for n in names if fnmatchcase(n, pattern)] for pattern in patterns}
    unmatched = [pattern for pattern, matches in found.items() if not matches]
    if unmatched or not found:
        raise ValueError(
            f"adapted: {unmatched or patterns} matches no trainable parameter; "
            f"the model has {', '.join(names) or 'none'}."
        )
    return frozenset(name for matches in found.values() for name in matches)
