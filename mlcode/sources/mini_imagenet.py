"""miniImageNet: 100 classes of photographs, 600 of each, in the splits that papers share."""

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from mlcode.checks import check_choice, check_int
from mlcode.sources.cache import cached_bytes
from mlcode.sources.characters import Characters

FILES = {"train": "train.csv", "validation": "val.csv", "test": "test.csv"}
HOW_TO_GET_IT = (
    "miniImageNet is a part of ImageNet, whose licence lets nobody hand it on: request ImageNet at "
    "https://image-net.org, put the images into a folder `images` and beside it train.csv, val.csv "
    "and test.csv from https://github.com/twitter-research/meta-learning-lstm (data/miniImagenet). "
    "Name that folder, or put it into $MLCODE_DATA/mini_imagenet. Without it, use Glyphs."
)


class MiniImageNet(Characters):
    """Photographs in colour of 64 classes for training, 16 for validation and 20 for testing.

    Matching networks introduced the data (Vinyals et al., 2016); the split in circulation is that
    of Ravi and Larochelle (2017), three lists of file names with their classes. The images are
    ImageNet's and are not ours to hand on: a reader requests them at https://image-net.org, and the
    lists are in https://github.com/twitter-research/meta-learning-lstm. The folder then holds

        images/n0153282900000005.jpg …
        train.csv, val.csv, test.csv        with the columns filename, label

    Each image is resized to `side` pixels, its shape ignored, and kept as bytes: the training split
    takes 0.8 GB. What was made of them is cached under a name that depends on the lists and on each
    file's size and time, so that a changed folder is noticed.

    Args:
        split: "train", "validation" or "test".
        folder: Where `images` and the lists lie. None: `$MLCODE_DATA/mini_imagenet`.
        side: Height and width in pixels; 84 in all papers.

    Raises:
        ValueError: If the split is unknown, the folder or a list is missing or malformed, an image
            is missing or damaged, classes have different numbers of images, or a class is in two
            lists.
    """

    def __init__(
        self, split: str = "train", folder: str | Path | None = None, *, side: int = 84
    ) -> None:
        check_choice("split", split, list(FILES))
        check_int("side", side, minimum=1)
        root = _root(folder)
        classes = _classes(root, split)
        _check_disjoint(root, split, classes)
        paths = [root / "images" / name for names in classes.values() for name in names]
        key = _key(root, split, paths, side)
        made = cached_bytes(key, lambda: b"".join(_pixels(path, side) for path in paths))
        images = torch.frombuffer(made, dtype=torch.uint8)
        super().__init__(
            images=images.view(len(classes), -1, 3, side, side), names=tuple(classes), split=split
        )


def _root(folder: str | Path | None) -> Path:
    if folder is None:
        data = os.environ.get("MLCODE_DATA")
        if not data:
            raise ValueError(f"no folder was named and MLCODE_DATA is not set. {HOW_TO_GET_IT}")
        folder = Path(data).expanduser() / "mini_imagenet"
    root = Path(folder).expanduser()
    if not (root / "images").is_dir():
        raise ValueError(f"{root} holds no folder `images`. {HOW_TO_GET_IT}")
    return root


def _classes(root: Path, split: str) -> dict[str, list[str]]:
    """The file names of each class, both in the order of the list."""
    path = root / FILES[split]
    if not path.is_file():
        raise ValueError(f"{path} is missing. {HOW_TO_GET_IT}")
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        if rows.fieldnames is None or not {"filename", "label"} <= set(rows.fieldnames):
            raise ValueError(
                f"{path} must begin with the line `filename,label`; it begins with "
                f"{rows.fieldnames}."
            )
        classes: dict[str, list[str]] = {}
        for line, row in enumerate(rows, start=2):
            if not row["filename"] or not row["label"] or "/" in row["filename"]:
                raise ValueError(f"{path}, line {line}: expected a file name and a label.")
            classes.setdefault(row["label"], []).append(row["filename"])
    _check_counts(path, classes)
    return classes


def _check_counts(path: Path, classes: Mapping[str, Sequence[str]]) -> None:
    if not classes:
        raise ValueError(f"{path} lists no image.")
    counts = Counter(len(names) for names in classes.values())
    if len(counts) > 1:
        usual = counts.most_common(1)[0][0]
        odd = next(label for label, names in classes.items() if len(names) != usual)
        raise ValueError(
            f"{path}: every class needs equally many images; most have {usual}, {odd} has "
            f"{len(classes[odd])}."
        )


def _check_disjoint(root: Path, split: str, classes: Mapping[str, Sequence[str]]) -> None:
    for other in FILES:
        if other == split or not (root / FILES[other]).is_file():
            continue
        shared = sorted(classes.keys() & _classes(root, other).keys())
        if shared:
            raise ValueError(
                f"{shared[0]} is a class of {FILES[split]} and of {FILES[other]}: its images would "
                "be trained on and tested on."
            )


def _key(root: Path, split: str, paths: Sequence[Path], side: int) -> str:
    digest = hashlib.sha256((root / FILES[split]).read_bytes())
    for path in paths:
        try:
            state = path.stat()
        except OSError as error:
            raise ValueError(f"{path}, which {FILES[split]} lists, is missing.") from error
        digest.update(f"{path.name} {state.st_size} {state.st_mtime_ns}\n".encode())
    return f"mini-imagenet-{split}-{side}-{digest.hexdigest()[:32]}"


def _pixels(path: Path, side: int) -> bytes:
    try:
        with Image.open(path) as image:
            small = image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise ValueError(f"{path} is no readable image ({error}). Put it there anew.") from error
    return np.asarray(small).transpose(2, 0, 1).tobytes()
