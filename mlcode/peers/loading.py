"""How long images take to load: from what they are made of, and from the package's own cache."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlcode.peers.timing import quartiles
from mlcode.sources.characters import Characters
from mlcode.sources.glyphs import ALPHABETS, Glyphs
from mlcode.sources.omniglot import Omniglot

ARCHIVES = ("background", "evaluation")
NO_ARCHIVES = (
    "Omniglot's archives are not at hand: set MLCODE_DATA to a folder that holds "
    "omniglot/images_background.zip and omniglot/images_evaluation.zip."
)


def bench_loading(*, n_rounds: int = 5) -> dict[str, Any]:
    """Time the loading of all of Omniglot and of all glyphs, with an empty cache and a full one.

    The reader's own cache is neither read nor written, and nothing is downloaded.

    Args:
        n_rounds: How often each is made, and how often it is then read.

    Returns:
        For each source its number of images, and seconds as [lower quartile, median, upper
        quartile] over rounds; or, under "skipped", why it was not measured.
    """
    omniglot = {"skipped": NO_ARCHIVES}
    if _archives_at_hand():
        omniglot = _seconds(Omniglot, ARCHIVES, n_rounds)
    return {"omniglot": omniglot, "glyphs": _seconds(Glyphs, tuple(ALPHABETS), n_rounds)}


def _seconds(
    load: Callable[[str], Characters], splits: tuple[str, ...], n_rounds: int
) -> dict[str, Any]:
    made: list[float] = []
    read: list[float] = []
    for _ in range(n_rounds):
        with _empty_cache():
            for seconds in (made, read):
                start = time.perf_counter()
                sources = [load(split) for split in splits]
                seconds.append(time.perf_counter() - start)
    n_images = sum(len(source) * source.n_drawings for source in sources)
    return {
        "n_images": n_images,
        "n_rounds": n_rounds,
        "s_made": list(quartiles(made)),
        "s_from_cache": list(quartiles(read)),
    }


@contextlib.contextmanager
def _empty_cache() -> Iterator[None]:
    """A cache of our own that is thrown away afterwards."""
    before = os.environ.get("XDG_CACHE_HOME")
    with TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            yield
        finally:
            del os.environ["XDG_CACHE_HOME"]
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before


def _archives_at_hand() -> bool:
    folder = Path(os.environ.get("MLCODE_DATA") or os.devnull).expanduser() / "omniglot"
    return all((folder / f"images_{part}.zip").is_file() for part in ARCHIVES)


def loading_text(result: dict[str, Any]) -> str:
    """A result of `bench_loading` in words."""
    lines = ["Loading, in seconds: median (middle half)"]
    for name, found in result.items():
        if "skipped" in found:
            lines.append(f"{name:<18}not measured. {found['skipped']}")
            continue
        for label, key in (("made", "s_made"), ("from the cache", "s_from_cache")):
            low, median, high = found[key]
            lines.append(
                f"{name:<18}{found['n_images']} images, {label:<16}"
                f"{median:.3g} ({low:.3g}–{high:.3g})"
            )
    return "\n".join(lines)
