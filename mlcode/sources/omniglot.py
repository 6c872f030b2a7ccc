"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn by 20 people."""

import os
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from mlcode.checks import check_choice
from mlcode.sources.cache import cached_bytes
from mlcode.sources.characters import Characters
from mlcode.sources.download import DownloadError, download
from mlcode.sources.omniglot_archives import FILTERS, N_DRAWINGS, SIDE, read_archive
from mlcode.sources.omniglot_splits import SPLITS, characters, in_split

# Both as torchvision has them.
ADDRESS = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
MD5 = {
    "background": "68d2efa1b9178cc56df9314c21c6e718",
    "evaluation": "6b91aef0f799c5bb55b94e3f2daec811",
}

VERSION = 1  # of what is cached; raise it when the same archives give other bytes


class Omniglot(Characters):
    """Handwritten characters, 20 drawings each, 28 × 28 (Lake et al., 2015, *Science* 350).

    The archives are read from `$MLCODE_DATA/omniglot/` if they lie there, and otherwise downloaded
    once from their author's repository, 16 MB. Either way the decoded drawings are compared with
    the author's by a digest. What was made of them is kept in `~/.cache/learning-to-learn`, or in
    `$XDG_CACHE_HOME/learning-to-learn`; nothing is written to `MLCODE_DATA`.

    A drawing has 105 × 105 pixels of one bit and is resized with Pillow. "nearest" is what the
    code of MAML and of Prototypical networks does, whatever it says: the first asks for LANCZOS,
    the second for the default, but Pillow always resizes images of one bit by nearest neighbour
    (https://github.com/cbfinn/maml/pull/23). Its bytes are 0 and 255 only. "lanczos" has the greys
    of a smooth reduction, as in learn2learn, whose images are converted to grey first.

    The papers add each character turned by 90°, 180° and 270° as further classes. They are not
    stored: turning before "nearest" or after it gives the same image, pixel by pixel.

    Args:
        split: "train", "validation" and "test" are the 1028, 172 and 423 characters used by
            Matching and Prototypical networks (Vinyals et al., 2016; Snell et al., 2017), and
            "trainval" the first two together. They are not quite split by alphabet: of Gurmukhi, 41
            characters are in "train" and 4 in "test". "background" and "evaluation" are the 964
            and 659 characters of its author's split, which share no alphabet.
        resampling: "nearest" or "lanczos".

    Raises:
        ValueError: If `split` or `resampling` is unknown, or an archive in `MLCODE_DATA` is damaged
            or not the author's.
        ConnectionError: If the archives are neither at hand nor to be had from the network.

    Warns:
        UserWarning: If the cache cannot be written to; the images are in memory all the same.
    """

    resampling: str

    def __init__(self, split: str = "train", *, resampling: str = "nearest") -> None:
        check_choice("split", split, SPLITS)
        check_choice("resampling", resampling, list(FILTERS))
        chosen = [c for c in characters() if in_split(c, split)]
        images = {part: _images(part, resampling) for part in sorted({c.archive for c in chosen})}
        object.__setattr__(self, "resampling", resampling)
        super().__init__(
            images=torch.stack([images[c.archive][c.row] for c in chosen]),
            names=tuple(c.name for c in chosen),
            split=split,
        )

    def __repr__(self) -> str:
        how = "" if self.resampling == "nearest" else f", resampling={self.resampling!r}"
        return f"Omniglot({self.split!r}{how})"


def _images(part: str, how: str) -> UInt8[Tensor, "character drawing height width"]:
    def make() -> bytes:
        names = [c.name for c in characters() if c.archive == part]
        archive, origin = _archive(part)
        try:
            return read_archive(archive, part, names, how)
        except ValueError as error:
            raise ValueError(
                f"{origin}: {error}. Replace the file by the author's, {_address(part)}, or unset "
                "MLCODE_DATA to have it downloaded."
            ) from error

    made = cached_bytes(f"omniglot-{part}-{how}-{VERSION}", make)
    return torch.frombuffer(made, dtype=torch.uint8).view(-1, N_DRAWINGS, SIDE, SIDE)


def _archive(part: str) -> tuple[bytes | bytearray, str]:
    """An archive's content and where it is from: `MLCODE_DATA`, the cache, or the network."""
    given = os.environ.get("MLCODE_DATA")
    if given:
        folder = Path(given).expanduser()  # a notebook's %env does not
        if not folder.is_dir():
            raise ValueError(f"MLCODE_DATA must name a folder that exists; it is {given!r}.")
        path = folder / "omniglot" / f"images_{part}.zip"
        if path.exists():
            return path.read_bytes(), str(path)
    try:
        return cached_bytes(
            f"omniglot-{part}.zip-and-digest", lambda: download(_address(part), md5=MD5[part])
        ), _address(part)
    except DownloadError as error:
        raise DownloadError(
            f"{error} To use Omniglot without a network, set MLCODE_DATA to a folder that holds "
            "omniglot/images_background.zip and omniglot/images_evaluation.zip, both from "
            f"{ADDRESS}. Or use Glyphs, which needs no download: Glyphs('train')."
        ) from error


def _address(part: str) -> str:
    return f"{ADDRESS}/images_{part}.zip"
