"""MAML on images: mlcode's network with its own batch norm against torch's layers in the peers."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mlcode.learner import LossFn
from mlcode.networks import ConvNet
from mlcode.peers.maml import MAMLSetting, maml_learner
from mlcode.peers.meta_step import MetaGradient
from mlcode.tasks import Examples, Tasks


@dataclass(frozen=True)
class ImageSetting(MAMLSetting):
    """The settings of a MAML step on images; the defaults are the paper's for Omniglot, 5-way.

    But for the outer rate, which is a hundredth. A bias before batch norm has the gradient zero, of
    which rounding leaves 1e-17, and Adam divides a gradient by its own size plus 1e-8: at the
    paper's rate the step that it makes of this noise is 2e-10, in every pair of libraries.
    """

    inner_lr: float = 0.4
    meta_lr: float = 1e-5
    loss_fn: LossFn = F.cross_entropy


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
        n_out: Outputs.
        n_filters: Channels.
        downsampling: "stride" or "pool".
        image_size: Pixels along each side.
        n_blocks: How many blocks.
    """

    def __init__(
        self, n_out: int, n_filters: int, downsampling: str, image_size: int, n_blocks: int
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
        self.head = nn.Linear(n_filters * side**2, n_out)

    def forward(
        self, x: Float[Tensor, "example channel height width"]
    ) -> Float[Tensor, "example target"]:
        """The blocks, then the head."""
        x = self.body(x)
        return self.head(x.flatten(1) if self.options["downsampling"] == "pool" else x.mean((2, 3)))


def by_mlcode(model: nn.Module, setting: MAMLSetting) -> MetaGradient:
    """The step of mlcode's `ConvNet` on the very parameters of `model`."""
    assert isinstance(model, TorchConvNet)
    network = ConvNet(model.head.out_features, **model.options)
    for name, parameter in model.named_parameters():
        owner, _, last = name.rpartition(".")
        setattr(network.get_submodule(owner), last, parameter)
    learner = maml_learner(network, setting)

    def meta_gradient(tasks: Tasks) -> Tensor:
        loss = learner(tasks)
        loss.backward()
        return loss.detach()

    return meta_gradient


def image_problem(seed: int, downsampling: str) -> tuple[nn.Module, Tasks]:
    """A small network, 5-way 1-shot tasks of noise with 3 queries a class, in float64."""
    with torch.random.fork_rng(devices=[]):  # the caller's global generator stays where it was
        torch.manual_seed(seed)
        model = TorchConvNet(5, 8, downsampling, image_size=28, n_blocks=4).double()
    draw = torch.Generator().manual_seed(seed)

    def examples(each: int) -> Examples:
        x = torch.rand(3, 5 * each, 1, 28, 28, generator=draw, dtype=torch.float64)
        return Examples(x, torch.arange(5).repeat(3, each))

    return model, Tasks(examples(1), examples(3))
