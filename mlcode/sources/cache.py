"""What takes seconds to make is made once and kept, in files that are whole or not there at all."""

import contextlib
import hashlib
import os
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import mkstemp

DIGEST = 32  # bytes of SHA-256, at the end of each cached file
ABANDONED = 3600  # seconds after which an unfinished file is that of a process that was killed


def cache_folder() -> Path:
    """Where cached and downloaded files lie, whether it exists yet or not.

    `$XDG_CACHE_HOME/learning-to-learn` if that variable holds an absolute path, and otherwise
    `~/.cache/learning-to-learn`. Nothing is ever written to `MLCODE_DATA`.

    Raises:
        ValueError: If there is neither that variable nor a home folder.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # the standard ignores a relative one
        return Path(base) / "learning-to-learn"
    try:
        return Path.home() / ".cache" / "learning-to-learn"
    except RuntimeError as error:
        raise ValueError(
            "there is no home folder to cache in. Set XDG_CACHE_HOME to a folder of your own."
        ) from error


def cached_bytes(name: str, make: Callable[[], bytes]) -> bytearray:
    """What `make` returns: from the cache if it is there whole, else made, and kept for next time.

    A file that was truncated or changed does not fit its digest, and is made again. A cache that
    cannot be written costs time, not the result: that is a warning.

    Args:
        name: The file's name in the cache. It must tell apart whatever `make` depends on.
        make: Makes the bytes, deterministically.
    """
    path = cache_folder() / name
    kept = _read(path)
    if kept is not None:
        return kept
    made = bytearray(make())
    try:
        write_file(path, [made, hashlib.sha256(made).digest()])
    except OSError as error:
        warnings.warn(
            f"{name} could not be kept in {path.parent} ({error.strerror or error}) and will be "
            "made again the next time. Make room there, or set XDG_CACHE_HOME to another folder.",
            stacklevel=2,
        )
    return made


def write_file(path: Path, parts: Iterable[bytes | bytearray]) -> None:
    """Write `parts` one after the other so that `path` is, at every moment, old or new, never half.

    The bytes go to a neighbour whose name nobody else uses, reach the disk, and then take the
    place of `path`; a rename within a folder is atomic. If a part cannot be had or written, `path`
    stays as it was.

    Raises:
        OSError: If the folder cannot be made or written to, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear(path)
    number, partial = mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with open(number, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:  # Ctrl-C as well
        Path(partial).unlink(missing_ok=True)
        raise


def _read(path: Path) -> bytearray | None:
    try:
        content = bytearray(path.read_bytes())
    except OSError:  # absent or unreadable: either way it has to be made
        return None
    digest = bytes(content[-DIGEST:])
    del content[-DIGEST:]
    return content if hashlib.sha256(content).digest() == digest else None


def _clear(path: Path) -> None:
    """Remove what killed processes left unfinished beside `path`, not what others write now."""
    for partial in path.parent.glob(f".{path.name}.*.partial"):
        with contextlib.suppress(OSError):  # another process was faster
            if time.time() - partial.stat().st_mtime > ABANDONED:
                partial.unlink()
