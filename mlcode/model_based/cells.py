"""Recurrent cells of plain operations: torch's, where torch's own fused kernels do not reach."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mlcode.checks import check_int

# What is carried from step to step: the output of a GRU; output and memory of an LSTM.
Carried = tuple[Tensor, ...]
Step = Callable[[Tensor, Carried, Tensor, Tensor], Carried]


def gru_step(
    inputs: Float[Tensor, "*row gate"],
    state: Carried,
    weight: Float[Tensor, "gate n_hidden"],
    bias: Float[Tensor, "gate"],
) -> Carried:
    """One step of a gated recurrent unit, as `torch.nn.GRUCell` defines it.

    Args:
        inputs: What the input adds to the three gates: reset, update, new.
        state: The output of the step before.
        weight: From that output to the gates.
        bias: The same.
    """
    (hidden,) = state
    reset_x, keep_x, new_x = inputs.chunk(3, dim=-1)
    reset_h, keep_h, new_h = F.linear(hidden, weight, bias).chunk(3, dim=-1)
    keep = (keep_x + keep_h).sigmoid()
    new = (new_x + (reset_x + reset_h).sigmoid() * new_h).tanh()
    return (new + keep * (hidden - new),)


def lstm_step(
    inputs: Float[Tensor, "*row gate"],
    state: Carried,
    weight: Float[Tensor, "gate n_hidden"],
    bias: Float[Tensor, "gate"],
) -> Carried:
    """One step of an LSTM with forget gate, as `torch.nn.LSTMCell` defines it.

    Args:
        inputs: What the input adds to the four gates: input, forget, cell, output.
        state: Output and memory after the step before.
        weight: From that output to the gates.
        bias: The same.
    """
    hidden, memory = state
    write, keep, new, show = (inputs + F.linear(hidden, weight, bias)).chunk(4, dim=-1)
    memory = keep.sigmoid() * memory + write.sigmoid() * new.tanh()
    return show.sigmoid() * memory.tanh(), memory


class _Cell(nn.Module):
    """Weights in the names, shapes and first values of torch's cells."""

    def __init__(self, n_in: int, n_hidden: int, n_gates: int) -> None:
        super().__init__()
        check_int("n_in", n_in, minimum=1)
        check_int("n_hidden", n_hidden, minimum=1)
        bound = 1 / math.sqrt(n_hidden)  # torch's

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))

        self.weight_ih = drawn(n_gates * n_hidden, n_in)
        self.weight_hh = drawn(n_gates * n_hidden, n_hidden)
        self.bias_ih = drawn(n_gates * n_hidden)
        self.bias_hh = drawn(n_gates * n_hidden)

    def _step(self, step: Step, x: Tensor, state: Carried) -> Carried:
        inputs = F.linear(x, self.weight_ih, self.bias_ih)
        return step(inputs, state, self.weight_hh, self.bias_hh)


class GRUCell(_Cell):
    """One step of a GRU, made of plain operations: `torch.nn.GRUCell` with the same weights.

    Torch's own cell is one fused kernel on a GPU, without second derivatives; this one can be
    mapped by `vmap` and differentiated as often as one likes. The `state_dict` of either fits the
    other.

    Args:
        n_in: Features of the input.
        n_hidden: Features of the output.

    Raises:
        TypeError: If a number is not an integer.
        ValueError: If a number is below 1.
    """

    def __init__(self, n_in: int, n_hidden: int) -> None:
        super().__init__(n_in, n_hidden, 3)

    def forward(
        self, x: Float[Tensor, "*row n_in"], hidden: Float[Tensor, "*row n_hidden"]
    ) -> Float[Tensor, "*row n_hidden"]:
        """The new output."""
        return self._step(gru_step, x, (hidden,))[0]


class LSTMCell(_Cell):
    """One step of an LSTM, made of plain operations: `torch.nn.LSTMCell` with the same weights.

    See `GRUCell` for why. The learned optimizer is made of it too.

    Args:
        n_in: Features of the input.
        n_hidden: Features of the output and of the memory.

    Raises:
        TypeError: If a number is not an integer.
        ValueError: If a number is below 1.
    """

    def __init__(self, n_in: int, n_hidden: int) -> None:
        super().__init__(n_in, n_hidden, 4)

    def forward(
        self,
        x: Float[Tensor, "*row n_in"],
        state: tuple[Float[Tensor, "*row n_hidden"], Float[Tensor, "*row n_hidden"]],
    ) -> tuple[Float[Tensor, "*row n_hidden"], Float[Tensor, "*row n_hidden"]]:
        """The new output and the new memory."""
        hidden, memory = self._step(lstm_step, x, state)
        return hidden, memory


def unrolled(
    rnn: nn.GRU | nn.LSTM, x: Float[Tensor, "*task step n_in"], state: Carried
) -> list[Carried]:
    """States before the first step and after each, by plain operations with the weights of `rnn`.

    Args:
        rnn: One layer, in one direction.
        x: Sequences; there may be any number of axes of tasks, or none.
        state: Before the first step.
    """
    weights: dict[str, Any] = dict(rnn.named_parameters())
    step: Step = lstm_step if isinstance(rnn, nn.LSTM) else gru_step
    inputs = F.linear(x, weights["weight_ih_l0"], weights["bias_ih_l0"])  # of all steps at once
    states = [state]
    for each in inputs.unbind(-2):  # whose gradient is one stack; that of indexing is quadratic
        after = step(each, states[-1], weights["weight_hh_l0"], weights["bias_hh_l0"])
        states.append(after)
    return states
