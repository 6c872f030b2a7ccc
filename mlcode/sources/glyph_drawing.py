"""Drawings of a shape as hands would vary it: turned, slanted, stretched, bent, in another pen.

Positions are in pixels from the middle of the 28 × 28 drawing, x to the right and y down. Numbers
are kept in float64 until the ink is rounded to bytes, so that processors that differ in a float's
last digits still agree on the bytes.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from mlcode.sources.glyph_shapes import FINE, SIDE, half_width

TURN = math.radians(15)  # largest turn either way
SLANT = 0.25  # largest shear either way
SCALE = (0.8, 1.15)  # of each axis
BEND = 1.8  # pixels by which a knot of the elastic grid moves at most, along each axis
KNOTS = 4  # of that grid, along each axis; between them the distortion is smooth
PEN = (0.65, 1.2)  # pixels from the middle of a stroke to its edge
FINEST = 0.7  # of the shape's own pen; in a finer one, dots smaller than strokes would vanish
ROOM = 13  # pixels from the middle that may be inked: one all around stays paper


class Hands(NamedTuple):
    """How each drawing departs from its character's shape, in numbers uniform on [-1, 1]."""

    linear: Float[Tensor, "character drawing turn_slant_and_scales=4"]
    shift: Float[Tensor, "character drawing axis=2"]
    bend: Float[Tensor, "character drawing axis=2 knot knot"]
    pen: Float[Tensor, "character drawing"]


def hands(codes: list[int], n_drawings: int) -> Hands:
    """Draw the numbers for each character from a seed of its own, which is its code point.

    So a character's drawings do not depend on which other characters there are.
    """
    sizes = [4, 2, 2 * KNOTS**2, 1]
    numbers = torch.empty(len(codes), n_drawings, sum(sizes), dtype=torch.float64)
    generator = torch.Generator()
    for of_character, code in zip(numbers, codes):
        of_character.uniform_(-1, 1, generator=generator.manual_seed(code))
    linear, shift, bend, pen = numbers.split(sizes, dim=-1)
    return Hands(linear, shift, bend.unflatten(-1, (2, KNOTS, KNOTS)), pen[..., 0])


def draw(
    fields: Float[Tensor, "character fine fine"], by: Hands
) -> UInt8[Tensor, "character drawing height width"]:
    """Ink each shape by each of its hands, as bytes: 0 is paper, 255 is ink.

    A drawing's pixel p shows the shape's point q = A⁻¹(p − s) + b(p), with a linear map A, a shift
    s and a smooth bend b. A is made smaller where ink would otherwise leave the paper, and s is
    drawn from what room is left.
    """
    pen, a, bend = _between(PEN, by.pen), _linear(by.linear), _smooth(by.bend)
    # Ink at q is at most as far out as p = s + A(q − b) for the outermost q and the largest b.
    outermost = _half_size(fields)[:, None] + bend.abs().amax((-3, -2)) + pen[..., None]
    needed = (a.abs() @ outermost[..., None])[..., 0]
    shrink = (ROOM / needed.amax(-1)).clamp(max=1)
    a = a * shrink[..., None, None]
    shift = by.shift * (ROOM - needed * shrink[..., None]).clamp(min=0)
    points = _pixels() - shift[..., None, None, :]
    points = torch.einsum("cdij,cdhwj->cdhwi", torch.linalg.inv(a), points) + bend
    # Depth counts in the shape's pixels; the pen is as broad on a small drawing as on a large one.
    size, half = torch.linalg.det(a).sqrt(), half_width(fields)[:, None]
    pen = torch.maximum(pen, FINEST * half * size)
    depth = (_read(fields, points) - half[..., None, None]) * size[..., None, None]
    return (depth + pen[..., None, None] + 0.5).clamp(0, 1).mul(255).round().byte()


def _between(interval: tuple[float, float], number: Tensor) -> Tensor:
    """Take [-1, 1] to `interval`."""
    low, high = interval
    return low + (high - low) * (number + 1) / 2


def _linear(
    numbers: Float[Tensor, "character drawing number=4"],
) -> Float[Tensor, "character drawing 2 2"]:
    """A turn after a slant after a stretch of each axis."""
    turn, slant = TURN * numbers[..., 0], SLANT * numbers[..., 1]
    cos, sin, zero, one = turn.cos(), turn.sin(), torch.zeros_like(turn), torch.ones_like(turn)
    turned = torch.stack([cos, -sin, sin, cos], -1).unflatten(-1, (2, 2))
    slanted = torch.stack([one, slant, zero, one], -1).unflatten(-1, (2, 2))
    return turned @ slanted @ torch.diag_embed(_between(SCALE, numbers[..., 2:]))


def _smooth(
    bend: Float[Tensor, "character drawing 2 knot knot"],
) -> Float[Tensor, "character drawing height width 2"]:
    """Pixels of displacement everywhere, from those at the knots."""
    everywhere = F.interpolate(
        BEND * bend.flatten(0, 1), size=(SIDE, SIDE), mode="bicubic", align_corners=True
    )
    return everywhere.unflatten(0, bend.shape[:2]).permute(0, 1, 3, 4, 2)


def _half_size(
    fields: Float[Tensor, "character fine fine"],
) -> Float[Tensor, "character axis=2"]:
    """Pixels from the middle to the outermost point of each shape, along x and y."""
    ink = fields > 0
    away = (torch.arange(SIDE * FINE, dtype=torch.float64) + 0.5) / FINE - SIDE / 2
    return torch.stack([(ink.any(axis) * away.abs()).amax(-1) for axis in (1, 2)], -1)


def _pixels() -> Float[Tensor, "height width axis=2"]:
    """The middle of each pixel."""
    line = torch.arange(SIDE, dtype=torch.float64) + 0.5 - SIDE / 2
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)


def _read(
    fields: Float[Tensor, "character fine fine"],
    points: Float[Tensor, "character drawing height width axis=2"],
) -> Float[Tensor, "character drawing height width"]:
    """The fields at these points, between which they are linear."""
    # All drawings of a character, one below the other, read from its one field.
    below = (points / (SIDE / 2)).flatten(1, 2)
    read = F.grid_sample(
        fields[:, None].double(), below, padding_mode="border", align_corners=False
    )
    return read[:, 0].unflatten(1, points.shape[1:3])
