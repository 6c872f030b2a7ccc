"""Which characters Omniglot has, in which archive each lies, and to which split it belongs."""

from importlib.resources import files
from typing import NamedTuple

# "background" and "evaluation" are the archives, split by the author of the data; the others are
# the split of the few-shot papers.
SPLITS = ("train", "validation", "trainval", "test", "background", "evaluation")


class Character(NamedTuple):
    """One character of the list that the package ships."""

    name: str
    archive: str
    row: int  # among the characters of its archive
    split: str


def in_split(character: Character, split: str) -> bool:
    """Whether a character belongs to one of `SPLITS`."""
    if split == "trainval":
        return character.split in ("train", "validation")
    return split in (character.split, character.archive)


def characters() -> list[Character]:
    """All 1,623 characters in the order of their names, from `omniglot_characters.txt`."""
    text = files("mlcode.sources").joinpath("omniglot_characters.txt").read_text(encoding="utf-8")
    listed = []
    for line in text.splitlines():
        if not line.startswith("#"):
            alphabet, archive, split, numbers = line.split()
            first, last = map(int, numbers.split("-"))
            names = [f"{alphabet}/character{n:02}" for n in range(first, last + 1)]
            listed += [(name, archive, split) for name in names]
    rows: dict[str, int] = {}
    found = []
    for name, archive, split in sorted(listed):
        row = rows[archive] = rows.get(archive, -1) + 1
        found.append(Character(name, archive, row, split))
    return found
