"""Batch norm that keeps nothing between batches: whose statistics it uses is said at each call."""

import inspect
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from mlcode.checks import check_choice, check_int


class BatchNorm(nn.Module):
    """Normalise each channel by the mean and variance of a batch, then scale and shift it.

    (x − mean) / √(var + eps) · weight + bias, over examples, height and width (Ioffe and Szegedy,
    2015). No statistics are carried from one call to the next, since within a meta-learner they
    would carry information from one task to another. They come from one of three places:

    - the whole batch of the call, which is the default;
    - its first `n_reference` examples, so that a support set supplies them to its queries;
    - a large batch seen once, by `freeze`: for a network that was trained before it meets a task.

    Args:
        n_channels: Size of the axis before height and width.
        eps: Added to the variance, which may be 0; torch's default.
        fused: On a CPU, use torch's kernel for the statistics of the whole batch. It gives the same
            numbers; in a loop over tasks a step is a quarter faster with it, under `vmap` a tenth
            slower (measured).

    Raises:
        ValueError: On call, if `n_reference` is not between 1 and the batch's size.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    var: Tensor

    def __init__(self, n_channels: int, eps: float = 1e-5, *, fused: bool = False) -> None:
        super().__init__()
        check_int("n_channels", n_channels, minimum=1)
        self.eps = eps
        self.fused = fused
        self.weight = nn.Parameter(torch.ones(n_channels))
        self.bias = nn.Parameter(torch.zeros(n_channels))
        self.register_buffer("mean", torch.zeros(n_channels))  # of use only when frozen
        self.register_buffer("var", torch.ones(n_channels))
        self.frozen = False

    def forward(
        self, x: Float[Tensor, "example channel height width"], n_reference: int | None = None
    ) -> Float[Tensor, "example channel height width"]:
        """Normalise `x` by its own statistics, those of its first examples, or the frozen ones."""
        if self.fused and x.is_cpu and n_reference is None and not self.frozen:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        mean, var = (self.mean, self.var) if self.frozen else _moments(x, n_reference)
        # One multiplication and one addition an entry. F.batch_norm has no gradient through given
        # statistics.
        scale = self.weight * (var + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return x * scale[:, None, None] + shift[:, None, None]

    @torch.no_grad()
    def freeze(self, x: Float[Tensor, "example channel height width"]) -> None:
        """Keep the statistics of `x` and use them in every later call."""
        self.mean, self.var = _moments(x, None)
        self.frozen = True

    def get_extra_state(self) -> dict[str, bool]:
        """Whether it is frozen, kept in the `state_dict` beside the statistics."""
        return {"frozen": self.frozen}

    def set_extra_state(self, state: dict[str, bool]) -> None:
        """Restore whether it is frozen."""
        self.frozen = state["frozen"]

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        return f"{len(self.weight)}, eps={self.eps}" + (", frozen" if self.frozen else "")


def check_stateless(model: nn.Module) -> None:
    """Raise unless `model` is a network that carries nothing from one task to the next.

    Raises:
        TypeError: If it is no module.
        ValueError: If one of its layers keeps running statistics.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; got {type(model).__name__}.")
    for name, module in model.named_modules():
        if getattr(module, "track_running_stats", False):
            raise ValueError(
                f"model.{name} keeps running statistics, which carry information from one task to "
                "the next; build it with track_running_stats=False."
            )


def check_statistics(model: nn.Module, statistics: str) -> None:
    """Raise unless `statistics` is a known name that `model` can follow.

    Raises:
        ValueError: If the name is unknown, or is "support" and the model's forward takes no
            `n_reference`.
    """
    check_choice("statistics", statistics, ("query", "support"))
    if statistics == "support" and "n_reference" not in inspect.signature(model.forward).parameters:
        raise ValueError(
            "statistics='support' needs a model whose forward takes n_reference, as ConvNet's "
            f"does; {type(model).__name__}'s does not."
        )


def call_on_queries(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    support_x: Float[Tensor, "support *feature"],
    query_x: Float[Tensor, "query *feature"],
    statistics: str,
) -> Float[Tensor, "query *target"]:
    """The model's outputs for the queries, its batch norms fed as `statistics` says.

    Args:
        model: The network.
        parameters: Replace the model's own of the same names.
        support_x: Inputs of the support set.
        query_x: Inputs of the queries.
        statistics: "query": of the queries together, so that a prediction depends on which other
            queries are asked (a *transductive* protocol). "support": of the support set, so that
            each query is answered alone.
    """
    if statistics == "query":
        return functional_call(model, dict(parameters), (query_x,))
    n_support = len(support_x)
    x = torch.cat([support_x, query_x])
    return functional_call(model, dict(parameters), (x,), {"n_reference": n_support})[n_support:]


def _moments(x: Tensor, n_reference: int | None) -> tuple[Tensor, Tensor]:
    if n_reference is not None:
        if not 1 <= n_reference <= len(x):
            raise ValueError(
                f"n_reference, whose statistics serve the batch, must be between 1 and its "
                f"{len(x)} examples; got {n_reference}."
            )
        x = x[:n_reference]
    return x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
