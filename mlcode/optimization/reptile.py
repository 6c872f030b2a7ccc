"""Reptile: move the start towards where learning ends."""

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mlcode.checks import check_choice, check_int
from mlcode.learner import LossFn, Mapping
from mlcode.optimization.inner_loop import Parameters, UpdateRule, unroll
from mlcode.optimization.maml import MAML
from mlcode.tasks import Examples


class Reptile(MAML):
    r"""Train on a task from θ, and move θ a part of the way to the weights θ′ that come out.

    The update is θ ← θ + ε · mean over tasks of (θ′ − θ) (Nichol, Achiam and Schulman, 2018). In
    training mode the loss of a task is the surrogate ½‖θ − stop(θ′)‖², whose gradient is θ − θ′, so
    that `torch.optim.SGD(learner.parameters(), lr=ε)` performs it and any other optimizer or
    schedule applies. Its value is half a squared distance and says little about how well tasks are
    solved; in evaluation mode the loss of a task is that of its queries, as for every learner.

    Differs from the published code in three respects. With `rule=Adam(…)` every task begins with
    empty means, where the code's inner Adam remembers those of the task before. The loss is the
    mean over a mini-batch, where the code descends its sum, which matters for gradient descent and
    hardly for Adam. In the code's transductive test, queries share batch norm's statistics with the
    support set; here with each other alone.

    Args:
        model: As in `MAML`. Every trainable parameter is adapted.
        inner_lr: Of the gradient steps within a task.
        n_inner_steps: Steps a task in training. With one step, Reptile descends the training loss
            of all tasks together, and nothing is learned about learning.
        n_test_steps: Steps on the support set in evaluation. None: as many.
        batch_size: Examples of an inner step in training, drawn in turn from the task in a random
            order that is drawn anew when they are used up. None: all of them.
        test_batch_size: The same in evaluation. None: the whole support set.
        examples: What a training task consists of: "all", support and queries together, since
            Reptile needs no queries, or "support".
        loss_fn: As in `MAML`.
        statistics: As in `MAML`: "query" is what the paper calls transductive.
        rule: What an inner step does with a gradient. None: gradient descent with `inner_lr`. The
            published one for images is `mlcode.optimization.rules.Adam(lr, betas=(0, 0.999))`.
        mapping: See `MetaLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: If a number is of the wrong type.
        ValueError: If a number is out of range or `examples` is unknown; see also `MAML`.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        inner_lr: float = 0.02,
        n_inner_steps: int = 32,
        n_test_steps: int | None = None,
        batch_size: int | None = None,
        test_batch_size: int | None = None,
        examples: str = "all",
        loss_fn: LossFn = F.mse_loss,
        statistics: str = "query",
        rule: UpdateRule | None = None,
        mapping: Mapping = "auto",
        chunk_size: int | None = None,
    ) -> None:
        check_choice("examples", examples, ("all", "support"))
        for name, size in (("batch_size", batch_size), ("test_batch_size", test_batch_size)):
            if size is not None:
                check_int(name, size, minimum=1)
        super().__init__(
            model,
            inner_lr=inner_lr,
            n_inner_steps=n_inner_steps,
            n_test_steps=n_test_steps,
            loss_fn=loss_fn,
            first_order=True,
            statistics=statistics,
            rule=rule,
            mapping=mapping,
            chunk_size=chunk_size,
        )
        self.batch_size = batch_size
        self.test_batch_size = test_batch_size
        self.examples = examples

    def adapt(self, support: Examples, n_steps: int | None = None) -> Parameters:
        """θ′ after steps on mini-batches of `support`, without a graph back to θ.

        Their order comes from torch's global generator, as a dropout's does, unless every step
        takes all examples.
        """
        n_steps = self._checked_steps(n_steps, support)
        theta = {name: p.detach() for name, p in self.initial().items()}
        state = self.rule.init(theta)
        size = self.batch_size if self.training else self.test_batch_size
        for batch in mini_batches(support, size, n_steps):
            theta, state = unroll(
                partial(self.support_loss, support=batch),
                theta,
                self.rule,
                1,
                first_order=True,
                state=state,
            )
        return {name: p.detach() for name, p in theta.items()}

    def task_loss(self, support: Examples, query: Examples) -> Float[Tensor, ""]:
        """In training the surrogate ½‖θ − stop(θ′)‖²; in evaluation the query loss."""
        if not self.training:
            return super().task_loss(support, query)
        if self.examples == "all":
            support = Examples(*(torch.cat(parts) for parts in zip(support, query)))
        adapted = self.adapt(support)
        moved = [(p - adapted[name]).square().sum() for name, p in self.initial().items()]
        return torch.stack(moved).sum() / 2

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        own = ("batch_size", "test_batch_size", "examples")
        return ", ".join([f"{n}={getattr(self, n)}" for n in own] + [super().extra_repr()])


def mini_batches(examples: Examples, size: int | None, n_batches: int) -> Iterator[Examples]:
    """Batches of one task's examples, each example once before any comes again.

    Args:
        examples: Of one task.
        size: Of a batch; a batch may begin in one pass over the examples and end in the next.
            None, or as many as there are: all of them, in their order.
        n_batches: How many.
    """
    n = len(examples.x)
    if size is None or size == n:
        yield from [examples] * n_batches
        return
    n_passes = -(-size * n_batches // n)
    # Sorted noise, since vmap can draw that for each task, and `randperm` not on every device.
    order = torch.rand(n_passes, n, device=examples.x.device).argsort(-1).flatten()
    for i in range(n_batches):
        chosen = order[i * size : (i + 1) * size]
        yield Examples(examples.x[chosen], examples.y[chosen])
