"""How much memory a piece of work needs at its peak, beyond what was there before."""

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

# How PyTorch's profiler names an allocation or, with a negative size, its end.
ALLOCATION = "[memory]"


def peak_bytes(work: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """The most bytes of tensors that were alive at once during `work()`, above those before it.

    On a GPU the allocator keeps count. On a CPU each allocation is seen by the profiler; what
    libraries take by themselves, such as the scratch space of a convolution, is not.

    Args:
        work: Called once.
        device: Whose memory.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    results = seen.profiler.kineto_results
    events = [e for e in results.events() if e.name() == ALLOCATION]
    live = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak
