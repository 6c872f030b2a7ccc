"""`python -m mlcode.peers.bench`: how long a meta-step and its data take, here and in the peers.

All contenders take MAML steps on the same sinusoids from the same weights, in one run, with the
same outer optimizer; they are first shown to compute the same losses. On a CPU, drawing tasks and
loading images are timed as well. Writes `records/bench_cpu.json` or `…_cuda.json`.
"""

import argparse
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mlcode.peers import PEERS, maml, peer_name
from mlcode.peers.comparison import sinusoid_problem
from mlcode.peers.cross_check import full_precision
from mlcode.peers.loading import bench_loading, loading_text
from mlcode.peers.maml import MAMLSetting
from mlcode.peers.meta_step import MetaGradient, Prepare, largest
from mlcode.peers.report import render
from mlcode.peers.sampling import bench_sampling, sampling_text
from mlcode.peers.timing import interleaved, quartiles, ratios
from mlcode.records import environment, write_record
from mlcode.tasks import Tasks
from mlcode.training import compiled_gradient

Step = Callable[[], Tensor]

# Steps taken and compared before the clock starts. The losses of the second and later ones agree
# only if the gradients did.
N_CHECKED = 3
SAME_LOSS = 1e-5  # relative, in float32
DATA_THREADS = 2  # for drawing tasks, whose images are large enough to share between cores


def by_mlcode_compiled(model: nn.Module, setting: MAMLSetting) -> MetaGradient:
    """mlcode's step with loss and meta-gradient in one compiled graph."""
    return compiled_gradient(maml.maml_learner(model, setting))


EAGER: Mapping[str, Prepare] = {
    "mlcode": maml.by_mlcode,
    "learn2learn": maml.by_learn2learn,
    "higher": maml.by_higher,
    "torchopt": maml.by_torchopt,
}
CONTENDERS: Mapping[str, Prepare] = {**EAGER, "mlcode, compiled": by_mlcode_compiled}


def bench(
    setting: MAMLSetting,
    *,
    contenders: Mapping[str, Prepare] = CONTENDERS,
    n_rounds: int = 30,
    block_s: float = 0.1,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> dict[str, Any]:
    """Time one meta-step (forward, backward, Adam) of each contender.

    Args:
        setting: Of MAML.
        contenders: The steps to time, "mlcode" among them.
        n_rounds: Rounds; see `timing.interleaved`.
        block_s: Seconds a contender has in a round.
        device: Where to compute, in float32 without TF32.
        seed: Of network and tasks.

    Returns:
        What the record holds, which is medians in ms and ratios, each as [lower quartile, median,
        upper quartile] over rounds, and the largest relative difference of the losses.

    Raises:
        AssertionError: If the contenders' losses differ by more than `SAME_LOSS`.
        ImportError: If a peer is not installed.
    """
    model, tasks = sinusoid_problem(seed)
    model, tasks = model.to(device, torch.float32), tasks.to(device, torch.float32)
    with full_precision():
        steps = {
            name: training_step(prepare, model, tasks, setting)
            for name, prepare in contenders.items()
        }
        apart = check_same_losses(steps)
        seconds = interleaved(steps, n_rounds=n_rounds, block_s=block_s)
    ours = [name for name in steps if name.startswith("mlcode")]
    return {
        "setting": str(setting),
        "n_tasks": tasks.n_tasks,
        "n_shot": tasks.support.x.shape[1],
        "n_rounds": n_rounds,
        "losses_differ_by": apart,
        "ms": {name: [1e3 * q for q in quartiles(s)] for name, s in seconds.items()},
        "times_faster": {
            name: {
                peer: list(ratios(seconds[peer], seconds[name]))
                for peer in steps
                if peer not in ours
            }
            for name in ours
        },
    }


def training_step(prepare: Prepare, model: nn.Module, tasks: Tasks, setting: MAMLSetting) -> Step:
    """One iteration of meta-training on fixed tasks, on a copy of the model.

    The optimizer is the same for all, and its fastest form: Adam in one fused kernel.
    """
    model = deepcopy(model)
    meta_gradient = prepare(model, setting)
    optimizer = torch.optim.Adam(model.parameters(), lr=setting.meta_lr, fused=True)

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = meta_gradient(tasks)
        optimizer.step()
        return loss

    return step


def check_same_losses(steps: Mapping[str, Step]) -> float:
    """Take the first steps of each and return the largest relative difference of their losses.

    Raises:
        AssertionError: If it is above `SAME_LOSS`.
    """
    losses = {name: [step().item() for _ in range(N_CHECKED)] for name, step in steps.items()}
    first = next(iter(losses.values()))
    apart = largest(abs(a - b) / abs(b) for own in losses.values() for a, b in zip(own, first))
    if not apart <= SAME_LOSS:
        raise AssertionError(f"the contenders compute different losses: {losses}")
    return apart


def table(result: dict[str, Any], *, style: str = "text") -> str:
    """A result of `bench`, slowest first: milliseconds, and times slower than each of ours.

    Args:
        result: What `bench` returns.
        style: "text" for a terminal, "markdown" for a page.
    """
    ours = sorted(result["times_faster"])
    head = ("", "ms a meta-step", *(f"times {name}" for name in ours))
    body = []
    for name, ms in sorted(result["ms"].items(), key=lambda item: -item[1][1]):
        of = [result["times_faster"][own].get(name) for own in ours]
        label = peer_name(name) if name in PEERS else name
        body.append((label, _spread(ms), *(_spread(q) if q else "" for q in of)))
    title = (
        f"MAML on sinusoids, {result['n_tasks']} tasks, {result['n_shot']} shots, "
        f"{result['setting']}: median (middle half) of {result['n_rounds']} rounds"
    )
    return f"{title}\n\n{render(head, body, n_words=1, style=style)}"


def _spread(values: list[float]) -> str:
    low, median, high = values
    return f"{median:.3g} ({low:.3g}–{high:.3g})"


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m mlcode.peers.bench", description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--rounds", type=int, default=30)
    # At this size a second thread helps no contender, and on a busy machine threads that wait for
    # each other cost mlcode's batched operations a factor of 40 (the peers' small ones use one).
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (default: 1)")
    parser.add_argument("--folder", type=Path, help="where the record goes (default: records/)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    print("Compiling takes about half a minute.", flush=True)
    results = []
    for n_inner_steps in (1, 5):
        setting = MAMLSetting(n_inner_steps=n_inner_steps)
        results.append(bench(setting, n_rounds=options.rounds, device=options.device))
        print(table(results[-1]), end="\n\n", flush=True)
    made_in = environment(*sorted(PEERS), device=options.device)
    result: dict[str, Any] = {"settings": results}
    if options.device == "cpu":
        result |= data_figures(options.rounds)
    write_record(f"bench_{options.device}", result, made_in=made_in, folder=options.folder)


def data_figures(n_rounds: int) -> dict[str, Any]:
    """Time drawing and loading, print what came out and return it as the record holds it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(DATA_THREADS)
    try:
        sampling, loading = bench_sampling(n_rounds=n_rounds), bench_loading()
    finally:
        torch.set_num_threads(threads)
    print(sampling_text(sampling), loading_text(loading), sep="\n\n", flush=True)
    return {"sampling": sampling, "loading": loading}


if __name__ == "__main__":
    main()
