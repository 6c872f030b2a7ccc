"""In-context learning: a transformer for which the support set is a text to read."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from mlcode.checks import check_int
from mlcode.learner import LossFn, Mapping
from mlcode.model_based.sequences import SequenceLearner
from mlcode.tasks import Examples


class InContextLearner(SequenceLearner):
    """A small transformer that reads the support set and answers; no weight changes in a task.

    Each support example is one token, made of x and y together, and each query one, made of x and
    of zeros, with a mark that says which it is. A token looks at itself and at the support tokens
    before it, a query at itself and at the support set: queries do not see each other, and a query
    without support set has itself to look at. There are no positions.

    With `causal=True` a support token sees those before it only, so that one pass predicts every
    example of a sequence from its predecessors, and training uses all of them; the order of a
    support set then matters a little. With False every support token sees the whole set: the order
    is without effect, and training takes the loss of the queries.

    Garg et al. (2022) train on such sequences. Their code has separate tokens for x and y, with
    positions, and 12 blocks.

    Args:
        n_features: Length of x, or of what `encoder` makes of it.
        n_out: Outputs: classes with `classification`, else the length of y.
        width: Numbers a token holds.
        n_layers: Transformer blocks.
        n_heads: Attention heads of each.
        causal: Whether a support token sees only those before it.
        classification: See `SequenceLearner`.
        loss_fn: None: cross-entropy for classification, else the mean squared error.
        encoder: See `SequenceLearner`.
        shuffled: See `SequenceLearner`; a set is not shuffled.
        mapping: See `SequenceLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: If a number is not an integer.
        ValueError: If a number is below 1 or `width` no multiple of `n_heads`; see also
            `SequenceLearner`.
    """

    def __init__(
        self,
        n_features: int,
        n_out: int = 1,
        *,
        width: int = 32,
        n_layers: int = 3,
        n_heads: int = 2,
        causal: bool = True,
        classification: bool = False,
        loss_fn: LossFn | None = None,
        encoder: nn.Module | None = None,
        shuffled: bool = False,
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
        check_int("n_layers", n_layers, minimum=1)
        self.causal = causal
        self.token = nn.Linear(n_features + n_out + 1, width)
        self.blocks = nn.ModuleList(TransformerBlock(width, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, n_out)

    def predict(
        self, support: Examples, query_x: Shaped[Tensor, "*task_query_feature"]
    ) -> Float[Tensor, "*task query n_out"]:
        """Read the support set and answer each query by itself.

        Without support examples a query is answered from itself alone.
        """
        n_axes = self.checked(support, "support")
        x, query = self.embed(support.x, n_axes + 1), self.embed(query_x, n_axes + 1)
        n, n_query = x.shape[-2], query.shape[-2]
        sees = x.new_ones(n_query, n, dtype=torch.bool)
        return self._read(x, support.y, query, sees)

    def predictions(self, sequence: Examples) -> Float[Tensor, "*task step n_out"]:
        """Predict each example of a sequence from those before it, in one pass.

        Raises:
            ValueError: If the learner is not causal, or the sequence is empty.
        """
        if not self.causal:
            raise ValueError(
                "with causal=False an example sees those after it; use predict on each prefix."
            )
        n_axes = self.checked(sequence, "sequence")
        x = self.embed(sequence.x, n_axes + 1)
        n = x.shape[-2]
        if n == 0:
            raise ValueError("the sequence is empty: there is nothing to predict.")
        before = x.new_ones(n, n, dtype=torch.bool).tril(-1)
        return self._read(x, sequence.y, x, before)

    def _answers(self, support: Examples, query: Examples) -> tuple[Tensor, Tensor]:
        if self.causal:
            return super()._answers(support, query)
        return self.predict(support, query.x), query.y

    def _read(
        self, x: Tensor, y: Tensor, query: Tensor, sees: Bool[Tensor, "query support"]
    ) -> Tensor:
        """The answers to queries, each of which sees itself and some of the support examples."""
        targets = self.as_input(y, x.dtype)
        known, unknown = x.new_ones(*x.shape[:-1], 1), query.new_zeros(*query.shape[:-1], 1)
        blank = query.new_zeros(*query.shape[:-1], self.n_out)
        tokens = torch.cat(
            [torch.cat([x, targets, known], -1), torch.cat([query, blank, unknown], -1)], -2
        )
        h, mask = self.token(tokens), self.mask(sees)
        for block in self.blocks:
            h = block(h, mask)
        return self.head(self.norm(h[..., x.shape[-2] :, :]))

    def mask(self, sees: Bool[Tensor, "query support"]) -> Bool[Tensor, "token token"]:
        """Which token (row) looks at which (column), support tokens first."""
        n_query, n = sees.shape
        support = sees.new_ones(n, n)
        itself = torch.eye(n_query, dtype=torch.bool, device=sees.device)
        nothing = sees.new_zeros(n, n_query)
        top = torch.cat([support.tril() if self.causal else support, nothing], 1)
        return torch.cat([top, torch.cat([sees, itself], 1)])

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        return f"causal={self.causal}, classification={self.classification}"


class TransformerBlock(nn.Module):
    """Attention, then two layers on each token, both added to what comes in.

    Normalises before each, as `torch.nn.TransformerEncoderLayer(norm_first=True)` without dropout
    does; of plain operations, so that tasks may be any axes and gradients have gradients.

    Args:
        width: Numbers a token holds.
        n_heads: Attention heads.

    Raises:
        TypeError: If a number is not an integer.
        ValueError: If one is below 1, or `width` is no multiple of `n_heads`.
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        check_int("width", width, minimum=1)
        check_int("n_heads", n_heads, minimum=1)
        if width % n_heads:
            raise ValueError(f"width must be a multiple of n_heads; got {width} and {n_heads}.")
        self.n_heads = n_heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend_in, self.attend_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.linear1, self.linear2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(
        self, h: Float[Tensor, "*task token width"], mask: Bool[Tensor, "token token"]
    ) -> Float[Tensor, "*task token width"]:
        """Tokens after the block; each row of `mask` says at which tokens one may look."""
        h = h + self.attend_out(self.attention(self.norm1(h), mask))
        return h + self.linear2(self.linear1(self.norm2(h)).relu())

    def attention(
        self, h: Float[Tensor, "*task token width"], mask: Bool[Tensor, "token token"]
    ) -> Float[Tensor, "*task token width"]:
        """softmax(q kᵀ / √width of a head) v, for all heads side by side."""
        parts = self.attend_in(h).unflatten(-1, (3, self.n_heads, -1))
        q, k, v = (part.transpose(-2, -3) for part in parts.unbind(-3))
        scores = (q @ k.mT) * q.shape[-1] ** -0.5
        weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
        return (weights @ v).transpose(-2, -3).flatten(-2)
