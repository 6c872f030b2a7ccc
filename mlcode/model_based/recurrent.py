"""Recurrent meta-learners: what has been learned of a task is the state of a network."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mlcode.checks import check_choice, check_int
from mlcode.learner import LossFn, Mapping
from mlcode.model_based.cells import Carried, unrolled
from mlcode.model_based.sequences import SequenceLearner
from mlcode.tasks import Examples

LAYERS = {"gru": nn.GRU, "lstm": nn.LSTM}


class RecurrentLearner(SequenceLearner):
    """Reads the support set example by example; the state that is left answers the queries.

    At step t a GRU or LSTM sees xₜ and yₜ₋₁, the target of the example before, and predicts yₜ
    (Hochreiter, Younger and Conwell, 2001; Wang et al., 2016; Santoro et al., 2016, whose labels
    are offset in the same way). Its state begins at zero with every task. Within a task no weight
    changes: the state does, and how is what meta-training learns, by gradient descent on the
    weights over many tasks.

    A query is the next step after the support set: it comes with the last target, and what it does
    to the state no other query sees. So `predict` on the first k examples is `predictions` at step
    k + 1, and one pass over a sequence trains both for every k.

    Args:
        n_features: Length of x, or of what `encoder` makes of it.
        n_out: Outputs: classes with `classification`, else the length of y.
        cell: "gru" or "lstm".
        n_hidden: Width of the state.
        classification: See `SequenceLearner`.
        loss_fn: None: cross-entropy for classification, else the mean squared error.
        encoder: See `SequenceLearner`.
        shuffled: See `SequenceLearner`. A set has no order, a sequence has: drawn anew in each
            training step, it teaches that it does not matter.
        kernel: "fused" is torch's; it has no second derivatives on a GPU, and vmap cannot map it.
            "plain" is `mlcode.model_based.cells`, which has both. "auto" takes the fused one, but
            not under the transforms of `torch.func`, in a graph of `torch.compile`, or for
            gradients in evaluation mode on a GPU, which cuDNN refuses. On one core of a CPU a
            fused LSTM trained 2 to 4 times as fast as a plain one, a GRU as fast.
        mapping: See `SequenceLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: If a number is not an integer.
        ValueError: If a number is below 1, or `cell` or `kernel` unknown; see also
            `SequenceLearner`.
    """

    def __init__(
        self,
        n_features: int,
        n_out: int = 1,
        *,
        cell: str = "gru",
        n_hidden: int = 64,
        classification: bool = False,
        loss_fn: LossFn | None = None,
        encoder: nn.Module | None = None,
        shuffled: bool = True,
        kernel: str = "auto",
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
        check_choice("cell", cell, list(LAYERS))
        check_choice("kernel", kernel, ("auto", "fused", "plain"))
        check_int("n_hidden", n_hidden, minimum=1)
        self.cell, self.n_hidden, self.kernel = cell, n_hidden, kernel
        self.rnn = LAYERS[cell](n_features + n_out, n_hidden, batch_first=True)
        self.head = nn.Linear(n_hidden, n_out)

    def predict(
        self, support: Examples, query_x: Shaped[Tensor, "*task_query_feature"]
    ) -> Float[Tensor, "*task query n_out"]:
        """Read the support set in its order, then answer each query from the state it left.

        Without support examples a query is the first step of a sequence.
        """
        n_axes = self.checked(support, "support")
        inputs, last = self._inputs(support, n_axes)
        state = self._read(inputs)[1]
        query = self.embed(query_x, n_axes + 1)
        return self._answer(query, last, tuple(part.unsqueeze(-2) for part in state))

    def predictions(self, sequence: Examples) -> Float[Tensor, "*task step n_out"]:
        """Predict each example of a sequence from those before it, in one pass.

        Raises:
            ValueError: If the sequence is empty; see also `SequenceLearner.checked`.
        """
        return self.head(self.hidden(sequence))

    def hidden(self, sequence: Examples) -> Float[Tensor, "*task step n_hidden"]:
        """The network's output at each step, which holds its xₜ and the targets before.

        Raises:
            ValueError: As `predictions`.
        """
        inputs, _ = self._inputs(sequence, self.checked(sequence, "sequence"))
        if inputs.shape[-2] == 0:
            raise ValueError("the sequence is empty: there is nothing to predict.")
        return self._read(inputs)[0]

    def predict_prefixes(
        self, support: Examples, query_x: Shaped[Tensor, "*task_query_feature"]
    ) -> Float[Tensor, "*task prefix query n_out"]:
        """Answer the queries after none of the support examples, after the first, … after all.

        Entry k is what `predict` returns for the first k examples.
        """
        n_axes = self.checked(support, "support")
        inputs, last = self._inputs(support, n_axes)
        states = unrolled(self.rnn, inputs, self.initial(inputs))
        told = torch.cat([inputs[..., self.n_features :], last], -2)  # y after k examples
        stacked = tuple(torch.stack(parts, -2).unsqueeze(-2) for parts in zip(*states))
        query = self.embed(query_x, n_axes + 1).unsqueeze(-3)
        return self._answer(query, told.unsqueeze(-2), stacked)

    def initial(self, like: Float[Tensor, "*task step n_in"]) -> Carried:
        """The state before a task: zeros."""
        n_parts = 2 if isinstance(self.rnn, nn.LSTM) else 1
        return tuple(like.new_zeros(*like.shape[:-2], self.n_hidden) for _ in range(n_parts))

    def _inputs(self, examples: Examples, n_axes: int) -> tuple[Tensor, Tensor]:
        """(xₜ, yₜ₋₁) at every step; and the last target, on an axis of length 1."""
        x = self.embed(examples.x, n_axes + 1)
        none = x.new_zeros(*x.shape[:-2], 1, self.n_out)  # before the first there is no target
        told = torch.cat([none, self.as_input(examples.y, x.dtype)], -2)
        return torch.cat([x, told[..., :-1, :]], -1), told[..., -1:, :]

    def _read(self, inputs: Tensor) -> tuple[Tensor, Carried]:
        """Outputs at all steps, and the state after the last."""
        before = self.initial(inputs)
        if inputs.numel() == 0 or not self._fused(inputs):
            states = unrolled(self.rnn, inputs, before)
            return torch.stack([s[0] for s in states], -2)[..., 1:, :], states[-1]
        outputs, after = self.rnn(inputs.reshape(-1, *inputs.shape[-2:]))
        shape = inputs.shape[:-1]
        parts = after if isinstance(after, tuple) else (after,)
        state = tuple(part.reshape(*shape[:-1], self.n_hidden) for part in parts)
        return outputs.reshape(*shape, self.n_hidden), state

    def _answer(self, query: Tensor, told: Tensor, state: Carried) -> Tensor:
        """One more step, for each query on its own, from the same state and with the same y."""
        told = told.expand(*told.shape[:-2], query.shape[-2], -1)
        query = query.expand(*told.shape[:-1], -1)
        inputs = torch.cat([query, told], -1).unsqueeze(-2)
        state = tuple(part.expand(*query.shape[:-1], -1) for part in state)
        return self.head(unrolled(self.rnn, inputs, state)[-1][0])

    def _fused(self, x: Tensor) -> bool:
        if self.kernel != "auto":
            return self.kernel == "fused"
        if torch.compiler.is_compiling():
            return False
        refused = x.is_cuda and torch.is_grad_enabled() and not self.training
        wrapped = torch._C._functorch.is_functorch_wrapped_tensor
        return not (refused or any(map(wrapped, (x, *self.rnn.parameters()))))

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        own = ("classification", "shuffled", "kernel")
        return ", ".join(f"{name}={getattr(self, name)}" for name in own)
