"""How much memory a piece of work needs at its peak, beyond what was there before."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(work: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """The most bytes of tensors that were alive at once during `work()`, above those before it.

    On a GPU the allocator keeps count. On a CPU each result of an operation is counted until it is
    freed; what libraries take by themselves, such as the scratch space of a convolution, is not.
    (PyTorch's profiler counts too, but writes to the standard error of every notebook.)

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
    with _Counter() as counter:
        work()
    return counter.peak


class _Counter(TorchDispatchMode):
    """Counts the storages that operations within the block return, each until it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        # What an operation is given was there before it: views of it are nothing new.
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage(), counted=False)
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage(), counted=True)
        self.peak = max(self.peak, self.live)
        return result

    def _add(self, storage: torch.UntypedStorage, *, counted: bool) -> None:
        name = storage._cdata
        if name in self._known:
            return
        self._known.add(name)
        size = storage.nbytes() if counted else 0
        self.live += size
        weakref.finalize(storage, self._remove, name, size)

    def _remove(self, name: int, size: int) -> None:
        self._known.discard(name)
        self.live -= size
