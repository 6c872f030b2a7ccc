"""The image network in torch's own layers, for libraries that know nothing of mlcode's."""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mlcode.networks import ConvNet


class TorchBlock(nn.Module):
    """Convolution, batch norm, ReLU and, in the pooling shape, max-pooling.

    Args:
        n_in: Channels that come.
        n_out: Channels that go.
        downsampling: "stride" or "pool".
    """

    def __init__(self, n_in: int, n_out: int, downsampling: str) -> None:
        super().__init__()
        self.pool = downsampling == "pool"
        self.conv = nn.Conv2d(n_in, n_out, 3, 1 if self.pool else 2, padding=1)
        self.norm = nn.BatchNorm2d(n_out, track_running_stats=False)

    def forward(
        self, x: Float[Tensor, "example n_in height width"]
    ) -> Float[Tensor, "example n_out half_height half_width"]:
        """One block."""
        x = F.relu(self.norm(self.conv(x)))
        return F.max_pool2d(x, 2) if self.pool else x


class TorchConvNet(nn.Module):
    """The network of `mlcode.ConvNet`, of torch's own layers and with the same parameter names.

    Args:
        n_out: Outputs, None for the features.
        n_filters: Channels.
        downsampling: "stride" or "pool".
        image_size: Pixels along each side.
        n_blocks: How many blocks.
    """

    def __init__(
        self, n_out: int | None, n_filters: int, downsampling: str, image_size: int, n_blocks: int
    ) -> None:
        super().__init__()
        self.options: dict[str, Any] = {
            "n_filters": n_filters,
            "downsampling": downsampling,
            "image_size": image_size,
            "n_blocks": n_blocks,
        }
        channels = [1] + [n_filters] * n_blocks
        self.body = nn.Sequential(*(TorchBlock(a, b, downsampling) for a, b in pairwise(channels)))
        side = image_size // 2**n_blocks if downsampling == "pool" else 1
        self.head = nn.Identity() if n_out is None else nn.Linear(n_filters * side**2, n_out)

    def forward(
        self, x: Float[Tensor, "example channel height width"]
    ) -> Float[Tensor, "example target"]:
        """The blocks, then the head."""
        x = self.body(x)
        return self.head(x.flatten(1) if self.options["downsampling"] == "pool" else x.mean((2, 3)))


def own_network(model: nn.Module) -> nn.Module:
    """What mlcode trains in its place: `ConvNet`, of the very parameters of a `TorchConvNet`.

    Any other network is taken as it is.
    """
    if not isinstance(model, TorchConvNet):
        return model
    network = ConvNet(getattr(model.head, "out_features", None), **model.options)
    for name, parameter in model.named_parameters():
        owner, _, last = name.rpartition(".")
        setattr(network.get_submodule(owner), last, parameter)
    if network.downsampling == "pool":  # as ConvNet lays out its own
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network
