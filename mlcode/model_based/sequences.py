"""What learners that read a sequence of examples share."""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from mlcode.batch_norm import BatchNorm
from mlcode.checks import check_int, check_labels, check_same_kind, check_tasks
from mlcode.learner import LossFn, Mapping, MetaLearner
from mlcode.model_based.addressing import one_hot
from mlcode.tasks import Examples, Tasks


class SequenceLearner(MetaLearner):
    """Reads examples one after the other, and predicts each from those before it.

    In training mode the loss of a task is the mean over the whole sequence of its support set and
    queries, in an order drawn anew each time, so that one pass trains every number of examples from
    none on; each target is told after its prediction. In evaluation mode it is that of the queries,
    each answered from the support set alone.

    A subclass writes its operations for any axes of tasks before the example axis. With the mapping
    "auto" a batch of tasks therefore passes through them as it is, and nothing is mapped.

    Args:
        n_features: Length of x, or of what `encoder` makes of it.
        n_out: Outputs: classes with `classification`, else the length of y.
        classification: Whether targets are labels, 0 … n_out − 1.
        loss_fn: None: cross-entropy for classification, else the mean squared error.
        encoder: From a batch of inputs to features, before anything is read. None: inputs are
            flattened.
        shuffled: Whether training draws the order of a sequence, from torch's global generator, as
            a dropout would. Without, the support set comes first.
        mapping: See `MetaLearner`, and above.
        chunk_size: See `MetaLearner`; of "vmap".

    Raises:
        TypeError: If a number is not an integer, or the encoder no module.
        ValueError: If a number is below 1, or the encoder normalises by the statistics of its
            batch, in which an input meets those that come after it.
    """

    def __init__(
        self,
        n_features: int,
        n_out: int,
        *,
        classification: bool,
        loss_fn: LossFn | None,
        encoder: nn.Module | None = None,
        shuffled: bool = True,
        mapping: Mapping = "auto",
        chunk_size: int | None = None,
    ) -> None:
        usual = F.cross_entropy if classification else F.mse_loss
        super().__init__(loss_fn=loss_fn or usual, mapping=mapping, chunk_size=chunk_size)
        check_int("n_features", n_features, minimum=1)
        check_int("n_out", n_out, minimum=1)
        _check_encoder(encoder)
        self.n_features = n_features
        self.n_out = n_out
        self.classification = classification
        self.encoder = encoder
        self.shuffled = shuffled

    @property
    def n_way(self) -> int | None:
        """How many classes it can name; None for regression."""
        return self.n_out if self.classification else None

    @abstractmethod
    def predictions(self, sequence: Examples) -> Float[Tensor, "*task step n_out"]:
        """Predict each example of a sequence from those before it, in one pass."""

    def losses(self, tasks: Tasks) -> Float[Tensor, "task"]:
        """The loss of each task of a batch."""
        if self.mapping != "auto":
            return super().losses(tasks)
        check_tasks(tasks, like=next(self.parameters()), n_way=self.n_way)
        return torch.func.vmap(self.loss)(*self._answers(*tasks))

    def task_loss(self, support: Examples, query: Examples) -> Float[Tensor, ""]:
        """In training the loss over the whole sequence; in evaluation that of the queries."""
        return self.loss(*self._answers(support, query))

    def _answers(self, support: Examples, query: Examples) -> tuple[Tensor, Tensor]:
        """Predictions and targets, of one task or of many."""
        if not self.training:
            return self.predict(support, query.x), query.y
        sequence = joined(support, query, axis=self._n_axes(support))
        if self.shuffled:
            keys = torch.rand(self._steps(sequence), device=sequence.x.device)
            sequence = reordered(sequence, keys.argsort(-1))
        return self.predictions(sequence), sequence.y

    def _n_axes(self, examples: Examples) -> int:
        """How many axes of tasks there are."""
        n = examples.y.ndim - (1 if self.classification else 2)
        if n < 0 or examples.y.is_floating_point() == self.classification:
            kind = "one integer label" if self.classification else f"{self.n_out} real target(s)"
            raise ValueError(
                f"{type(self).__name__} needs {kind} an example; got y of shape "
                f"{tuple(examples.y.shape)} and {examples.y.dtype}."
            )
        return n

    def _steps(self, examples: Examples) -> torch.Size:
        return examples.x.shape[: self._n_axes(examples) + 1]

    def embed(
        self, x: Shaped[Tensor, "*task_example_feature"], n_lead: int
    ) -> Float[Tensor, "*task_example n_features"]:
        """Features of inputs that have `n_lead` axes of tasks and examples."""
        lead = x.shape[:n_lead]
        if self.encoder is not None and lead.numel() > 0:
            x = self.encoder(x.reshape(-1, *x.shape[n_lead:])).reshape(*lead, -1)
        elif self.encoder is None:
            x = x.reshape(*lead, x.shape[n_lead:].numel())
        else:
            return x.new_zeros(*lead, self.n_features)
        if x.shape[-1] != self.n_features:
            raise ValueError(
                f"{type(self).__name__} was made for {self.n_features} feature(s); "
                f"got {x.shape[-1]}."
            )
        return x

    def as_input(
        self, y: Shaped[Tensor, "*example_target"], dtype: torch.dtype
    ) -> Float[Tensor, "*example n_out"]:
        """Labels one-hot; real targets as they are."""
        if self.classification:
            return one_hot(y, self.n_out, dtype)
        if y.shape[-1] != self.n_out:
            raise ValueError(f"expected {self.n_out} target(s) an example; got {y.shape[-1]}.")
        return y

    def checked(self, examples: Examples, name: str) -> int:
        """The number of axes of tasks, after a look at what is about to be read.

        Raises:
            ValueError: If x and y differ in their number of examples, labels are no classes, or
                device or dtype is not the parameters'.
        """
        n_lead = self._n_axes(examples) + 1
        if examples.x.shape[:n_lead] != examples.y.shape[:n_lead]:
            raise ValueError(
                f"{name} needs one target per input; got x of shape {tuple(examples.x.shape)} and "
                f"y of shape {tuple(examples.y.shape)}."
            )
        check_same_kind(
            {
                f"{name}.x": examples.x,
                f"{name}.y": examples.y,
                "the parameters": next(self.parameters()),
            }
        )
        if not torch._C._functorch.is_batchedtensor(examples.y):  # there `losses` has looked
            check_labels(f"{name}.y", examples.y, self.n_way)
        return n_lead - 1


def joined(support: Examples, query: Examples, axis: int = 0) -> Examples:
    """One sequence of both sets, the support set first."""
    return Examples(*(torch.cat(parts, axis) for parts in zip(support, query)))


def reordered(sequence: Examples, order: Int64[Tensor, "*task step"]) -> Examples:
    """The same examples in another order, one for each task."""

    def gather(t: Tensor) -> Tensor:
        index = order.reshape(order.shape + (1,) * (t.ndim - order.ndim))
        return t.gather(order.ndim - 1, index.expand(*order.shape, *t.shape[order.ndim :]))

    return Examples(gather(sequence.x), gather(sequence.y))


def _check_encoder(encoder: nn.Module | None) -> None:
    if encoder is not None and not isinstance(encoder, nn.Module):
        raise TypeError(f"encoder must be a torch.nn.Module; got {type(encoder).__name__}.")
    for module in encoder.modules() if encoder is not None else ():
        ours = isinstance(module, BatchNorm) and not module.frozen
        if ours or isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise ValueError(
                "the encoder's batch norm would mix each input with those that come after it; "
                "freeze its statistics first (ConvNet.freeze_statistics), or use one without."
            )
