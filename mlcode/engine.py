"""What lies between a loss and a step: processes, compilation, clipping, and what is not finite."""

import math
import os
import warnings
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from mlcode.checks import check_int, check_labels, check_positive
from mlcode.learner import MetaLearner, uncompiled
from mlcode.tasks import Tasks

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Accelerate loads tqdm.auto, which misses a notebook's widgets
    from accelerate import Accelerator
    from accelerate.utils import broadcast


class Engine:
    """Computes meta-gradients and steps an optimizer, in one process or several.

    Args:
        learner: A learner or a compiled one; moved where `accelerator` wants it.
        optimizer: Of its parameters.
        scheduler: Stepped with the optimizer.
        accelerator: Devices, processes and precision.
        compiled: Use `compiled_gradient`.
        clip_grad_norm: Largest norm of the whole gradient.
        clip_grad_value: Largest magnitude of one of its entries.
    """

    def __init__(
        self,
        learner: MetaLearner | nn.Module,
        optimizer: Optimizer,
        scheduler: LRScheduler | None,
        accelerator: Accelerator,
        *,
        compiled: bool,
        clip_grad_norm: float | None,
        clip_grad_value: float | None,
    ) -> None:
        self._bare = uncompiled(learner)
        self._wrapped, self._optimizer = accelerator.prepare(learner, optimizer)
        self._scheduler = scheduler
        self._accelerator = accelerator
        self._clip_grad_norm = clip_grad_norm
        self._clip_grad_value = clip_grad_value
        self._clipped = [p for group in optimizer.param_groups for p in group["params"]]
        self._fill = compiled_gradient(learner) if compiled else self._backward

    def gradient(self, tasks: Tasks, iteration: int) -> float:
        """Fill `.grad` with its mean over the processes' tasks and return the mean loss.

        Raises:
            ValueError: If that loss is not finite, in every process, naming the tasks.
        """
        self._optimizer.zero_grad()
        for name, part in zip(Tasks._fields, tasks):
            check_labels(f"{name}.y", part.y, self._bare.n_way)  # a compiled graph cannot
        loss = self._accelerator.reduce(self._fill(tasks).detach(), reduction="mean").item()
        if not math.isfinite(loss):
            raise ValueError(
                f"iteration {iteration}: the loss of {self._culprits(tasks)} is not finite (the "
                f"mean over the batch is {loss}). Nothing was stepped. Try a smaller inner_lr or "
                "learning rate, or clip the gradient."
            )
        return loss

    def step(self, loss: float) -> None:
        """Clip the gradient, step the optimizer, then the scheduler."""
        if self._clip_grad_value is not None:
            self._accelerator.clip_grad_value_(self._clipped, self._clip_grad_value)
        if self._clip_grad_norm is not None:
            self._accelerator.clip_grad_norm_(self._clipped, self._clip_grad_norm)
        self._optimizer.step()
        if isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step(loss)
        elif self._scheduler is not None:
            self._scheduler.step()

    def _backward(self, tasks: Tasks) -> Float[Tensor, ""]:
        loss = self._wrapped(tasks)
        self._accelerator.backward(loss)
        return loss

    def _culprits(self, tasks: Tasks) -> str:
        with torch.no_grad():
            finite = self._bare.losses(tasks).isfinite().to(torch.uint8)
        bad = (self._accelerator.gather(finite) == 0).nonzero().flatten().tolist()
        return f"task(s) {', '.join(map(str, bad))} of the batch" if bad else "the whole batch"


def compiled_gradient(learner: MetaLearner | nn.Module) -> Callable[[Tasks], Float[Tensor, ""]]:
    """Compile loss and meta-gradient into one graph; calling it sets `.grad` and returns the loss.

    `torch.compile(learner)` works too, but keeps what autograd needs for a later `backward`. Here
    `torch.func` differentiates inside the compiled graph, so nothing is kept: three times faster
    for a small network. The first call compiles, which takes some tens of seconds.
    """
    bare = uncompiled(learner)
    parameters: dict[str, Tensor] = {
        name: p for name, p in bare.named_parameters() if p.requires_grad
    }

    # Kernels of a small step take microseconds each; calling them from C++ saves a fifth of it.
    on_cpu = all(p.device.type == "cpu" for p in parameters.values())

    @torch.compile(options={"cpp_wrapper": True} if on_cpu else None)
    def grad_and_loss(values: dict[str, Tensor], tasks: Tasks) -> tuple[dict[str, Tensor], Tensor]:
        return grad_and_value(lambda v: functional_call(bare, v, (tasks,)))(values)

    def fill(tasks: Tasks) -> Float[Tensor, ""]:
        with torch.no_grad():
            gradients, loss = grad_and_loss(parameters, tasks)
        for name, p in parameters.items():
            p.grad = gradients[name]
        return loss

    return fill


def default_accelerator() -> Accelerator:
    """One that leaves a learner where it is, unless there are several processes.

    Without being told, Accelerate takes several processes without GPUs for as many single ones.
    """
    several = _n_started() > 1
    return Accelerator(device_placement=several, cpu=several and not torch.cuda.is_available())


def _n_started() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def check_limits(optimizer: Optimizer, learner: MetaLearner, **clip: float | None) -> None:
    """Raise ValueError if `optimizer` holds nothing of `learner` or a limit is not positive."""
    own = {id(p) for p in learner.parameters()}
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise ValueError(
            "the optimizer holds no parameter of this learner, so nothing would be learned; "
            f"make it with {type(optimizer).__name__}(learner.parameters(), …)."
        )
    for name, limit in clip.items():
        if limit is not None:
            check_positive(name, limit)


def share_of_batch(n_tasks: int, accelerator: Accelerator) -> slice:
    """Which tasks of a batch this process takes; all processes draw the same batch."""
    check_int("n_tasks", n_tasks, minimum=1)
    if accelerator.num_processes == 1 < _n_started():
        raise ValueError(
            f"this is one of {_n_started()} processes, but the accelerator knows of one only: each "
            "would train apart. On CPUs, give accelerator=Accelerator(cpu=True), or none."
        )
    size, rest = divmod(n_tasks, accelerator.num_processes)
    if rest:
        raise ValueError(
            "n_tasks must be a multiple of the number of processes, so that their mean is the mean "
            f"over tasks; got {n_tasks} tasks for {accelerator.num_processes} processes."
        )
    return slice(accelerator.process_index * size, (accelerator.process_index + 1) * size)


def check_together(n_done: int, accelerator: Accelerator) -> None:
    """Raise ValueError, in every process, unless all begin at the same iteration."""
    here = torch.tensor([n_done], device=accelerator.device)
    starts = accelerator.gather(here).tolist() if accelerator.num_processes > 1 else [n_done]
    if len(set(starts)) > 1:
        raise ValueError(
            f"the processes would begin at different iterations: {starts}. "
            "A checkpoint must lie where every process can read it."
        )


def fresh_generator(accelerator: Accelerator) -> torch.Generator:
    """A generator for tasks, seeded from torch's global one and alike in all processes."""
    seed = torch.randint(2**62, (1,)).to(accelerator.device)
    return torch.Generator().manual_seed(int(broadcast(seed)))
