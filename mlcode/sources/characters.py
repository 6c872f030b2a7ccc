"""Classes of small images in memory: the form that `Glyphs`, `Omniglot` and photographs share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from mlcode.checks import check_int

QUARTERS = (0, 90, 180, 270)
IN_CACHE = 1 << 18  # pixels that a core's second-level cache holds as float32: 1 MiB


@dataclass(frozen=True, eq=False, repr=False)
class Characters:
    """Classes of small images, each with equally many drawings, kept as bytes.

    A byte is ink: 0 is paper and 255 is full ink, so that `images / 255` lies in [0, 1] with ink
    as 1. Bytes take a quarter of the memory of floats; `Episodes` converts what it draws. In
    photographs a byte is a colour's intensity, and the three colours stand before height and width.

    Args:
        images: All drawings, character by character.
        names: One a character, "Alphabet/character", such as "Ogham/U+1681". No name twice.
        split: Which part of the data this is, such as "train".

    Raises:
        TypeError: If `images` is not a tensor of bytes.
        ValueError: If `images` has not four axes, or five with three colours in the third, an axis
            is empty, or `names` are not one a character or not distinct.
    """

    images: UInt8[Tensor, "character drawing *colour height width"]
    names: tuple[str, ...]
    split: str

    def __post_init__(self) -> None:
        images, names = self.images, self.names
        if not isinstance(images, Tensor) or images.dtype != torch.uint8:
            kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
            raise TypeError(f"images must be a tensor of torch.uint8, 255 for ink; got {kind}.")
        drawn = images.ndim == 4 or (images.ndim == 5 and images.shape[2] == 3)
        if not drawn or 0 in images.shape:
            raise ValueError(
                "images must have the shape (character, drawing, height, width), no axis empty, or "
                f"with 3 colours before height and width; got {tuple(images.shape)}."
            )
        if len(names) != len(images) or len(set(names)) != len(names):
            raise ValueError(
                f"expected {len(images)} distinct names, one a character; "
                f"got {len(names)}, {len(set(names))} of them distinct."
            )

    @property
    def n_drawings(self) -> int:
        """How many drawings there are of each character."""
        return self.images.shape[1]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image, as a `ConvNet` takes it: one channel for ink."""
        *colours, height, width = self.images.shape[2:]
        return (colours[0] if colours else 1, height, width)

    def as_inputs(
        self,
        bank: UInt8[Tensor, "image *colour height width"],
        index: Int64[Tensor, "*batch"],
        dtype: torch.dtype | None = None,
    ) -> Float[Tensor, "*batch channel height width"]:
        """The images of `bank` at `index`, as floats in [0, 1].

        Args:
            bank: All images, as `turned` makes it.
            index: Places in it.
            dtype: Of the result. None: torch's default.
        """
        # Whole images are copied, which is many times faster than indexing by class and drawing.
        bank, places = bank.flatten(1), index.flatten().to(bank.device)
        x = bank.new_empty(len(places), bank.shape[1], dtype=dtype or torch.get_default_dtype())
        n_parts = 1
        if x.device.type == "cpu":  # what was just converted is multiplied before it is evicted
            n_parts = max(1, math.ceil(x.numel() / (IN_CACHE * torch.get_num_threads())))
        for some, part in zip(places.chunk(n_parts), x.chunk(n_parts)):
            # Processors and GPUs agree on a product to the last digit, on a quotient they do not.
            part.copy_(bank.index_select(0, some)).mul_(1 / 255)
        return x.view(*index.shape, *self.image_shape)

    def turned(
        self, angles: Sequence[int], device: torch.device
    ) -> UInt8[Tensor, "image *colour height width"]:
        """All images at each angle (0, 90, 180 or 270 degrees), one class after the other."""
        images = self.images.to(device).flatten(0, 1)
        turned = [images.rot90(a // 90, (-2, -1)) if a else images for a in angles]
        return torch.cat(turned) if len(turned) > 1 else turned[0]

    @property
    def alphabets(self) -> tuple[str, ...]:
        """The alphabets of these characters, each once, in their order."""
        return tuple(dict.fromkeys(name.split("/")[0] for name in self.names))

    def __len__(self) -> int:
        """How many characters, which are the classes."""
        return len(self.images)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.split!r})"


def quarter_turns(rotations: bool | Sequence[int], characters: Characters) -> tuple[int, ...]:
    """The angles that `rotations` means: True all four, False only 0, else those given.

    Raises:
        TypeError: If an angle is not an integer.
        ValueError: If there are none, one is given twice or is no quarter turn, or the images are
            not square and would have to be.
    """
    angles = (QUARTERS if rotations else (0,)) if isinstance(rotations, bool) else tuple(rotations)
    for angle in angles:
        check_int("an angle of rotations", angle, minimum=0)
    if not angles or len(set(angles)) != len(angles) or not set(angles) <= set(QUARTERS):
        raise ValueError(
            f"rotations must be True, False or some of {QUARTERS}, none twice; got {angles}."
        )
    height, width = characters.images.shape[-2:]
    if height != width and not set(angles) <= {0, 180}:
        raise ValueError(
            f"only square images can be turned by 90 degrees; {characters!r} has "
            f"{height} x {width}. Use rotations=False."
        )
    return angles
