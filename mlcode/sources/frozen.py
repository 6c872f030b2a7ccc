"""A list of tasks that stays as it is, and a hash that tells whether two are the same."""

import hashlib
from dataclasses import dataclass, field

import torch

from mlcode.checks import check_int, check_tasks
from mlcode.tasks import Tasks, TaskSource


@dataclass(frozen=True, eq=False)
class FrozenTasks:
    """Tasks drawn once, and a source that gives them again, the first one first.

    Args:
        tasks: A copy of them is kept, on the CPU.
        split: The part of the data from which they were drawn, such as "test". None: not known.

    Raises:
        TypeError: If `tasks` is no `Tasks`.
        ValueError: If they do not fit together; see `mlcode.checks.check_tasks`.
    """

    tasks: Tasks
    split: str | None = None
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        check_tasks(self.tasks)
        copies = (type(part)(*(t.detach().cpu().clone() for t in part)) for part in self.tasks)
        object.__setattr__(self, "tasks", Tasks(*copies))
        object.__setattr__(self, "digest", digest(self.tasks))

    def __len__(self) -> int:
        return self.tasks.n_tasks

    def sample(
        self,
        n_tasks: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tasks:
        """The first `n_tasks` of them; `generator` has no say.

        Raises:
            TypeError: If `n_tasks` is not an integer.
            ValueError: If it is below 1, or there are not so many.
        """
        check_int("n_tasks", n_tasks, minimum=1)
        if n_tasks > len(self):
            raise ValueError(f"there are {len(self)} frozen tasks; got n_tasks={n_tasks}.")
        return self.tasks.select(slice(0, n_tasks)).to(device)

    def check_unchanged(self, culprit: str) -> None:
        """Raise ValueError, naming the `culprit`, if anything was written into the tasks."""
        if digest(self.tasks) != self.digest:
            raise ValueError(
                f"{culprit} wrote into the tasks that it was measured on, so that the next would "
                "meet others. Use operations that return a new tensor, not x.add_(…) or x[…] = …."
            )


def freeze(source: TaskSource, n_tasks: int, *, generator: torch.Generator) -> FrozenTasks:
    """Draw `n_tasks` of a source once and for all.

    The same source and seed of a CPU generator give the same hash on every machine with the same
    torch: what is random is drawn on the CPU, and images are bytes until they are drawn. Functions
    such as sine waves are computed in double precision, of which processors may round the last
    digit differently; in single precision, the usual one, that is all but never seen.

    Args:
        source: Where they come from.
        n_tasks: How many.
        generator: Draws them.
    """
    return FrozenTasks(source.sample(n_tasks, generator=generator, device="cpu"), split_of(source))


def split_of(source: object) -> str | None:
    """The part of the data that a source draws from, by name; None if it does not say."""
    split = getattr(getattr(source, "characters", source), "split", None)
    return split if isinstance(split, str) else None


def digest(tasks: Tasks) -> str:
    """The first 16 digits of SHA-256 over shapes, dtypes and every byte of the tasks.

    Two lists of tasks with the same digest are the same: one changed pixel changes it, and so does
    another order.
    """
    content = hashlib.sha256()
    for part in tasks:
        for tensor in part:
            content.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
            flat = tensor.detach().cpu().contiguous().flatten()
            content.update(flat.view(torch.uint8).numpy().tobytes())
    return content.hexdigest()[:16]
