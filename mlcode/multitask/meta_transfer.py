"""Meta-transfer learning: a pre-trained network stays, and how to scale and shift it is learned."""

import inspect
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.func import functional_call

from mlcode.checks import check_choice, check_int
from mlcode.learner import LossFn, Mapping
from mlcode.optimization.inner_loop import Parameters, UpdateRule, unroll
from mlcode.optimization.maml import MAML
from mlcode.tasks import Examples

BODIES = ("scale and shift", "scale", "shift", "weights", "frozen")


class ScaleAndShift(nn.Module):
    r"""A network whose weights are constants, each kernel with a factor, each bias with a term.

    A convolution's weight is multiplied by Φ₁, one number for each pair of an output and an input
    channel, which starts at 1; its bias has Φ₂ added, one number an output, which starts at 0 (Sun
    et al., 2019). So a 3 × 3 kernel is learned with one number instead of nine, and
    what pre-training found cannot be forgotten. A linear layer is a convolution of size 1.

    Differs from the paper where a layer has no bias: there is then nothing to shift.

    Args:
        network: Pre-trained. It is not changed, but its parameters no longer ask for gradients.
        scale: Learn the factors.
        shift: Learn the terms.

    Raises:
        ValueError: If the network has no convolution and no linear layer.
    """

    def __init__(self, network: nn.Module, *, scale: bool = True, shift: bool = True) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        layers = {
            name: layer
            for name, layer in network.named_modules()
            if isinstance(layer, (nn.modules.conv._ConvNd, nn.Linear))
        }
        if not layers:
            raise ValueError("network has no convolution and no linear layer to scale and shift.")
        self.scaled = tuple(_join(name, "weight") for name in layers) if scale else ()
        self.shifted = (
            tuple(_join(name, "bias") for name, layer in layers.items() if layer.bias is not None)
            if shift
            else ()
        )
        own = dict(network.named_parameters())
        # Lists, since torch allows no dot in the name of a parameter.
        self.scales = nn.ParameterList(
            own[n].new_ones(*own[n].shape[:2], *[1] * (own[n].ndim - 2)) for n in self.scaled
        )
        self.shifts = nn.ParameterList(torch.zeros_like(own[n]) for n in self.shifted)

    def weights(self) -> dict[str, Tensor]:
        """The scaled and shifted parameters, by name; the others are the network's own."""
        own = dict(self.network.named_parameters())
        scaled = {name: own[name] * by for name, by in zip(self.scaled, self.scales)}
        return scaled | {name: own[name] + by for name, by in zip(self.shifted, self.shifts)}

    def forward(
        self, x: Shaped[Tensor, "example *feature"], n_reference: int | None = None
    ) -> Float[Tensor, "example *target"]:
        """The outputs of the scaled and shifted network; `n_reference` as in `ConvNet`."""
        options = {} if n_reference is None else {"n_reference": n_reference}
        return functional_call(self.network, self.weights(), (x,), options)


class _Transferred(nn.Module):
    """A body and a linear head of zeros."""

    def __init__(self, body: nn.Module, n_features: int, n_way: int, like: Tensor) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(n_features, n_way).to(like)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.n_out = n_way

    def forward(self, x: Tensor, n_reference: int | None = None) -> Tensor:
        options = {} if n_reference is None else {"n_reference": n_reference}
        return self.head(self.body(x, **options).flatten(1))


class MetaTransfer(MAML):
    """Pre-train, then meta-learn what to change of it (Sun et al., 2019).

    Within a task only the head takes gradient steps. Over tasks, the head's start and the scales
    and shifts of the pre-trained body are learned, and the body's own weights stay.

    `body` puts the alternatives side by side that say what earns what: only one of the two; all
    weights themselves, from where pre-training left them; or nothing, so that only the head's start
    is meta-learned.

    Args:
        encoder: Pre-trained, from inputs to features, such as `ConvNet(None)`. The body is that
            very module.
        n_way: Classes a task.
        n_features: Width of the features. None: read off the encoder.
        body: What is meta-learned of it: "scale and shift", "scale", "shift", "weights" or
            "frozen".
        inner_lr: As in `MAML`, like all that follow.
        n_inner_steps: See `MAML`; steps of the head alone are cheap, so that there may be many.
        n_test_steps: See `MAML`.
        loss_fn: See `MAML`.
        first_order: See `MAML`.
        statistics: See `MAML`.
        rule: See `MAML`.
        mapping: See `MetaLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: As `MAML`.
        ValueError: As `MAML`, or if `body` is unknown, or the encoder does not say how many
            features it makes.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        n_way: int,
        n_features: int | None = None,
        body: str = "scale and shift",
        inner_lr: float = 0.01,
        n_inner_steps: int = 20,
        n_test_steps: int | None = None,
        loss_fn: LossFn = F.cross_entropy,
        first_order: bool = False,
        statistics: str = "query",
        rule: UpdateRule | None = None,
        mapping: Mapping = "auto",
        chunk_size: int | None = None,
    ) -> None:
        check_choice("body", body, BODIES)
        check_int("n_way", n_way, minimum=2)
        if statistics == "support" and not _takes_reference(encoder.forward):
            raise ValueError(
                "statistics='support' needs an encoder whose forward takes n_reference, as "
                f"ConvNet's does; {type(encoder).__name__}'s does not."
            )
        super().__init__(
            _Transferred(
                _body(encoder, body),
                _n_features(encoder, n_features),
                n_way,
                next(encoder.parameters()),
            ),
            inner_lr=inner_lr,
            n_inner_steps=n_inner_steps,
            n_test_steps=n_test_steps,
            loss_fn=loss_fn,
            first_order=first_order,
            adapted="head.*",
            statistics=statistics,
            rule=rule,
            mapping=mapping,
            chunk_size=chunk_size,
        )
        self.body = body

    def adapt(self, support: Examples, n_steps: int | None = None) -> Parameters:
        """The adapted head of one task, by name; as `MAML.adapt`.

        The body stays within a task, so that it reads the support set once and not at every step.
        """
        n_steps, head = self._checked_steps(n_steps, support), self.initial()
        if n_steps == 0:
            return head
        z = self.model.get_submodule("body")(support.x).flatten(1)

        def loss(at: Parameters) -> Tensor:
            return self.loss(F.linear(z, at["head.weight"], at["head.bias"]), support.y)

        return unroll(loss, head, self.rule, n_steps, first_order=self.first_order)[0]

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        return f"body={self.body}, {super().extra_repr()}"


def _body(encoder: nn.Module, body: str) -> nn.Module:
    if body in ("weights", "frozen"):
        return encoder.requires_grad_(body == "weights")
    return ScaleAndShift(encoder, scale="scale" in body, shift="shift" in body)


def _n_features(encoder: nn.Module, n_features: int | None) -> int:
    found = n_features or getattr(encoder, "n_features", None) or getattr(encoder, "n_out", None)
    if found is None:
        raise ValueError(
            f"{type(encoder).__name__} does not say it makes how many features; pass n_features."
        )
    check_int("n_features", found, minimum=1)
    return found


def _takes_reference(forward: Callable) -> bool:
    return "n_reference" in inspect.signature(forward).parameters


def _join(layer: str, name: str) -> str:
    return f"{layer}.{name}" if layer else name
