"""ProtoMAML: gradient steps from a head that the prototypes write."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn
from torch.func import functional_call

from mlcode.batch_norm import call_on_queries
from mlcode.checks import check_choice, check_int, check_positive
from mlcode.learner import LossFn, Mapping
from mlcode.metric.metric_learner import MetricLearner
from mlcode.optimization.inner_loop import Parameters, UpdateRule, unroll
from mlcode.optimization.rules import GradientDescent
from mlcode.tasks import Examples
from mlcode.transfer.heads import class_means

HEAD = ("head.weight", "head.bias")


class ProtoMAML(MetricLearner):
    r"""MAML for any number of ways: each task's head begins as its Prototypical network.

    Minus a squared distance to a prototype, −‖z − cₖ‖², is 2cₖ·z − ‖cₖ‖² up to ‖z‖², which is the
    same for all classes. So a linear head with weights 2cₖ and biases −‖cₖ‖² *is* the Prototypical
    network, and from there encoder and head take gradient steps on the support set (Triantafillou
    et al., 2020). The head is part of the graph: the outer gradient reaches the encoder through the
    prototypes as well. There is no head to be meta-learned, so that one learner serves tasks of 5
    and of 20 ways.

    With no inner step it is `PrototypicalNetwork`, and its class probabilities are equal.

    Args:
        encoder: From inputs to embeddings; see `MetricLearner`.
        inner_lr: Rate of a step.
        n_inner_steps: Gradient steps on the support set while the learner is in training mode.
        n_test_steps: The same in evaluation mode. None: as many as in training.
        loss_fn: Inner and outer loss.
        first_order: Treat the inner gradients as constants. The prototypes stay in the graph.
        statistics: Which examples supply batch norm with its statistics when queries are answered,
            "query" or "support", as in `MAML`. Prototypes and inner steps use the support set's.
        rule: What a step does with a gradient. None: gradient descent with `inner_lr`.
        mapping: See `MetaLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: As `MetricLearner`, or if a number is of the wrong type.
        ValueError: As `MetricLearner`, or if `inner_lr` is not positive or a step count negative.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        inner_lr: float = 0.01,
        n_inner_steps: int = 1,
        n_test_steps: int | None = None,
        loss_fn: LossFn = F.cross_entropy,
        first_order: bool = False,
        statistics: str = "query",
        rule: UpdateRule | None = None,
        mapping: Mapping = "auto",
        chunk_size: int | None = None,
    ) -> None:
        check_choice("statistics", statistics, ("query", "support"))
        super().__init__(
            encoder, loss_fn=loss_fn, statistics=statistics, mapping=mapping, chunk_size=chunk_size
        )
        check_positive("inner_lr", inner_lr)
        check_int("n_inner_steps", n_inner_steps, minimum=0)
        n_test_steps = n_inner_steps if n_test_steps is None else n_test_steps
        check_int("n_test_steps", n_test_steps, minimum=0)
        self.inner_lr = inner_lr
        self.rule = GradientDescent(inner_lr) if rule is None else rule
        self.n_inner_steps = n_inner_steps
        self.n_test_steps = n_test_steps
        self.first_order = first_order

    def predict(
        self, support: Examples, query_x: Shaped[Tensor, "query *feature"]
    ) -> Float[Tensor, "query n_way"]:
        """Write the head, adapt it and the encoder to the support set, then score the queries."""
        theta = self.adapt(support)
        encoder = {n: p for n, p in theta.items() if n not in HEAD}
        z = call_on_queries(self.encoder, encoder, support.x, query_x, self.statistics)
        return F.linear(z, *(theta[name] for name in HEAD))

    def adapt(self, support: Examples, n_steps: int | None = None) -> Parameters:
        """The adapted parameters of the encoder and, under "head.…", of the head.

        Args:
            support: The support set of one task.
            n_steps: Inner steps. None: `n_inner_steps` in training mode, else `n_test_steps`.
        """
        if n_steps is None:
            n_steps = self.n_inner_steps if self.training else self.n_test_steps
        n_way = self._ways(support.y)
        theta = {n: p for n, p in self.encoder.named_parameters() if p.requires_grad}
        head = prototype_head(self.encoder(support.x), support.y, n_way)
        start = theta | dict(zip(HEAD, head))

        def support_loss(at: Parameters) -> Float[Tensor, ""]:
            encoder = {n: p for n, p in at.items() if n not in HEAD}
            z = functional_call(self.encoder, encoder, (support.x,))
            return self.loss(F.linear(z, *(at[name] for name in HEAD)), support.y)

        return unroll(support_loss, start, self.rule, n_steps, first_order=self.first_order)[0]

    def scores(
        self,
        z: Float[Tensor, "support feature"],
        y: Int64[Tensor, "support"],
        query_z: Float[Tensor, "query feature"],
        n_way: int,
    ) -> Float[Tensor, "query n_way"]:
        """What the head says before any step."""
        return F.linear(query_z, *prototype_head(z, y, n_way))

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        return (
            f"inner_lr={self.inner_lr}, n_inner_steps={self.n_inner_steps}, "
            f"n_test_steps={self.n_test_steps}, first_order={self.first_order}, "
            f"{super().extra_repr()}"
        )


def prototype_head(
    z: Float[Tensor, "support feature"], y: Int64[Tensor, "support"], n_way: int
) -> tuple[Float[Tensor, "n_way feature"], Float[Tensor, "n_way"]]:
    """Weights 2cₖ and biases −‖cₖ‖² of the linear head that is the nearest prototype.

    The bias of a class without examples is −∞: it is never the answer.
    """
    means, count = class_means(z, y, n_way)
    return 2 * means, torch.where(count > 0, -means.square().sum(-1), -torch.inf)
