"""One training loop for every learner: sample tasks, step the optimizer, keep what is needed."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, grad_and_value
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm.auto import tqdm

from mlcode.checkpoints import TrainingState, describe_run
from mlcode.checks import check_int, check_positive
from mlcode.learner import MetaLearner
from mlcode.tasks import Tasks, TaskSource


@dataclass(frozen=True)
class History:
    """What happened in each iteration of a training run."""

    loss: Float[np.ndarray, "iteration"]  # mean query loss over the batch, before the step
    lr: Float[np.ndarray, "iteration"]  # the optimizer's learning rate in the step

    def __len__(self) -> int:
        return len(self.loss)


def train(
    learner: MetaLearner,
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
        learner: Trained where its parameters lie. Started by `accelerate launch` or `torchrun` in
            several processes, each takes its share of every batch and they average gradients.
        source: Where the training tasks come from.
        n_iterations: Optimizer steps in all, those before a resumed checkpoint included.
        n_tasks: Tasks a step, over all processes.
        optimizer: Any torch optimizer of the learner's parameters.
        scheduler: Its schedule, stepped once an iteration.
        clip_grad_norm: Largest norm of the whole meta-gradient.
        clip_grad_value: Largest magnitude of one of its entries (MAML on miniImageNet uses 10).
        compiled: Compute loss and gradient in one compiled graph; see `compiled_gradient`.
        generator: Draws the tasks. None: one seeded from torch's global generator.
        accelerator: Engine for devices, processes and precision. None: one that leaves the learner
            where it is, unless there are several processes.
        checkpoint: File from which the run continues if it exists and to which it is saved, with
            all that makes the continued run bit-identical on a CPU.
        checkpoint_every: Iterations between saves; the last iteration is saved too.
        progress: Show a bar with the current loss. None: only where somebody watches.

    Raises:
        TypeError: If a count is not an integer.
        ValueError: If a count or limit is not positive, the tasks do not divide by the processes,
            a loss or (at a save) a parameter is not finite, or the checkpoint is unreadable or of
            another run. The file then stays as it was.
    """
    check_int("n_iterations", n_iterations, minimum=0)
    check_int("checkpoint_every", checkpoint_every, minimum=1)
    accelerator = accelerator or Accelerator(device_placement=PartialState().num_processes > 1)
    share = _share(n_tasks, accelerator)
    clip = _clipping(optimizer, clip_grad_norm, clip_grad_value)
    generator = generator or _fresh_generator(accelerator)

    state = TrainingState(accelerator.unwrap_model(learner), optimizer, scheduler, generator)
    run = describe_run(state.learner, source, optimizer, n_tasks)
    path = Path(checkpoint) if checkpoint is not None else None
    if path is not None and path.exists():
        state.load(path, run)
    wrapped, stepper = accelerator.prepare(learner, optimizer)
    gradient = _gradient(wrapped, accelerator, compiled)
    device = next(learner.parameters()).device

    learner.train()
    shown = _watched(progress) and accelerator.is_main_process
    with tqdm(initial=len(state.losses), total=n_iterations, disable=not shown) as bar:
        for iteration in range(len(state.losses), n_iterations):
            tasks = source.sample(n_tasks, generator=generator, device=device).select(share)
            stepper.zero_grad()
            loss = accelerator.reduce(gradient(tasks).detach(), reduction="mean").item()
            if not math.isfinite(loss):
                raise ValueError(_not_finite(state.learner, tasks, iteration, loss, share.start))
            state.record(loss)
            clip(accelerator)
            stepper.step()
            if scheduler is not None:
                scheduler.step()
            due = (iteration + 1) % checkpoint_every == 0 or iteration + 1 == n_iterations
            if path is not None and due and accelerator.is_main_process:
                state.save(path, run)
            bar.set_postfix(loss=f"{loss:.3g}", refresh=False)
            bar.update()
    return History(np.array(state.losses), np.array(state.rates))


def compiled_gradient(learner: MetaLearner) -> Callable[[Tasks], Float[Tensor, ""]]:
    """Compile loss and meta-gradient into one graph; calling it sets `.grad` and returns the loss.

    `torch.compile(learner)` works too, but keeps what autograd needs for a later `backward`. Here
    `torch.func` differentiates inside the compiled graph, so nothing is kept: three times faster
    for a small network. The first call compiles, which takes some tens of seconds.
    """
    parameters = {name: p for name, p in learner.named_parameters() if p.requires_grad}

    @torch.compile
    def grad_and_loss(values: dict[str, Tensor], tasks: Tasks) -> tuple[dict[str, Tensor], Tensor]:
        return grad_and_value(lambda v: functional_call(learner, v, (tasks,)))(values)

    def fill(tasks: Tasks) -> Float[Tensor, ""]:
        with torch.no_grad():
            gradients, loss = grad_and_loss(parameters, tasks)
        for name, p in parameters.items():
            p.grad = gradients[name]
        return loss

    return fill


def _gradient(
    learner: MetaLearner, accelerator: Accelerator, compiled: bool
) -> Callable[[Tasks], Tensor]:
    """A function that fills `.grad`, averaged over processes, and returns this process's loss."""

    def eager(tasks: Tasks) -> Tensor:
        loss = learner(tasks)
        accelerator.backward(loss)
        return loss

    if not compiled:
        return eager
    if accelerator.num_processes > 1:
        raise ValueError("compiled=True is for one process; wrap the learner in torch.compile.")
    return compiled_gradient(learner)


def _share(n_tasks: int, accelerator: Accelerator) -> slice:
    """Which tasks of a batch this process takes; all processes draw the same batch."""
    check_int("n_tasks", n_tasks, minimum=1)
    size, rest = divmod(n_tasks, accelerator.num_processes)
    if rest:
        raise ValueError(
            "n_tasks must be a multiple of the number of processes, so that their mean is the mean "
            f"over tasks; got {n_tasks} tasks for {accelerator.num_processes} processes."
        )
    return slice(accelerator.process_index * size, (accelerator.process_index + 1) * size)


def _clipping(
    optimizer: Optimizer, norm: float | None, value: float | None
) -> Callable[[Accelerator], None]:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, limit in (("clip_grad_norm", norm), ("clip_grad_value", value)):
        if limit is not None:
            check_positive(name, limit)

    def clip(accelerator: Accelerator) -> None:
        if value is not None:
            accelerator.clip_grad_value_(parameters, value)
        if norm is not None:
            accelerator.clip_grad_norm_(parameters, norm)

    return clip


def _fresh_generator(accelerator: Accelerator) -> torch.Generator:
    seed = torch.randint(2**62, (1,)).to(accelerator.device)
    return torch.Generator().manual_seed(int(broadcast(seed)))


def _watched(progress: bool | None) -> bool:
    """Whether somebody watches: a terminal, or a notebook whose front end can answer a prompt.

    nbclient, nbconvert and nbval run a kernel without a person and say so by `allow_stdin=False`.
    """
    if progress is not None:
        return progress
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return sys.stderr.isatty() or bool(getattr(getattr(shell, "kernel", None), "_allow_stdin", 0))


def _not_finite(learner: MetaLearner, tasks: Tasks, iteration: int, loss: float, first: int) -> str:
    with torch.no_grad():
        bad = (~torch.isfinite(learner.losses(tasks))).nonzero().flatten() + first
    where = f"of task(s) {', '.join(map(str, bad.tolist()))}" if len(bad) else "of another process"
    return (
        f"iteration {iteration}: the loss {where} of the batch is not finite (the mean is {loss}). "
        "Nothing was stepped. Try a smaller inner_lr or learning rate, or clip the gradient."
    )
