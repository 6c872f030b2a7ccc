"""Classes of small images in memory: the form that `Glyphs` and `Omniglot` share."""

from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Characters:
    """Classes of small images, each with equally many drawings, kept as bytes.

    A byte is ink: 0 is paper and 255 is full ink, so that `images / 255` lies in [0, 1] with ink
    as 1. Bytes take a quarter of the memory of floats; `Episodes` converts what it draws.

    Args:
        images: All drawings, character by character.
        names: One a character, "Alphabet/character", such as "Ogham/U+1681". No name twice.
        split: Which part of the data this is, such as "train".

    Raises:
        TypeError: If `images` is not a tensor of bytes.
        ValueError: If `images` has not four axes, an axis is empty, or `names` are not one a
            character or not distinct.
    """

    images: UInt8[Tensor, "character drawing height width"]
    names: tuple[str, ...]
    split: str

    def __post_init__(self) -> None:
        images, names = self.images, self.names
        if not isinstance(images, Tensor) or images.dtype != torch.uint8:
            kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
            raise TypeError(f"images must be a tensor of torch.uint8, 255 for ink; got {kind}.")
        if images.ndim != 4 or 0 in images.shape:
            raise ValueError(
                "images must have the shape (character, drawing, height, width), no axis empty; "
                f"got {tuple(images.shape)}."
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
    def alphabets(self) -> tuple[str, ...]:
        """The alphabets of these characters, each once, in their order."""
        return tuple(dict.fromkeys(name.split("/")[0] for name in self.names))

    def __len__(self) -> int:
        """How many characters, which are the classes."""
        return len(self.images)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.split!r})"
