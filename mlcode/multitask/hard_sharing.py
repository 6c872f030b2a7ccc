"""Hard sharing: one trunk for all tasks, one head for each."""

from collections.abc import Mapping

import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mlcode.checks import check_labels, check_prediction, check_scalar
from mlcode.learner import LossFn
from mlcode.multitask.batches import Batch, check_batch, check_names
from mlcode.multitask.joint import JointLearner
from mlcode.multitask.weighting import Weighting


class TrunkAndHead(nn.Module):
    """One task's network: a head on a trunk that other networks may hold as well.

    Modules are not copied: two networks made of one trunk share its parameters, whatever trains
    them.

    Args:
        trunk: From inputs to features.
        head: From features to outputs; `n_out` is read off its last layer.

    Raises:
        ValueError: On call, if the trunk's features are not as many as the head takes.
    """

    def __init__(self, trunk: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.n_out = _linear(head, last=True, name="out_features")

    def forward(self, x: Shaped[Tensor, "example *feature"]) -> Shaped[Tensor, "example *target"]:
        """The head's outputs for the trunk's features."""
        return self.outputs(self.trunk(x))

    def outputs(self, z: Float[Tensor, "example *feature"]) -> Shaped[Tensor, "example *target"]:
        """The head's outputs for features that the trunk has already made."""
        wanted = _linear(self.head, last=False, name="in_features")
        if wanted is not None and z.shape[-1] != wanted:
            raise ValueError(
                f"the trunk makes {z.shape[-1]} feature(s) and the head takes {wanted}. Every "
                "head on one trunk must take what the trunk makes."
            )
        return self.head(z)


class HardSharing(JointLearner):
    """Tasks that share a trunk, each with a head and a loss of its own (Caruana, 1997).

    Tasks that hold one and the same input tensor share its features too, computed once; see
    `mlcode.multitask.batches`. A trunk with batch norm then sees that batch once as well.

    Args:
        trunk: From inputs to features, for every task.
        heads: From features to outputs, one a task; of any size.
        loss_fns: `loss_fn(prediction, target)` for each task, the mean over its examples; or one
            for all.
        weighting: How the losses are weighed. None: alike.

    Raises:
        ValueError: If there is no head, `loss_fns` or `weighting` is for other tasks; on call, if
            an output does not fit its targets, or a head the trunk.
    """

    def __init__(
        self,
        trunk: nn.Module,
        heads: Mapping[str, nn.Module],
        *,
        loss_fns: Mapping[str, LossFn] | LossFn = F.mse_loss,
        weighting: Weighting | None = None,
    ) -> None:
        super().__init__(tuple(heads), weighting)
        self.trunk = trunk
        # A list, since torch allows no dot in the name of a module.
        self.heads = nn.ModuleList(heads.values())
        self.loss_fns = _for_each(self.names, loss_fns)

    def network(self, name: str) -> TrunkAndHead:
        """The network of one task: the shared trunk with its head.

        Raises:
            ValueError: If no task has that name.
        """
        check_names((name,), self.names)
        return TrunkAndHead(self.trunk, self.heads[self.names.index(name)])

    def predict(
        self, name: str, x: Shaped[Tensor, "example *feature"]
    ) -> Shaped[Tensor, "example *target"]:
        """What the task called `name` answers to `x`."""
        return self.network(name)(x)

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The mean loss of each task over its own examples."""
        check_batch(batch, self.names)
        inputs = {id(part.x): part.x for part in batch.values()}
        features = {key: self.trunk(x) for key, x in inputs.items()}
        return {
            name: self.loss(name, self.network(name).outputs(features[id(part.x)]), part.y)
            for name, part in batch.items()
        }

    def loss(self, name: str, prediction: Tensor, y: Tensor) -> Float[Tensor, ""]:
        """The loss of one task, after a check that prediction and targets belong together."""
        loss_fn = self.loss_fns[name]
        try:
            check_prediction(prediction, y, loss_fn)
            check_labels("y", y, prediction.shape[-1])
        except ValueError as error:
            raise ValueError(f"task {name!r}: {error}") from error
        return check_scalar(loss_fn(prediction, y), loss_fn)


def _for_each(names: tuple[str, ...], loss_fns: Mapping[str, LossFn] | LossFn) -> dict[str, LossFn]:
    if isinstance(loss_fns, Mapping):
        if set(loss_fns) != set(names):
            raise ValueError(
                f"loss_fns are for the tasks {', '.join(loss_fns)}, and heads for "
                f"{', '.join(names)}; every task needs both."
            )
        return dict(loss_fns)
    return dict.fromkeys(names, loss_fns)


def _linear(head: nn.Module, *, last: bool, name: str) -> int | None:
    """A size of the first or last linear layer; None of a head that has none."""
    layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
    return getattr(layers[-1 if last else 0], name) if layers else None
