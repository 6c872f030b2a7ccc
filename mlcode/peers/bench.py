"""`python -m mlcode.peers.bench`: how long a meta-step and its data take, here and in the peers.

All contenders of a row take the same meta-step from the same weights, in one run, with the same
outer optimizer; they are first shown to compute the same losses. On a CPU, drawing tasks and
loading images are timed as well. Writes `records/bench_cpu.json` or `…_cuda.json`.
"""

import argparse
import contextlib
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mlcode.memory import peak_bytes
from mlcode.peers import PEERS, peer_name
from mlcode.peers.cross_check import full_precision
from mlcode.peers.loading import bench_loading, loading_text
from mlcode.peers.meta_step import Difference, Prepare, difference, largest, meta_step
from mlcode.peers.sampling import bench_sampling, sampling_text
from mlcode.peers.timing import interleaved, quartiles, ratios
from mlcode.peers.workloads import MANY, WORKLOADS, Workload
from mlcode.records import environment, read_record, write_record
from mlcode.tables import render
from mlcode.tasks import Tasks

Step = Callable[[], Tensor]

# How far apart contenders may be in float64, relative to the largest entry.
SAME = 1e-8


def bench(
    workload: Workload,
    *,
    n_rounds: int = 30,
    block_s: float = 0.1,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> dict[str, Any]:
    """Time one meta-step (forward, backward, Adam) of each contender, and measure its memory.

    Args:
        workload: What is timed.
        n_rounds: Rounds, unless the workload wants fewer; see `timing.interleaved`.
        block_s: Seconds a contender has in a round.
        device: Where to compute, in float32 without TF32.
        seed: Of network and tasks.

    Returns:
        What the record holds, which is medians in ms and ratios, each as [lower quartile, median,
        upper quartile] over rounds, the largest relative differences of losses and meta-gradients,
        and the peak memory of a step in MB.

    Raises:
        AssertionError: If the contenders do not compute the same; see `check_same`.
        ImportError: If a peer is not installed.
    """
    n_rounds = min(n_rounds, workload.n_rounds)
    model, tasks = workload.problem(seed)
    model, tasks = model.to(device), tasks.to(device)
    with full_precision(), threads(workload.threads):
        apart = check_same(workload, model, tasks)
        torch.compiler.reset()  # graphs for float64 would make those for float32 slower
        model, tasks = model.to(torch.float32), tasks.to(dtype=torch.float32)
        steps = {
            name: training_step(prepare, model, tasks, workload.setting)
            for name, prepare in workload.contenders.items()
        }
        seconds = interleaved(steps, n_rounds=n_rounds, block_s=block_s)
        memory = {name: peak_bytes(step, device) / 1e6 for name, step in steps.items()}
    ours = [name for name in steps if name.startswith("mlcode")]
    return {
        "title": workload.title,
        "setting": str(workload.setting),
        "n_tasks": tasks.n_tasks,
        "n_support": tasks.support.x.shape[1],
        "n_query": tasks.query.x.shape[1],
        "n_rounds": n_rounds,
        "threads": workload.threads,
        "losses_differ_by": apart.loss,
        "gradients_differ_by": apart.gradient,
        "ms": {name: [1e3 * q for q in quartiles(s)] for name, s in seconds.items()},
        "peak_mb": memory,
        "times_faster": {
            name: {
                peer: list(ratios(seconds[peer], seconds[name]))
                for peer in steps
                if peer not in ours
            }
            for name in ours
        },
    }


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    """Let torch use `n` threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def training_step(prepare: Prepare, model: nn.Module, tasks: Tasks, setting: Any) -> Step:
    """One iteration of meta-training on fixed tasks, on a copy of the model.

    The optimizer is the same for all, and its fastest form: Adam in one fused kernel.
    """
    model = deepcopy(model)
    meta_gradient = prepare(model, setting)
    optimizer = torch.optim.Adam(model.parameters(), lr=setting.meta_lr, fused=True)

    def step() -> Tensor:
        loss = meta_gradient(tasks)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def check_same(workload: Workload, model: nn.Module, tasks: Tasks) -> Difference:
    """Take one meta-step by each contender and return the largest differences from the first.

    In float64, in which problems are made: in float32 rounding decides which of two nearly equal
    pixels max-pooling takes, and another winner sends the gradient another way.

    Raises:
        AssertionError: If losses or meta-gradients are further apart than `SAME`.
    """
    first, *others = (
        meta_step(prepare, model, tasks, workload.setting)
        for prepare in workload.contenders.values()
    )
    found = [difference(other, first) for other in others]
    apart = Difference(*(largest(values) for values in zip(*found)))
    if not (apart.loss <= SAME and apart.gradient <= SAME):
        names = list(workload.contenders)
        raise AssertionError(
            f"{workload.title}: the contenders compute something different from {names[0]}'s: "
            f"{dict(zip(names[1:], found))}"
        )
    return apart


def table(result: dict[str, Any], *, style: str = "text") -> str:
    """A result of `bench`, slowest first: time, memory, and times slower than each of ours.

    Args:
        result: What `bench` returns.
        style: "text" for a terminal, "markdown" for a page.
    """
    ours = sorted(result["times_faster"])
    head = ("", "ms a meta-step", "peak MB", *(f"times {name}" for name in ours))
    body = []
    for name, ms in sorted(result["ms"].items(), key=lambda item: -item[1][1]):
        of = [result["times_faster"][own].get(name) for own in ours]
        label = peer_name(name) if name in PEERS else name
        memory = f"{result['peak_mb'][name]:.3g}"
        body.append((label, _spread(ms), memory, *(_spread(q) if q else "" for q in of)))
    n_threads = result["threads"]
    title = (
        f"{result['title']}, {result['setting']}: {result['n_tasks']} tasks of "
        f"{result['n_support']} + {result['n_query']} examples, "
        f"{n_threads} thread{'s' if n_threads > 1 else ''}, "
        f"median (middle half) of {result['n_rounds']} rounds"
    )
    return f"{title}\n\n{render(head, body, n_words=1, style=style)}"


def _spread(values: list[float]) -> str:
    low, median, high = values
    return f"{median:.3g} ({low:.3g}–{high:.3g})"


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m mlcode.peers.bench", description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--rounds", type=int, default=30, help="at most (default: 30)")
    parser.add_argument(
        "--only", default="", help="rows whose title holds this, no data and no record"
    )
    parser.add_argument("--replace", action="store_true", help="put them into the record there is")
    parser.add_argument("--folder", type=Path, help="where the record goes (default: records/)")
    options = parser.parse_args(arguments)
    print("Takes about ten minutes; compiling is one of them.", flush=True)
    results = []
    for workload in WORKLOADS:
        if options.only.lower() in workload.title.lower():
            results.append(bench(workload, n_rounds=options.rounds, device=options.device))
            print(table(results[-1]), end="\n\n", flush=True)
    result: dict[str, Any] = {"settings": results}
    if options.replace:
        replace_rows(results, device=options.device, folder=options.folder)
    if options.only or options.replace:
        return
    if options.device == "cpu":
        result |= data_figures(options.rounds)
    made_in = environment(*sorted(PEERS), device=options.device)
    write_record(f"bench_{options.device}", result, made_in=made_in, folder=options.folder)


def replace_rows(rows: list[dict[str, Any]], *, device: str, folder: Path | None) -> None:
    """Put rows that were measured anew into the record, each in the place of the old one.

    A row's contenders are timed side by side, so that rows need not come from one run; but the
    ratios depend on versions and processor.

    Raises:
        ValueError: If there is no record, or it comes from other versions or another processor.
    """
    name = f"bench_{device}"
    record = read_record(name, folder=folder)
    here = environment(*sorted(PEERS), device=device)
    there = record["environment"]
    if other := {
        k: (there.get(k), v) for k, v in here.items() if k != "date" and there.get(k) != v
    }:
        raise ValueError(
            f"the record {name!r} was made elsewhere, so that its rows cannot stand beside these: "
            f"{other} (there, here). Time all rows, without --replace."
        )
    new = {(row["title"], row["setting"]): row for row in rows}
    settings = record["result"]["settings"]
    settings = [new.pop((row["title"], row["setting"]), row) for row in settings]
    result = record["result"] | {"settings": [*settings, *new.values()]}
    write_record(name, result, made_in=here, folder=folder)


def data_figures(n_rounds: int) -> dict[str, Any]:
    """Time drawing and loading, print what came out and return it as the record holds it."""
    with threads(MANY):
        sampling, loading = bench_sampling(n_rounds=n_rounds), bench_loading()
    print(sampling_text(sampling), loading_text(loading), sep="\n\n", flush=True)
    return {"sampling": sampling, "loading": loading}


if __name__ == "__main__":
    main()
