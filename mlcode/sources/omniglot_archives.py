"""From Omniglot's two archives to images: read in memory, never extracted, verified by pixels."""

import hashlib
import io
import re
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

N_DRAWINGS = 20  # of each character
ORIGINAL = 105  # pixels a side, in the archives
SIDE = 28  # pixels a side, in the papers
LARGEST = 1 << 14  # bytes of a drawing's PNG; they have a few hundred
DRAWING = re.compile(r"images_(?:background|evaluation)/([^/]+/character\d\d)/\d{4}_\d\d\.png")

# SHA-256 over the one-bit pixels of all drawings, in the order of their names, rows padded to bytes
# and ink 0. Archives that were packed again differ in their bytes, not in this.
DIGESTS = {
    "background": "51ca506ce7ea3430a8b51e6e6426a1035e782f1b3fdd7d385232445603f2f4b6",
    "evaluation": "57262cc3e42fa55b35985f8f2df924c5716fcf2a372bf410590b5c66b4698ebd",
}

FILTERS = {"nearest": Image.Resampling.NEAREST, "lanczos": Image.Resampling.LANCZOS}


def read_archive(archive: bytes | bytearray, part: str, names: Sequence[str], how: str) -> bytes:
    """All drawings of an archive as bytes of ink, 28 × 28 each, in the order of `names`.

    Args:
        archive: The content of `images_background.zip` or `images_evaluation.zip`.
        part: Which of the two, "background" or "evaluation".
        names: The characters that must be in it, all of them, such as "Greek/character01".
        how: The resampling, a key of `FILTERS`.

    Raises:
        ValueError: If the archive is damaged, holds a name that points outside of it, or other
            drawings than the author's.
    """
    digest = hashlib.sha256()
    small = []
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            drawings = _drawings(packed)
            _check_names(drawings, names)
            for name in names:
                bits = b"".join(_bits(packed, info) for info in drawings[name])
                digest.update(bits)
                small.append(resize(_ink(bits), how).tobytes())
    except (ValueError, MemoryError):
        raise
    except Exception as error:  # zipfile and Pillow can fail on foreign bytes in any way
        raise ValueError(f"the archive is damaged ({error})") from error
    if digest.hexdigest() != DIGESTS[part]:
        raise ValueError(
            f"its drawings are not the author's: expected the digest {DIGESTS[part]} of all "
            f"pixels, got {digest.hexdigest()}"
        )
    return b"".join(small)


def resize(images: np.ndarray, how: str) -> np.ndarray:
    """Images of bytes, (drawing, 105, 105), as (drawing, 28, 28), each as Pillow resizes it.

    Pillow resizes along one axis after the other, rounding in between, and rows do not mix. So a
    whole stack of images passes as one tall image, once for each axis: the same numbers, faster.
    """
    for _ in range(2):
        tall = Image.fromarray(images.reshape(-1, ORIGINAL))
        narrow = np.asarray(tall.resize((SIDE, tall.height), FILTERS[how]))
        images = narrow.reshape(len(images), -1, SIDE).swapaxes(1, 2)
    return images


def _drawings(packed: zipfile.ZipFile) -> dict[str, list[zipfile.ZipInfo]]:
    """The drawings of each character, in order.

    Nothing is extracted, so no name leads anywhere. One that would, were it extracted, shows that
    this is not the author's archive.
    """
    found = defaultdict(list)
    for info in sorted(packed.infolist(), key=lambda info: info.filename):
        name = info.filename
        if name.startswith("/") or ".." in PurePosixPath(name).parts or re.search(r"[\\:]", name):
            raise ValueError(f"it holds the name {name!r}, which points outside of the archive")
        if match := DRAWING.fullmatch(name):  # else a folder, or what a packing program adds
            found[match[1]].append(info)
    return found


def _check_names(drawings: dict[str, list[zipfile.ZipInfo]], names: Sequence[str]) -> None:
    counts = {name: len(drawings.get(name, [])) for name in {*names, *drawings}}
    expected = dict.fromkeys(names, N_DRAWINGS)
    wrong = sorted(name for name in counts if counts[name] != expected.get(name, 0))
    if wrong:
        raise ValueError(
            f"expected {N_DRAWINGS} drawings of each of {len(names)} characters, got "
            f"{sum(counts.values())} of {len(drawings)}; the first that differs is {wrong[0]}, "
            f"{counts[wrong[0]]} drawings"
        )


def _bits(packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.file_size > LARGEST:
        raise ValueError(f"{info.filename} has {info.file_size} bytes, too many for a drawing")
    with Image.open(io.BytesIO(packed.read(info)), formats=["PNG"]) as image:
        if image.mode != "1" or image.size != (ORIGINAL, ORIGINAL):
            raise ValueError(
                f"{info.filename} must have one bit a pixel and {ORIGINAL} × {ORIGINAL} pixels; "
                f"it has the mode {image.mode!r} and {image.width} × {image.height}"
            )
        return image.tobytes()


def _ink(bits: bytes) -> np.ndarray:
    """One-bit rows, ink 0, as bytes, ink 255."""
    rows = np.frombuffer(bits, np.uint8).reshape(-1, ORIGINAL, (ORIGINAL + 7) // 8)
    return (1 - np.unpackbits(rows, axis=-1, count=ORIGINAL)) * np.uint8(255)
