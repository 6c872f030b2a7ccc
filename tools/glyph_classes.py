"""Choose the characters that `Glyphs` draws, and write them to `mlcode/sources/glyph_classes.py`.

All letters that Matplotlib's fonts have, less accented ones, those that look like another, and
those that are no strokes. The choice is written down, not made on each reader's machine: a pair
close to the threshold would otherwise come and go with the version of FreeType.

`--check` writes nothing and fails if the file says something else.
"""

from __future__ import annotations

import argparse
import math
import sys
import unicodedata
from collections import Counter
from itertools import groupby
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mlcode.sources import glyph_shapes

TARGET = Path(__file__).resolve().parent.parent / "mlcode" / "sources" / "glyph_classes.py"
TWO_WORDS = {"OLD"}  # Old Italic, where others are known by the first word of their letters' names
FEWEST = 8  # letters, below which a script is left out
BROADEST = 2.3  # pixels from the middle of a stroke to its edge; what is broader is a blob

# Two shapes are close if no middle of a stroke of either is this many pixels away from the ink of
# the other. The side of a drawing is 28, a shape's is 20; random distortion moves ink by more.
CLOSE = 1.1
CLOSE_IN_CASE = 2.3  # the same, for a capital and its small letter
PROPORTIONS = 1.3  # shapes whose proportions differ by less are compared in one box as well

HEAD = '''\
"""The characters that `Glyphs` draws. Written by `python tools/glyph_classes.py`."""

# Alphabet: ranges of Unicode code points, in hexadecimal. No two look alike.
CODES = {
'''


def candidates() -> list[int]:
    """Letters without a decomposition, which would be a base and its accent, or a variant."""
    codes: set[int] = set()
    for face in glyph_shapes.FACES:
        codes.update(glyph_shapes.characters_in(face))
    return sorted(code for code in codes if _is_plain_letter(chr(code)))


def _is_plain_letter(char: str) -> bool:
    return unicodedata.category(char) in {"Lu", "Ll", "Lt", "Lo"} and not (
        unicodedata.decomposition(char)
    )


def script(code: int) -> str:
    """The script, from the character's Unicode name: "Old Italic" of OLD ITALIC LETTER A."""
    words = unicodedata.name(chr(code)).split()
    return " ".join(words[: 2 if words[0] in TWO_WORDS else 1]).title()


def alike(codes: list[int], fields: Tensor) -> Tensor:
    """Which pairs look alike, as a symmetric matrix of booleans.

    Those that are close, and a capital and its small letter already if they are roughly so, with
    all that are close to either: Latin K, of which Cyrillic ka has the capital and a small form.
    """
    stretched, proportion = in_one_box(fields)
    comparable = (proportion[:, None] - proportion).abs() < math.log(PROPORTIONS)

    def close(tolerance: float) -> Tensor:
        return _close(fields, tolerance) | (_close(stretched, tolerance) & comparable)

    place = {chr(code): i for i, code in enumerate(codes)}
    in_case = torch.zeros(len(codes), len(codes), dtype=torch.bool)
    for char, i in place.items():
        small = place.get(char.lower(), i)
        in_case[i, small] = in_case[small, i] = small != i
    same, cases = close(CLOSE), close(CLOSE_IN_CASE) & in_case
    return same | ((same.float() @ cases.float() @ same.float()) > 0)


def _close(fields: Tensor, tolerance: float) -> Tensor:
    middle = glyph_shapes.middle(fields)
    # One product of matrices counts, for each pair, the points of one that the other leaves bare.
    bare = middle.flatten(1).float() @ (fields < -tolerance).flatten(1).float().T
    return (bare + bare.T) == 0


def in_one_box(fields: Tensor) -> tuple[Tensor, Tensor]:
    """Each shape stretched to fill the box, and the logarithm of height over width."""
    side, full = glyph_shapes.EXTENT * glyph_shapes.FINE, fields.shape[-1]
    boxes, proportions = [], []
    for field in fields:
        rows, columns = ((field > 0).any(axis).nonzero() for axis in (1, 0))
        shape = field[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        proportions.append(math.log(shape.shape[0] / shape.shape[1]))
        filled = F.interpolate(shape[None, None], size=(side, side), mode="bilinear")[0, 0]
        boxes.append(F.pad(filled > 0, [(full - side) // 2] * 4))
    parts = torch.stack(boxes).split(200)
    return torch.cat(list(map(glyph_shapes.signed_distance, parts))), torch.tensor(proportions)


def choose() -> dict[str, list[int]]:
    """The characters of each alphabet: the smaller one chooses first, so that none is emptied."""
    codes = candidates()
    fields = shapes(codes)
    strokes = glyph_shapes.half_width(fields) <= BROADEST
    same = alike(codes, fields)
    sizes = Counter(map(script, codes))
    kept: list[int] = []
    for i in sorted(range(len(codes)), key=lambda i: (sizes[script(codes[i])], codes[i])):
        if strokes[i] and sizes[script(codes[i])] >= FEWEST and not same[i, kept].any():
            kept.append(i)
    chosen: dict[str, list[int]] = {}
    for i in sorted(kept):
        chosen.setdefault(script(codes[i]), []).append(codes[i])
    return {name: chosen[name] for name in sorted(chosen) if len(chosen[name]) >= FEWEST}


def shapes(codes: list[int]) -> Tensor:
    """The fields of many characters, made few at a time."""
    some = [codes[start : start + 200] for start in range(0, len(codes), 200)]
    return torch.cat([glyph_shapes.fields(few) for few in some])


def ranges(codes: list[int]) -> str:
    """`[0x41, 0x42, 0x45]` as "41-42 45"."""
    parts = []
    for _, group in groupby(enumerate(codes), key=lambda pair: pair[1] - pair[0]):
        run = [code for _, code in group]
        parts.append(f"{run[0]:X}-{run[-1]:X}" if len(run) > 1 else f"{run[0]:X}")
    return " ".join(parts)


def module(chosen: dict[str, list[int]]) -> str:
    """The source of `glyph_classes.py`."""
    lines = [HEAD]
    for name, codes in chosen.items():
        lines.append(f'    "{name}": (\n')
        words = ranges(codes).split()
        while words:
            line = words.pop(0)
            while words and len(line) + len(words[0]) < 84:
                line += f" {words.pop(0)}"
            lines.append(f'        "{line}{" " if words else ""}"\n')
        lines.append("    ),\n")
    return "".join([*lines, "}\n"])


def main() -> int:
    """Write the file, or with `--check` compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    text = module(choose())
    if not parser.parse_args().check:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    return int(TARGET.read_text(encoding="utf-8") != text)


if __name__ == "__main__":
    sys.exit(main())
