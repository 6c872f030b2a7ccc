"""The shapes of characters, from the fonts that Matplotlib installs, as fields of distances.

A field says how deep inside the ink (positive) or how far outside it (negative) each point lies.
It can be bent, and inked with a broader or a finer pen, without steps at the edges.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

FACES = ("DejaVuSans", "DejaVuSerif", "STIXGeneral")  # the first that has a character draws it

SIDE = 28  # pixels of a drawing
FINE = 3  # points of a field a pixel
EXTENT = 20  # pixels of a shape's longer side, before it is distorted
REACH = 3  # pixels beyond which a distance is no longer told apart


def fields(codes: Iterable[int]) -> Float[Tensor, "character fine fine"]:
    """The shapes of characters, each scaled to one size and centred.

    Args:
        codes: Their Unicode code points.

    Returns:
        In pixels, the signed distance to the outline, positive in the ink, cut off at ±`REACH`, on
        a square of 28 pixels at three points a pixel. The scale makes a capital that is only
        larger than its small letter the same shape.

    Raises:
        ValueError: If no face has the character, or it has no ink.
    """
    return signed_distance(torch.stack([_centred(_bitmap(code)) for code in codes]) >= 128)


def signed_distance(ink: Bool[Tensor, "n fine fine"]) -> Float[Tensor, "n fine fine"]:
    """Pixels to the outline, which runs half-way between the last point inside and the next."""
    return (_distance_to(~ink) - _distance_to(ink)) / FINE


def middle(fields: Float[Tensor, "n fine fine"]) -> Bool[Tensor, "n fine fine"]:
    """The middle lines of strokes: the points no neighbour of which lies deeper in the ink."""
    return (fields == F.max_pool2d(fields, 3, stride=1, padding=1)) & (fields > 0)


def half_width(fields: Float[Tensor, "n fine fine"]) -> Float[Tensor, "n"]:
    """Pixels from the middle of a shape's strokes to their edges: the median over the middle."""
    inked = torch.where(middle(fields), fields, torch.nan)
    return inked.flatten(1).nanmedian(1).values


def face_of(code: int) -> str | None:
    """The face that draws a character; None if none has it and all would draw an empty box."""
    return next((face for face in FACES if _font(face).get_char_index(code)), None)


def characters_in(face: str) -> list[int]:
    """The code points for which a face has a shape."""
    return sorted(_font(face).get_charmap())


@cache
def _font(face: str) -> Any:
    # Imported here: who brings images of their own need not wait for Matplotlib.
    from matplotlib import get_data_path
    from matplotlib.ft2font import FT2Font

    return FT2Font(str(Path(get_data_path(), "fonts", "ttf", f"{face}.ttf")))


def _unhinted() -> Any:
    """No shifting of outlines to whole pixels, which differs among FreeType's versions."""
    from matplotlib import ft2font

    flags = getattr(ft2font, "LoadFlags", None)  # since Matplotlib 3.10
    return flags.NO_HINTING if flags else ft2font.LOAD_NO_HINTING  # type: ignore[attr-defined]


def _bitmap(code: int) -> UInt8[Tensor, "height width"]:
    """A character's ink as bytes, `EXTENT` pixels long on its longer side, `FINE` points each."""
    face = face_of(code)
    if face is None:
        raise ValueError(f"none of Matplotlib's {', '.join(FACES)} has the character U+{code:04X}.")
    font, points = _font(face), 100.0
    font.set_size(points, 72)  # at 72 dots an inch a point is a pixel
    left, bottom, right, top = font.load_char(code, flags=_unhinted()).bbox
    longer = max(right - left, top - bottom) / 64  # FreeType counts in 64ths
    if longer == 0:
        raise ValueError(f"U+{code:04X} has no ink.")
    font.set_size(points * EXTENT * FINE / longer, 72)
    font.set_text(chr(code), 0.0, flags=_unhinted())
    font.draw_glyphs_to_bitmap(antialiased=True)
    return torch.tensor(font.get_image().copy())


def _centred(bitmap: UInt8[Tensor, "height width"]) -> UInt8[Tensor, "fine fine"]:
    """Crop a bitmap to its ink and put that in the middle of the square."""
    rows, columns = ((bitmap >= 128).any(axis).nonzero() for axis in (1, 0))
    ink = bitmap[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    square = bitmap.new_zeros(SIDE * FINE, SIDE * FINE)
    top, left = ((SIDE * FINE - length) // 2 for length in ink.shape)
    square[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return square


def _distance_to(points: Bool[Tensor, "n fine fine"]) -> Float[Tensor, "n fine fine"]:
    """Distance to the nearest marked point, in points, less the half to the outline.

    Euclidean, along one axis after the other: min over (dx, dy) of dx² + dy². At most `REACH`.
    """
    reach = REACH * FINE
    squared = torch.where(points, 0.0, float(reach**2))
    for _ in range(2):
        padded = F.pad(squared, (reach, reach), value=float(reach**2))
        for shift in range(-reach, reach + 1):
            beside = padded.narrow(-1, reach + shift, squared.shape[-1])
            squared = torch.minimum(squared, beside + shift**2)
        squared = squared.transpose(1, 2)
    return (squared.clamp(max=reach**2).sqrt() - 0.5).clamp(min=0)
