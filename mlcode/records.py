"""Results of long or GPU runs, kept as JSON together with the environment that produced them.

The book's tables are made from these records, so that a page can show a result that its reader need
not wait for, and a reader can see on what it was measured.
"""

import json
import os
import platform
import re
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from mlcode.checks import check_choice

# A checkout keeps its records beside the package; a wheel carries a copy of them inside it.
CHECKOUT = Path(__file__).resolve().parents[1]
BUNDLED = Path(__file__).resolve().parent / "_records"


def environment(*libraries: str, device: torch.device | str = "cpu") -> dict:
    """What a result depends on besides the code: versions, processor, threads, device, date.

    It names no machine, user or path.

    Args:
        libraries: Names of installed distributions whose versions matter to the result. An absent
            one is recorded as None.
        device: Where the result was computed. For a GPU the card's name is recorded.
    """
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "device": device_name(device),
        "mlcode": _version("learning-to-learn-book"),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **{name: _version(name) for name in libraries},
    }


def device_name(device: torch.device | str) -> str:
    """The card's name for a GPU, else the kind of device, such as "cpu"."""
    device = torch.device(device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def write_record(
    name: str, result: dict, *, made_in: dict | None = None, folder: Path | str | None = None
) -> Path:
    """Write `{"environment": made_in, "result": result}` to `<folder>/<name>.json` atomically.

    A reader sees the old file or the new one, never half of one.

    Args:
        name: Lower-case letters, digits, `_` and `-`.
        result: Anything that JSON can hold; NaN and infinity it cannot.
        made_in: The environment. None: `environment()`.
        folder: Where to. None: the checkout's `records/`.

    Returns:
        The file written.

    Raises:
        ValueError: If the name is not of that form, a number is not finite, or `folder` is None
            outside a checkout.
        TypeError: If the result holds something that JSON has no form for.
    """
    if not re.fullmatch(r"[a-z0-9_-]+", name):
        raise ValueError(f"a record's name is made of a-z, 0-9, _ and -; got {name!r}.")
    folder = _checkout_records() if folder is None else Path(folder)
    record = {"environment": made_in or environment(), "result": result}
    # Serialised before the file is opened: what JSON refuses leaves no file behind.
    text = json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    partial = folder / f".{name}.{os.getpid()}.partial"
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def read_record(name: str, *, folder: Path | str | None = None) -> dict:
    """The record `name`: a dict with the keys "environment" and "result".

    Args:
        name: As it was written, without `.json`; `record_names()` lists them.
        folder: Where from. None: the checkout's `records/`, or those that the wheel carries.

    Raises:
        ValueError: If there is no such record, naming those there are, or it is damaged.
    """
    folder = _records() if folder is None else Path(folder)
    names = record_names(folder=folder)
    if not names:
        raise ValueError(f"there is no record {name!r}: no records are here at all.")
    check_choice("the record", name, names)
    try:
        record = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"the record {name!r} is not JSON ({error}); write it again.") from error
    if not (isinstance(record, dict) and record.keys() == {"environment", "result"}):
        raise ValueError(f"the record {name!r} must hold an environment and a result; it does not.")
    return record


def record_names(*, folder: Path | str | None = None) -> list[str]:
    """The names of all records, sorted."""
    folder = _records() if folder is None else Path(folder)
    return sorted(path.stem for path in folder.glob("[!.]*.json"))


def _records() -> Path:
    return CHECKOUT / "records" if _in_checkout() else BUNDLED


def _checkout_records() -> Path:
    if not _in_checkout():
        raise ValueError("mlcode is not in a checkout of the book here; pass folder=….")
    return CHECKOUT / "records"


def _in_checkout() -> bool:
    # In site-packages the package's neighbour is not this project's pyproject.toml.
    return (CHECKOUT / "pyproject.toml").is_file() and (CHECKOUT / "records").is_dir()


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's model; platform.processor() is empty on most Linux machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
