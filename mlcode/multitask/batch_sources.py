"""Where batches for several tasks come from: the examples there are, or sources of tasks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from mlcode.checks import check_int
from mlcode.multitask.batches import Batch, check_batch
from mlcode.tasks import Examples, Tasks, TaskSource


@runtime_checkable
class BatchSource(Protocol):
    """Anything that draws batches for several tasks at once."""

    def sample(
        self,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Mapping[str, Any]:
        """Draw a batch with `generator` and place it on `device`."""
        ...


@dataclass(frozen=True, eq=False)
class ExampleBatches:
    """Batches drawn from the examples that there are: a fixed number of each task's.

    Tasks may be of unequal size. Each gives up to `batch_size` of its examples, without repeats, so
    that a small task gives all of its own. The loss of a task is a mean over its examples: a small
    task counts as much as a large one unless weights say otherwise. Tasks with the same inputs give
    the same examples.

    Args:
        data: Examples of each task.
        batch_size: The most examples of a task in a batch. None: all of them.

    Raises:
        TypeError: If the data are no mapping of names to `Examples`, or the size is no integer.
        ValueError: If there is no task, a task has no examples or not one target for each input, or
            the size is below 1.
    """

    data: Batch
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check_batch(self.data, tuple(self.data) if isinstance(self.data, Mapping) else ())
        if self.batch_size is not None:
            check_int("batch_size", self.batch_size, minimum=1)

    def sample(
        self,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Examples]:
        """Draw a batch."""
        inputs: dict[int, tuple[Int64[Tensor, "pick"] | slice, Tensor]] = {}
        batch = {}
        for name, (x, y) in self.data.items():
            if id(x) not in inputs:
                picks = self._picks(len(x), generator)
                inputs[id(x)] = picks, x[picks].to(device)
            picks, picked = inputs[id(x)]
            batch[name] = Examples(picked, y[picks].to(device))
        return batch

    def _picks(self, n: int, generator: torch.Generator | None) -> Int64[Tensor, "pick"] | slice:
        if self.batch_size is None or self.batch_size >= n:
            return slice(None)
        at = generator.device if generator is not None else "cpu"
        return torch.randperm(n, generator=generator, device=at)[: self.batch_size].cpu()


@dataclass(frozen=True)
class TaskBatches:
    """Batches of few-shot tasks, some from each of several sources: families of tasks.

    Args:
        sources: A source of tasks for each family.
        n_tasks: Tasks of each family in a batch.

    Raises:
        TypeError: If a source cannot draw tasks or `n_tasks` is no integer.
        ValueError: If there is no family or `n_tasks` is below 1.
    """

    sources: Mapping[str, TaskSource]
    n_tasks: int

    def __post_init__(self) -> None:
        check_int("n_tasks", self.n_tasks, minimum=1)
        if not self.sources:
            raise ValueError("expected at least one source of tasks; got none.")
        for name, source in self.sources.items():
            if not isinstance(source, TaskSource):
                raise TypeError(
                    f"sources[{name!r}] must have sample(n_tasks), as Sinusoids has; "
                    f"got {type(source).__name__}."
                )

    def sample(
        self,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tasks]:
        """Draw a batch of each family."""
        return {
            name: source.sample(self.n_tasks, generator=generator, device=device)
            for name, source in self.sources.items()
        }
