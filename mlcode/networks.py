"""The networks that the learners train. Any `nn.Module` would do; these are the published ones."""

from copy import deepcopy
from itertools import pairwise

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mlcode.batch_norm import BatchNorm
from mlcode.checks import check_choice, check_int


class MLP(nn.Sequential):
    """A multilayer perceptron: linear layers of the given sizes with ReLU between them.

    `MLP(1, 40, 40, 1)` is the regressor of the MAML paper (Finn et al., 2017, section 5.1).

    Args:
        sizes: Features of the input, of each hidden layer, and of the output.

    Raises:
        TypeError: If a size is not an integer.
        ValueError: If there are fewer than two sizes or one is below 1; on call, if the input's
            last axis is not `sizes[0]`.
    """

    def __init__(self, *sizes: int) -> None:
        if len(sizes) < 2:
            raise ValueError(f"MLP needs the sizes of its input and output at least; got {sizes}.")
        for size in sizes:
            check_int("a layer size", size, minimum=1)
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        super().__init__(*layers[:-1])
        self.sizes = sizes
        self.n_out = sizes[-1]

    def forward(self, x: Float[Tensor, "*example feature"]) -> Float[Tensor, "*example target"]:
        """Map features to outputs along the last axis."""
        if x.shape[-1] != self.sizes[0]:
            raise ValueError(
                f"MLP{self.sizes} takes {self.sizes[0]} feature(s) on the last axis; "
                f"got inputs of shape {tuple(x.shape)}."
            )
        return super().forward(x)


