"""Memory-augmented networks: a recurrent controller that writes what it sees into slots."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mlcode.checks import check_fraction, check_int
from mlcode.learner import LossFn, Mapping
from mlcode.model_based.addressing import (
    content_weights,
    decayed_usage,
    least_used,
    write_weights,
    written,
)
from mlcode.model_based.sequences import SequenceLearner
from mlcode.tasks import Examples


class MemoryState(NamedTuple):
    """What is carried from one step to the next; all of it begins at zero with every task."""

    hidden: Float[Tensor, "*task hidden"]
    cell: Float[Tensor, "*task hidden"]
    memory: Float[Tensor, "*task slot width"]
    read: Float[Tensor, "*task head slot"]  # where was read in the step before
    found: Float[Tensor, "*task found"]  # what was read there, all heads in a row
    usage: Float[Tensor, "*task slot"]


class MemoryLearner(SequenceLearner):
    """A memory-augmented neural network, MANN (Santoro et al., 2016): it learns by writing down.

    At step t an LSTM, the controller, sees xₜ, the label yₜ₋₁ of the example before, and what was
    read from memory a step ago. It empties the least used slots, one for each head, and writes;
    then it reads by content, and answers from its state and from what it found. The label comes a
    step late, so that it can only be had from memory, and classes change names with every task, so
    that nothing else helps.

    Differs from the paper in three respects, so that it learns within a minute on one core: what a
    head writes and what it looks for are two outputs of the controller where the paper has one key;
    a strength, 6 at first, multiplies the cosines; and each head has a slot of its own to begin.
    What is read at a step includes what was written at it.

    With fewer slots than a sequence has steps, the slots that were least used lately are lost,
    which is forgetting and no error. With `n_slots=0` it is an LSTM, the paper's baseline.

    Args:
        n_features: Length of x, or of what `encoder` makes of it.
        n_out: Outputs: classes with `classification`, else the length of y.
        n_slots: Slots of the memory.
        width: Numbers a slot holds.
        n_heads: Heads; each writes and reads once a step.
        n_hidden: Width of the controller.
        decay: γ, what is left of a slot's usage after a step.
        classification: See `SequenceLearner`.
        loss_fn: None: cross-entropy for classification, else the mean squared error.
        encoder: See `SequenceLearner`.
        shuffled: See `SequenceLearner`.
        mapping: See `SequenceLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: If a number is of the wrong type.
        ValueError: If a number is out of range; see also `SequenceLearner`.
    """

    def __init__(
        self,
        n_features: int,
        n_out: int,
        *,
        n_slots: int = 32,
        width: int = 16,
        n_heads: int = 1,
        n_hidden: int = 64,
        decay: float = 0.95,
        classification: bool = True,
        loss_fn: LossFn | None = None,
        encoder: nn.Module | None = None,
        shuffled: bool = True,
        mapping: Mapping = "auto",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(
            n_features,
            n_out,
            classification=classification,
            loss_fn=loss_fn,
            encoder=encoder,
            shuffled=shuffled,
            mapping=mapping,
            chunk_size=chunk_size,
        )
        check_int("n_slots", n_slots, minimum=0)
        for name, value in (("width", width), ("n_heads", n_heads), ("n_hidden", n_hidden)):
            check_int(name, value, minimum=1)
        check_fraction("decay", decay)
        self.n_slots, self.n_hidden, self.decay = n_slots, n_hidden, decay
        self.width, self.n_heads = (width, n_heads) if n_slots else (0, 0)
        n_found = self.n_heads * self.width
        # The layout of torch.nn.LSTM: input, forget, cell, output gate.
        self.inputs = nn.Linear(n_features + n_out, 4 * n_hidden)
        self.recurrent = nn.Linear(n_hidden + n_found, 4 * n_hidden, bias=False)
        self.heads = nn.Linear(n_hidden, self.n_heads * (2 * width + 2)) if n_slots else None
        self.head = nn.Linear(n_hidden + n_found, n_out)
        if self.heads is not None:  # the last output of each head is its strength: 6 at first
            nn.init.constant_(self.heads.bias[2 * width + 1 :: 2 * width + 2], 5.0)

    def predict(
        self, support: Examples, query_x: Shaped[Tensor, "*task_query_feature"]
    ) -> Float[Tensor, "*task query n_out"]:
        """Read the support set in its order, then answer each query from the state it left.

        Every query is the next step after the support set: it comes with the last label, and what
        it writes and reads no other query sees. Without support examples it is the first step.
        """
        n_axes = self.checked(support, "support")
        x, query = self.embed(support.x, n_axes + 1), self.embed(query_x, n_axes + 1)
        state = self.initial(x.shape[:n_axes], x)
        gates, last = self._inputs(x, support.y)
        for now in gates.unbind(-2):  # not gates[..., t, :], whose gradients are as long as `gates`
            state = self.step(now, state)
        last = last.expand(*query.shape[:-1], -1)  # y of the last support example, for each query
        many = MemoryState(*(_for_each(part, n_axes, query.shape[-2]) for part in state))
        return self._output(self.step(self.inputs(torch.cat([query, last], -1)), many))

    def predictions(self, sequence: Examples) -> Float[Tensor, "*task step n_out"]:
        """Predict each example of a sequence from those before it, in one pass.

        Raises:
            ValueError: If the sequence is empty; see also `SequenceLearner.checked`.
        """
        return self._output(self.states(sequence))

    def states(self, sequence: Examples) -> MemoryState:
        """The states after each step of a sequence; each part has an axis of steps after tasks."""
        n_axes = self.checked(sequence, "sequence")
        x = self.embed(sequence.x, n_axes + 1)
        if x.shape[-2] == 0:
            raise ValueError("the sequence is empty: there is nothing to predict.")
        gates, _ = self._inputs(x, sequence.y)
        states = [self.initial(x.shape[:n_axes], x)]
        for now in gates.unbind(-2):
            states.append(self.step(now, states[-1]))
        return MemoryState(*(torch.stack(parts, n_axes) for parts in zip(*states[1:])))

    def initial(self, axes: tuple[int, ...], like: Tensor) -> MemoryState:
        """The state before a task: nothing seen, nothing written, nothing used."""
        heads, slots, width = self.n_heads, self.n_slots, self.width
        shapes = [(self.n_hidden,)] * 2 + [(slots, width), (heads, slots), (heads * width,)]
        return MemoryState(*(like.new_zeros(*axes, *shape) for shape in [*shapes, (slots,)]))

    def step(self, gates: Float[Tensor, "*task gate"], state: MemoryState) -> MemoryState:
        """One step: the controller moves, its heads write, then read.

        Args:
            gates: The input's share of the controller's four gates.
            state: After the step before.
        """
        gates = gates + self.recurrent(torch.cat([state.hidden, state.found], -1))
        let_in, keep, new, out = gates.chunk(4, -1)
        cell = keep.sigmoid() * state.cell + let_in.sigmoid() * new.tanh()
        hidden = out.sigmoid() * cell.tanh()
        if self.heads is None:
            return state._replace(hidden=hidden, cell=cell)
        orders = self.heads(hidden).unflatten(-1, (self.n_heads, 2 * self.width + 2))
        keys, values, rest = orders.split([self.width, self.width, 2], -1)
        gate, strength = rest[..., 0].sigmoid(), 1 + F.softplus(rest[..., 1])
        free = least_used(state.usage, self.n_heads)
        write = write_weights(gate, state.read, free)
        memory = written(state.memory, write, values.tanh(), free)
        read = content_weights(keys, memory, strength)
        usage = decayed_usage(state.usage, read, write, self.decay)
        return MemoryState(hidden, cell, memory, read, (read @ memory).flatten(-2), usage)

    def _inputs(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """What the gates get from x and the label before, at every step; and the last label."""
        labels = self.as_input(y, x.dtype)
        none = x.new_zeros(*x.shape[:-2], 1, self.n_out)  # before the first there is no label
        told = torch.cat([none, labels], -2)
        return self.inputs(torch.cat([x, told[..., :-1, :]], -1)), told[..., -1:, :]

    def _output(self, state: MemoryState) -> Tensor:
        return self.head(torch.cat([state.hidden, state.found], -1))

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        own = ("n_slots", "width", "n_heads", "n_hidden", "decay", "classification", "shuffled")
        return ", ".join(f"{name}={getattr(self, name)}" for name in own)


def _for_each(part: Tensor, n_axes: int, n: int) -> Tensor:
    """The state of each task, `n` times, on an axis after those of tasks."""
    shape = part.shape
    return part.unsqueeze(n_axes).expand(*shape[:n_axes], n, *shape[n_axes:])
