"""The data of several tasks: examples by the name of their task.

One form serves both kinds of multi-task data. Tasks with inputs of their own have each its own `x`,
of whatever length and shape. Tasks that share inputs hold one and the same tensor, which is how a
learner knows that it can pass it through the trunk once.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from jaxtyping import Shaped
from torch import Tensor

from mlcode.checks import check_tasks
from mlcode.tasks import Examples, Tasks

Batch = Mapping[str, Examples]
TaskBatch = Mapping[str, Tasks]


def with_shared_inputs(
    x: Shaped[Tensor, "example *feature"], targets: Mapping[str, Tensor]
) -> dict[str, Examples]:
    """Several targets of the same inputs, such as the shape and the size of each thing in `x`.

    Raises:
        ValueError: If a task has not one target for each input.
    """
    batch = {name: Examples(x, y) for name, y in targets.items()}
    for name, part in batch.items():
        check_examples(name, part)
    return batch


def by_name(examples: Examples, names: Sequence[str] | None = None) -> dict[str, Examples]:
    """The tasks of one batch with a task axis, such as `tasks.support`, each under its name.

    Inputs that are the same for all tasks become one tensor.

    Args:
        examples: With a leading task axis.
        names: One a task. None: "task 0", "task 1", …

    Raises:
        ValueError: If the names are not distinct or not one a task, or a task has no examples.
    """
    n_tasks = len(examples.x)
    names = [f"task {i}" for i in range(n_tasks)] if names is None else list(names)
    if len(names) != n_tasks or len(set(names)) != n_tasks:
        raise ValueError(f"expected {n_tasks} distinct names, one a task; got {names}.")
    shared = bool((examples.x == examples.x[:1]).all())
    first = examples.x[0]
    batch = {
        name: Examples(first if shared else examples.x[i], examples.y[i])
        for i, name in enumerate(names)
    }
    for name, part in batch.items():
        check_examples(name, part)
    return batch


def check_names(names: Sequence[str], expected: Sequence[str]) -> None:
    """Raise ValueError unless there is a name and every one is expected, naming the nearest."""
    if not names:
        raise ValueError("expected the examples of at least one task; got none.")
    for name in names:
        if name not in expected:
            near = get_close_matches(str(name), expected, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"no task is called {name!r}; there are {', '.join(map(repr, expected))}.{hint}"
            )


def check_batch(batch: Mapping[str, Any], names: Sequence[str], kind: type = Examples) -> None:
    """Raise unless `batch` maps some of `names` to what a loss can be computed of.

    A task may be missing: it has no part in the step. A task that is there without examples is
    an error, since the mean over no examples is no number.

    Raises:
        TypeError: If it is no mapping, or a value no `Examples` (or `Tasks`).
        ValueError: If it is empty, a name is unknown, or a task has no examples or not one target
            for each input.
    """
    if not isinstance(batch, Mapping) or not all(isinstance(p, kind) for p in batch.values()):
        got = (
            {name: type(part).__name__ for name, part in batch.items()}
            if isinstance(batch, Mapping)
            else type(batch).__name__
        )
        raise TypeError(f"expected a mapping of task names to {kind.__name__}; got {got}.")
    check_names(tuple(batch), names)
    for name, part in batch.items():
        if isinstance(part, Examples):
            check_examples(name, part)
        else:
            check_tasks(part)


def check_examples(name: str, part: Examples) -> None:
    """Raise ValueError unless the task has examples, and one target for each input."""
    if part.x.ndim == 0 or part.y.ndim == 0 or len(part.x) != len(part.y):
        raise ValueError(
            f"task {name!r} needs one target per input; got x of shape {tuple(part.x.shape)} and "
            f"y of shape {tuple(part.y.shape)}."
        )
    if len(part.x) == 0:
        raise ValueError(
            f"task {name!r} has no examples, and a mean over none is not a number. Leave the task "
            "out of the batch."
        )
