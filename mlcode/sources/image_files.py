"""A reader's own images: folders of files as the examples of one task, or a clear error."""

import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

Shape = tuple[int, int, int]  # channels, height, width

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")  # of 8 bits a channel or fewer
SYSTEM_FILES = ("Thumbs.db", "desktop.ini")  # beside those whose name begins with a dot
COLOURED = 48  # of 255: channels of a scan of grey differ by less, by compression
FAINT = 32  # of 255: a drawing has more contrast than this


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """The images of each class: one sub-folder a class, in the order of their names.

    Raises:
        ValueError: If there is no such folder, fewer than two classes, a class without an image, or
            something else lies there.
    """
    found = {}
    for path in _entries(folder):
        if not path.is_dir():
            raise ValueError(
                f"{path} lies beside the classes. A support image belongs in the sub-folder of its "
                "class, whose name is the class's."
            )
        found[path.name] = image_files(path)
    if len(found) < 2:
        there = f"one, {next(iter(found))!r}" if found else "none"
        raise ValueError(
            f"{folder} needs a sub-folder for each of two or more classes to tell apart; it has "
            f"{there}."
        )
    return found


def image_files(folder: Path) -> list[Path]:
    """The files of a folder of images, in the order of their names.

    Raises:
        ValueError: If there is no such folder, it is empty, or it holds a folder.
    """
    files = _entries(folder)
    for path in files:
        if path.is_dir():
            raise ValueError(f"{path} is a folder where images belong. Move it or its images.")
    if not files:
        raise ValueError(f"{folder} holds no image. Put one or more there, or remove it.")
    return files


def read_image(path: Path, shape: Shape, *, grey: bool = False) -> Float[Tensor, "channel h w"]:
    """An image file as a network takes it, reduced to its size.

    For a network of ink, the paper is the shade along the edge and becomes 0; what is farthest from
    it is full ink, 1. So dark drawings on light paper and light ones on dark read the same, and the
    grey of a scan's paper does not matter. Transparent parts are paper.

    Args:
        path: Of a file that Pillow can read.
        shape: Channels, height and width; 1 channel for ink, 3 for colour.
        grey: Take the brightness of a coloured image instead of refusing it, for a network of ink.

    Raises:
        ValueError: If the file is no readable image, has several frames or more than 8 bits a
            channel, is not square or smaller than the network's images, has colour where the
            network takes ink, or shows nothing.
    """
    image = _opened(path)
    _check_size(path, image, shape)
    with_paper = Image.new("RGBA", image.size, "white")
    with_paper.alpha_composite(image.convert("RGBA"))
    colours = np.asarray(with_paper.convert("RGB")).astype(np.int16)
    if np.ptp(colours.reshape(-1, 3), axis=0).max() < FAINT:
        raise ValueError(f"{path} is blank, or too faint to show anything. Draw or scan it anew.")
    if shape[0] == 3:
        return _reduced(colours.astype(np.uint8), shape).permute(2, 0, 1)
    if not grey and np.ptp(colours, axis=-1).max() > COLOURED:
        raise ValueError(
            f"{path} is in colour, and this learner was trained on ink alone. Save it in grey, or "
            "have its brightness taken with --grey."
        )
    brightness = np.asarray(with_paper.convert("L"))
    return _reduced(_ink(path, brightness), shape)[None]


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; name one that holds images.")
    hidden = (".", *SYSTEM_FILES)
    return sorted(path for path in folder.iterdir() if not path.name.startswith(hidden))


def _opened(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                frames, mode = getattr(image, "n_frames", 1), image.mode
                upright = ImageOps.exif_transpose(image)  # reads all of it
                upright.load()
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers can fail on foreign bytes in any way
        raise ValueError(
            f"{path} is no readable image: it is damaged, or of another kind ({error}). Save it "
            "anew as PNG or JPEG, or move it away."
        ) from error
    if frames > 1:
        raise ValueError(f"{path} has {frames} frames; save the one that is meant as an image.")
    if mode not in MODES:
        raise ValueError(f"{path} has the mode {mode!r}; save it with 8 bits, in grey or RGB.")
    return upright


def _check_size(path: Path, image: Image.Image, shape: Shape) -> None:
    side = shape[1]
    if image.width != image.height:
        raise ValueError(
            f"{path} has {image.width} × {image.height} pixels and is not square. Crop it, or add "
            "paper on two sides: drawn out, it would show something else."
        )
    if image.width < side:
        raise ValueError(
            f"{path} has {image.width} × {image.height} pixels; this learner sees {side} × {side} "
            "and nothing can be enlarged well. Scan it at a higher resolution."
        )


def _ink(path: Path, brightness: np.ndarray) -> np.ndarray:
    edge = np.concatenate([brightness[0], brightness[-1], brightness[:, 0], brightness[:, -1]])
    paper = float(np.median(edge))
    ink = paper - brightness.astype(np.float64)  # dark on light, or else the other way
    ink = ink if ink.max() >= -ink.min() else -ink
    if ink.max() < FAINT:
        raise ValueError(f"{path} is blank, or too faint to show anything. Draw or scan it anew.")
    return np.round(255 * (ink / ink.max()).clip(0, 1)).astype(np.uint8)


def _reduced(pixels: np.ndarray, shape: Shape) -> Tensor:
    size = (shape[2], shape[1])
    small = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(small).copy()).to(torch.get_default_dtype()) / 255