class ConvNet(nn.Module):
    """Four blocks of 3 × 3 convolution, batch norm and ReLU, then a linear head.

    In its two published shapes a block halves the image:

    - "stride": the convolution takes every second pixel and the last block's image is averaged.
      MAML on Omniglot (Finn et al., 2017, section 5.2). Several times faster on a CPU.
    - "pool": 2 × 2 max-pooling follows the ReLU and the last block's image is flattened. Matching
      and Prototypical networks, and MAML on miniImageNet with 32 filters.

    The weights of the pooling shape lie in memory as `torch.channels_last`. That changes no number;
    on a CPU it made the step of a prototypical network half as long again faster. The other shape
    gains by `net.to(memory_format=torch.channels_last)` if compiled: MAML's step a sixth.

    Differs from the MAML paper's code in how weights begin: torch's default for each layer.

    Args:
        n_out: Outputs of the linear head, such as the number of classes. None: no head, so that
            the output is the feature vector, `n_features` wide.
        in_channels: 1 for ink, 3 for colour.
        n_filters: Channels of every block.
        downsampling: "stride" or "pool".
        image_size: Pixels along each side.
        n_blocks: How many blocks; all papers take four.

    Raises:
        TypeError: If a number is not an integer; on call, if images are not floating point.
        ValueError: If a number is below 1, `downsampling` is unknown or leaves no pixel; on call,
            if images have another shape.
    """

    def __init__(
        self,
        n_out: int | None,
        *,
        in_channels: int = 1,
        n_filters: int = 64,
        downsampling: str = "stride",
        image_size: int = 28,
        n_blocks: int = 4,
    ) -> None:
        super().__init__()
        numbers = (in_channels, n_filters, image_size, n_blocks)
        for name, number in zip(("in_channels", "n_filters", "image_size", "n_blocks"), numbers):
            check_int(name, number, minimum=1)
        check_choice("downsampling", downsampling, ("stride", "pool"))
        side = image_size // 2**n_blocks if downsampling == "pool" else 1
        if side == 0:
            raise ValueError(
                f"{n_blocks} times 2 × 2 pooling needs images of {2**n_blocks} pixels a side at "
                f"least; got image_size={image_size}. Use fewer blocks or downsampling='stride'."
            )
        channels = [in_channels] + [n_filters] * n_blocks
        self.image_shape = (in_channels, image_size, image_size)
        self.n_features = n_filters * side**2
        self.body = nn.ModuleList(ConvBlock(a, b, downsampling) for a, b in pairwise(channels))
        self.head = _head(self.n_features, n_out)
        self.n_out = n_out
        self.downsampling = downsampling
        if downsampling == "pool":
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(
        self, x: Shaped[Tensor, "*example_channel_height_width"], n_reference: int | None = None
    ) -> Float[Tensor, "example target"]:
        """Outputs of the head, or features if there is none.

        Args:
            x: Images, ink as 1 or colours in [0, 1].
            n_reference: Batch statistics come from the first `n_reference` images; None: from all.
                Frozen statistics take precedence.
        """
        self._check_images(x)
        for block in self.body:
            x = block(x, n_reference)
        return self.head(x.mean((2, 3)) if self.downsampling == "stride" else x.flatten(1))

    def with_head(self, n_out: int | None) -> "ConvNet":
        """A copy with a new head for `n_out` outputs (None: without one), its weights zero.

        From zero weights every class starts equally likely, and nothing of the old head is left.
        """
        copy = deepcopy(self)
        copy.head = _head(self.n_features, n_out)
        copy.n_out = n_out
        if isinstance(copy.head, nn.Linear):
            copy.head.to(next(self.parameters()))  # device and dtype
            nn.init.zeros_(copy.head.weight)
            nn.init.zeros_(copy.head.bias)
        return copy

    def freeze_statistics(self, x: Shaped[Tensor, "*example_channel_height_width"]) -> None:
        """Use the batch statistics of `x` in every later call, whatever its batch.

        Args:
            x: Images of training classes, as many as memory allows: they pass in one batch.
        """
        self._check_images(x)
        with torch.no_grad():
            for block in self._blocks():
                block.norm.freeze(block.conv(x))
                x = block(x)

    def thaw_statistics(self) -> None:
        """Undo `freeze_statistics`."""
        for block in self._blocks():
            block.norm.frozen = False

    def _blocks(self) -> list["ConvBlock"]:
        return [block for block in self.body if isinstance(block, ConvBlock)]

    def _check_images(self, x: Tensor) -> None:
        if not x.is_floating_point():
            raise TypeError(
                f"ConvNet takes floating-point images in [0, 1]; got {x.dtype}. Episodes makes "
                "them so; of bytes, use x / 255."
            )
        if x.ndim != 4 or tuple(x.shape[1:]) != self.image_shape:
            raise ValueError(
                f"ConvNet takes images of the shape (example, *{self.image_shape}); "
                f"got {tuple(x.shape)}."
            )


class ConvBlock(nn.Module):
    """3 × 3 convolution, batch norm, ReLU; halved by the convolution's stride or by max-pooling.

    Args:
        n_in: Channels that come.
        n_out: Channels that go.
        downsampling: "stride" or "pool".
    """

    def __init__(self, n_in: int, n_out: int, downsampling: str) -> None:
        super().__init__()
        strided = downsampling == "stride"
        self.conv = nn.Conv2d(n_in, n_out, 3, stride=2 if strided else 1, padding=1)
        # Learners loop over tasks where stride-1 convolutions meet a CPU: see `MetaLearner`.
        self.norm = BatchNorm(n_out, fused=not strided)
        self.pool = nn.Identity() if strided else nn.MaxPool2d(2)

    def forward(
        self, x: Float[Tensor, "example n_in height width"], n_reference: int | None = None
    ) -> Float[Tensor, "example n_out half_height half_width"]:
        """Half the height and width, `n_out` channels."""
        # ReLU after pooling: the largest is the same before and after, and there are fewer to cut.
        return self.pool(self.norm(self.conv(x), n_reference)).relu()


def _head(n_features: int, n_out: int | None) -> nn.Module:
    if n_out is None:
        return nn.Identity()
    check_int("n_out", n_out, minimum=1)
    return nn.Linear(n_features, n_out)
