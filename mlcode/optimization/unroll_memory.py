"""Whether a long inner loop fits into memory, said before it is tried."""

import copy
import math
from typing import TYPE_CHECKING

import psutil
import torch

from mlcode.memory import peak_bytes
from mlcode.tasks import Tasks

if TYPE_CHECKING:
    from mlcode.optimization.maml import MAML


def unroll_bytes(learner: "MAML", tasks: Tasks) -> int:
    """The bytes that a meta-gradient needs at its peak, by the slope of a few steps.

    What a step leaves in the graph is the same for every step and every task. So two short loops on
    the first task are measured and the line through them is followed.

    Args:
        learner: Whose `n_inner_steps` are meant.
        tasks: A batch as it is trained on.
    """
    unit = learner.checkpoint_every or 1
    short, long = (_peak(learner, tasks, n * unit) for n in (2, 4))
    a_step = (long - short) / (2 * unit)
    fixed, grows = short - a_step * 2 * unit, a_step * learner.n_inner_steps
    if learner.checkpoint_every is None:
        return math.ceil((fixed + grows) * tasks.n_tasks)
    return math.ceil(fixed + grows * tasks.n_tasks)  # one segment at a time is computed again


def check_fits(learner: "MAML", tasks: Tasks) -> None:
    """Raise MemoryError if the unroll needs more than there is, with what it needs and what helps.

    Loops of up to twenty steps are let through unmeasured, as are those whose memory does not grow.
    """
    unit = learner.checkpoint_every or 1
    if learner.first_order or learner.n_inner_steps <= max(20, 4 * unit):
        return
    device = next(learner.parameters()).device
    needed, there = unroll_bytes(learner, tasks), available_bytes(device)
    if needed > there:
        k = learner.n_inner_steps
        raise MemoryError(
            f"{k:,} inner steps on {tasks.n_tasks} tasks would need about {_size(needed)}; "
            f"{device} has {_size(there)} free. Memory grows with the steps: take "
            f"checkpoint_every={math.isqrt(k)}, fewer steps, fewer tasks, first_order=True or "
            "ImplicitMAML."
        )


def available_bytes(device: torch.device) -> int:
    """The memory of a device that could be taken now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def _peak(learner: "MAML", tasks: Tasks, n_steps: int) -> int:
    probe = copy.copy(learner)  # shares parameters
    probe.n_inner_steps = n_steps
    first = tasks.select(slice(0, 1))
    wanted = [p for p in probe.parameters() if p.requires_grad]
    device = next(learner.parameters()).device
    return peak_bytes(
        lambda: torch.autograd.grad(probe.losses(first).mean(), wanted, allow_unused=True), device
    )


def _size(n_bytes: int) -> str:
    power = min(int(math.log(max(n_bytes, 1), 1000)), 4)
    return f"{n_bytes / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"
