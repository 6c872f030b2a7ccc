"""MAML on images: mlcode's network with its own batch norm against torch's layers in the peers."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from mlcode.learner import LossFn
from mlcode.peers.maml import MAMLSetting
from mlcode.peers.networks import TorchConvNet
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
