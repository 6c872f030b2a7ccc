"""Characters of fifteen scripts, drawn on the reader's machine: few-shot images, no download."""

import hashlib

import torch
from jaxtyping import UInt8
from torch import Tensor

from mlcode.checks import check_choice
from mlcode.sources.cache import cached_bytes
from mlcode.sources.characters import Characters
from mlcode.sources.glyph_classes import CODES

N_DRAWINGS = 20
SIDE = 28
VERSION = 1  # of the drawings: raised when a change of the code changes their bytes

# Whole scripts, so that a test asks for characters of a kind that was never trained on.
ALPHABETS = {
    "train": ("Canadian", "Coptic", "Cyrillic", "Greek", "Latin", "Lisu", "Ogham", "Old Italic"),
    "validation": ("Arabic", "Lao", "Nko"),
    "test": ("Armenian", "Georgian", "Hebrew", "Tifinagh"),
}


class Glyphs(Characters):
    """Over 1,000 characters of 15 scripts, 20 drawings each, from the fonts of Matplotlib.

    Each drawing is its character's outline turned, slanted, stretched, bent elastically and inked
    with a broader or finer pen, all at random but always alike: the bytes are the same on each run.
    (With another version of FreeType, which Matplotlib brings along, an outline can lie a fraction
    of a pixel elsewhere: between FreeType 2.6.1 and 2.14.3, 3 % of the pixels differ, some by much.
    The characters and their names are the same.) The characters are letters without accents, all
    scaled to one size; of letters that then look alike, such as Latin, Greek and Cyrillic A, one is
    kept.

    Turned by a quarter, some characters look like others: in Canadian syllabics, that is how the
    vowel is written. Where `Episodes` makes classes of rotations, such pairs are two classes, as
    they are in Omniglot.

    The first use of a split takes seconds. Its drawings are then kept in
    `~/.cache/learning-to-learn`, or in `$XDG_CACHE_HOME/learning-to-learn`; a file that was damaged
    is made again.

    Args:
        split: "train", "validation" or "test". No script is in two of them.

    Raises:
        ValueError: If `split` is not one of the three.

    Warns:
        UserWarning: If the drawings cannot be kept; they are made in memory all the same.
    """

    def __init__(self, split: str = "train") -> None:
        check_choice("split", split, tuple(ALPHABETS))
        named = [(name, code) for name in ALPHABETS[split] for code in code_points(name)]
        codes = [code for _, code in named]
        content = cached_bytes(_file_name(split), lambda: _draw_all(codes).numpy().tobytes())
        shape = (len(codes), N_DRAWINGS, SIDE, SIDE)
        super().__init__(
            images=torch.frombuffer(content, dtype=torch.uint8).view(shape),
            names=tuple(f"{name}/U+{code:04X}" for name, code in named),
            split=split,
        )


def code_points(alphabet: str) -> list[int]:
    """The Unicode code points of an alphabet's characters, in order.

    Raises:
        ValueError: If there is no such alphabet.
    """
    check_choice("alphabet", alphabet, tuple(CODES))
    codes: list[int] = []
    for part in CODES[alphabet].split():
        first, _, last = part.partition("-")
        codes.extend(range(int(first, 16), int(last or first, 16) + 1))
    return codes


def _draw_all(codes: list[int]) -> UInt8[Tensor, "character drawing height width"]:
    # Imported here: who finds the drawings in the cache needs neither.
    from mlcode.sources.glyph_drawing import draw, hands
    from mlcode.sources.glyph_shapes import fields

    some = [codes[start : start + 32] for start in range(0, len(codes), 32)]
    return torch.cat([draw(fields(few), hands(few, N_DRAWINGS)) for few in some])


def _file_name(split: str) -> str:
    """A name in the cache that changes with all that the bytes depend on."""
    import matplotlib
    from matplotlib.ft2font import __freetype_version__

    made_of = (VERSION, sorted(CODES.items()), ALPHABETS, N_DRAWINGS, __freetype_version__)
    digest = hashlib.sha256(repr((made_of, matplotlib.__version__)).encode()).hexdigest()
    return f"glyphs-{split}-{digest[:12]}.bin"
