"""One training loop for every learner: sample tasks, step the optimizer, keep what is needed."""

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from mlcode.checkpoints import TrainingState, check_place, describe_run
from mlcode.checks import check_int
from mlcode.engine import (
    Accelerator,
    Engine,
    check_limits,
    check_together,
    compiled_gradient,
    default_accelerator,
    fresh_generator,
    share_of_batch,
)
from mlcode.interrupts import deferred_interrupt
from mlcode.learner import MetaLearner, uncompiled
from mlcode.tasks import TaskSource

__all__ = ["History", "compiled_gradient", "train"]


@dataclass(frozen=True)
class History:
    """What happened in each iteration of a training run."""

    loss: Float[np.ndarray, "iteration"]  # mean query loss over the batch, before the step
    lr: Float[np.ndarray, "iteration"]  # the optimizer's learning rate in the step

    def __len__(self) -> int:
        return len(self.loss)


def train(
    learner: MetaLearner | nn.Module,
    source: TaskSource,
    *,
    n_iterations: int,
    n_tasks: int,
    optimizer: Optimizer,
    scheduler: LRScheduler | None = None,
    clip_grad_norm: float | None = None,
    clip_grad_value: float | None = None,
    compiled: bool = False,
    generator: torch.Generator | None = None,
    accelerator: Accelerator | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    progress: bool | None = None,
) -> History:
    """Meta-train `learner` in place: minimise its mean query loss over batches of tasks.

    Args:
        learner: A learner or `torch.compile` of one, trained where its parameters lie and left in
            training mode. Started by `accelerate launch` or `torchrun` in
            several processes, each takes its share of every batch and they average gradients.
        source: Where the training tasks come from.
        n_iterations: Optimizer steps in all, those before a resumed checkpoint included.
        n_tasks: Tasks a step, over all processes.
        optimizer: Any torch optimizer of the learner's parameters that steps without a closure.
        scheduler: Its schedule, stepped once an iteration (`ReduceLROnPlateau` with the loss).
        clip_grad_norm: Largest norm of the whole meta-gradient.
        clip_grad_value: Largest magnitude of one of its entries (MAML on miniImageNet uses 10).
        compiled: Compute loss and gradient in one compiled graph; see
            `mlcode.engine.compiled_gradient`. For one process.
        generator: Draws the tasks. None: one seeded from torch's global generator.
        accelerator: Engine for devices, processes and precision. None: one that leaves the learner
            where it is, unless there are several processes.
        checkpoint: File from which the run continues if it exists and to which it is saved, with
            all that makes the continued run bit-identical on a CPU, torch's global random state
            included (the first process's, so dropout in several processes goes on otherwise). More
            iterations may be asked for than before; other settings may not.
        checkpoint_every: Iterations between saves; the last iteration is saved too, and on Ctrl-C
            the one that was just under way, before `KeyboardInterrupt` is raised.
        progress: Show a bar with the current loss. None: only where somebody watches.

    Raises:
        TypeError: If a count is not an integer or `learner` no meta-learner.
        MemoryError: If the learner foresees that a batch will not fit.
        ValueError: If a count or limit is not positive, the optimizer holds other parameters, the
            tasks do not divide by the processes, a loss or (at a save and at the end) a parameter
            is not finite, or the checkpoint is unreadable, of another run, or has no folder to lie
            in. The file then stays as it was.
    """
    check_int("n_iterations", n_iterations, minimum=0)
    check_int("checkpoint_every", checkpoint_every, minimum=1)
    bare = uncompiled(learner)
    clip = {"clip_grad_norm": clip_grad_norm, "clip_grad_value": clip_grad_value}
    check_limits(optimizer, bare, **clip)
    path = check_place(checkpoint) if checkpoint is not None else None
    accelerator = accelerator or default_accelerator()
    share = share_of_batch(n_tasks, accelerator)
    if compiled and accelerator.num_processes > 1:
        raise ValueError("compiled=True is for one process; wrap the learner in torch.compile.")
    generator = generator or fresh_generator(accelerator)

    run = describe_run(bare, source, optimizer, scheduler, n_tasks=n_tasks, **clip)
    state = TrainingState(bare, optimizer, scheduler, generator)
    if path is not None and path.exists():
        state.load(path, run)
    check_together(len(state.losses), accelerator)
    engine = Engine(learner, optimizer, scheduler, accelerator, compiled=compiled, **clip)
    device = next(bare.parameters()).device
    first = len(state.losses)

    learner.train()
    shown = _watched(progress) and accelerator.is_main_process
    bar = tqdm(initial=len(state.losses), total=n_iterations, disable=not shown)
    with bar, deferred_interrupt() if path is not None else nullcontext(lambda: False) as asked:
        for iteration in range(first, n_iterations):
            tasks = source.sample(n_tasks, generator=generator, device=device).select(share)
            if iteration == first and not compiled:
                bare.check_fits(tasks)
            loss = engine.gradient(tasks, iteration)
            state.record(loss)
            engine.step(loss)
            stop = asked()
            if (iteration + 1) % checkpoint_every == 0 or iteration + 1 == n_iterations or stop:
                state.check_finite()
                if path is not None and accelerator.is_main_process:
                    state.save(path, run)
            if stop:
                raise KeyboardInterrupt
            bar.set_postfix(loss=f"{loss:.3g}", refresh=False)
            bar.update()
    accelerator.wait_for_everyone()  # until the last save is seen by all
    return History(np.array(state.losses), np.array(state.rates))


def _watched(progress: bool | None) -> bool:
    """Whether somebody watches: a terminal, or a notebook whose front end can answer a prompt.

    nbclient, nbconvert and nbval run a kernel without a person and say so by `allow_stdin=False`.
    """
    if progress is not None:
        return progress
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return sys.stderr.isatty() or bool(getattr(getattr(shell, "kernel", None), "_allow_stdin", 0))
