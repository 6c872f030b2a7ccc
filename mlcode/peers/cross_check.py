"""The ledger: `python -m mlcode.peers.cross_check` compares every algorithm with every peer.

It takes the same meta-step here and there, prints the largest differences, asserts that they are
within tolerance, and writes them to `records/cross_checks_cpu.json` or `…_cuda.json`.
"""

import argparse
import contextlib
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mlcode.checks import check_choice
from mlcode.peers.comparison import COMPARISONS
from mlcode.peers.finite_differences import Objective, projections, random_directions, slopes
from mlcode.peers.importing import HOW_TO_INSTALL, PEERS, available
from mlcode.peers.meta_step import MetaStep, difference, meta_step
from mlcode.peers.report import FINITE_DIFFERENCES, TOLERANCES, Report, Row
from mlcode.records import environment, read_record, write_record
from mlcode.tasks import Tasks

N_DIRECTIONS = 16


def cross_check(
    algorithm: str,
    *,
    model: nn.Module | None = None,
    tasks: Tasks | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    seed: int = 0,
    **setting: Any,
) -> Report:
    """Take the same meta-step in mlcode and in every peer, and compare.

    In float64 the meta-gradient is also held against finite differences along 16 random directions.
    TF32 is off meanwhile.

    Args:
        algorithm: A key of `COMPARISONS`, such as "maml".
        model: Where the step starts. None: the ledger's own network. It stays as it is.
        tasks: The batch. None: the ledger's own.
        dtype: Of both; they are converted.
        device: Of both; they are moved.
        seed: Of the ledger's network and tasks, and of the directions.
        setting: Changes to the algorithm's settings, such as `n_inner_steps=5, first_order=True`.

    Raises:
        ValueError: If the algorithm is unknown or the dtype is neither float64 nor float32.
        TypeError: If the algorithm has no such setting.
    """
    check_choice("algorithm", algorithm, sorted(COMPARISONS))
    check_choice("dtype", dtype_name(dtype), ("float64", "float32"))
    comparison = COMPARISONS[algorithm]
    settings = comparison.settings(**setting)
    default_model, default_tasks = comparison.problem(seed)
    # A converted copy: Module.to would convert the caller's own model.
    model = _converted(default_model if model is None else model, dtype, device)
    tasks = (default_tasks if tasks is None else tasks).to(device, dtype)
    present = [name for name in comparison.peers if available(name)]
    absent = tuple(name for name in comparison.peers if name not in present)
    with full_precision():
        ours = meta_step(comparison.mlcode, model, tasks, settings)
        others = {name: comparison.peers[name] for name in present}
        others |= comparison.witnesses or {}
        rows = [
            Row(name, **difference(ours, theirs)._asdict())
            for name, prepare in others.items()
            for theirs in [meta_step(prepare, model, tasks, settings)]
        ]
        if any(settings == comparison.settings(**changes) for changes in comparison.grid):
            rows += _recorded_rows(comparison.title, str(settings), dtype_name(dtype), absent)
        if comparison.objective is not None and dtype == torch.float64:
            objective = comparison.objective(model, tasks, settings)
            rows.append(_against_slopes(objective, ours, model, seed))
    kind = torch.device(device).type
    return Report(
        comparison.title, str(settings), dtype_name(dtype), kind, tuple(rows), absent=absent
    )


def ledger(device: torch.device | str = "cpu", *, verbose: bool = False) -> dict:
    """Compare every algorithm in every setting of its grid and each of its dtypes.

    Args:
        device: Where to compute.
        verbose: Print each report as it comes.

    Returns:
        What the record holds, its "rows" and its "tolerances".

    Raises:
        ImportError: If a peer is not installed: a ledger with gaps is none.
        AssertionError: If a difference is above its tolerance.
    """
    missing = [name for name in PEERS if not available(name)]
    if missing:
        raise ImportError(f"the ledger needs {', '.join(missing)}. {HOW_TO_INSTALL}")
    rows = []
    for algorithm, comparison in COMPARISONS.items():
        for setting in comparison.grid:
            for dtype in comparison.dtypes:
                report = cross_check(algorithm, dtype=dtype, device=device, **setting)
                if verbose:
                    print(report, end="\n\n")
                report.check()
                rows += report.entries()
    return {"rows": rows, "tolerances": TOLERANCES}


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Multiply float32 as float32: TF32, which keeps 10 bits, would hide small differences."""
    matmul = torch.get_float32_matmul_precision()
    cudnn = torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = cudnn


def dtype_name(dtype: torch.dtype) -> str:
    """`torch.float64` as "float64"."""
    return str(dtype).removeprefix("torch.")


def _converted(model: nn.Module, dtype: torch.dtype, device: torch.device | str) -> nn.Module:
    return deepcopy(model).to(device, dtype)


def _against_slopes(objective: Objective, ours: MetaStep, model: nn.Module, seed: int) -> Row:
    generator = torch.Generator().manual_seed(seed)
    directions = random_directions(model, N_DIRECTIONS, generator)
    measured = slopes(objective, directions)
    apart = (projections(ours.gradient, directions) - measured).abs().max() / measured.abs().max()
    return Row(FINITE_DIFFERENCES, apart.item())


def _recorded_rows(title: str, setting: str, dtype: str, absent: tuple[str, ...]) -> list[Row]:
    """Rows of the recorded CPU ledger for peers that are not here, where it has them."""
    if not absent:
        return []
    try:
        record = read_record("cross_checks_cpu")
    except ValueError:
        return []
    return [
        Row(
            entry["peer"],
            entry["gradient"],
            entry["loss"],
            entry["parameters"],
            recorded=record["environment"]["date"],
        )
        for entry in record["result"]["rows"]
        if (entry["algorithm"], entry["setting"], entry["dtype"]) == (title, setting, dtype)
        and entry["peer"] in absent
    ]


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m mlcode.peers.cross_check", description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--folder", type=Path, help="where the record goes (default: records/)")
    options = parser.parse_args(arguments)
    result = ledger(options.device, verbose=True)
    write_record(
        f"cross_checks_{options.device}",
        result,
        made_in=environment(*sorted(PEERS), device=options.device),
        folder=options.folder,
    )
    print(f"All {len(result['rows'])} differences are within tolerance.")


if __name__ == "__main__":
    main()
