"""Accuracy by presentation of a class: right at the first time, the second, the tenth."""

import torch
from jaxtyping import Int64
from torch import Tensor

from mlcode.checks import check_int
from mlcode.evaluation import EVALUATION_SEED, Estimate
from mlcode.model_based.sequences import SequenceLearner, joined, reordered
from mlcode.tasks import Examples, TaskSource


def draw_sequences(
    source: TaskSource,
    n_tasks: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Examples:
    """Sequences of labelled examples: each task's support set and queries, mixed.

    Of `Episodes(characters, n_way, n_shot, n_query)` each class is presented n_shot + n_query
    times. Its labels are drawn anew for every task.

    Args:
        source: Of classification tasks.
        n_tasks: How many sequences.
        generator: Draws the tasks and then their order.
        device: Where they shall lie. None: where the source puts them.
    """
    tasks = source.sample(n_tasks, generator=generator, device=device)
    sequence = joined(*tasks, axis=1)
    at = generator.device if generator is not None else "cpu"
    keys = torch.rand(sequence.y.shape[:2], generator=generator, device=at, dtype=torch.float64)
    return reordered(sequence, keys.argsort(-1).to(sequence.y.device))


def presentations(y: Int64[Tensor, "*task step"]) -> Int64[Tensor, "*task step"]:
    """At each step, which presentation of its class it is, counted from 1."""
    alike = y[..., :, None] == y[..., None, :]
    return alike.tril().sum(-1)


@torch.no_grad()
def accuracy_by_presentation(
    learner: SequenceLearner,
    source: TaskSource,
    n_tasks: int = 600,
    *,
    generator: torch.Generator | None = None,
    batch_size: int = 100,
) -> list[Estimate]:
    """The share of right answers when a class comes for the first time, the second, and so on.

    As Santoro et al. (2016) report it: the learner reads a sequence, is asked for each label before
    it is told, and the k-th entry is the mean over the classes of a sequence at their k-th time.

    Before its first label a class can only be guessed. One guess in n_way is right at the first
    step; a learner that knows which labels it has heard, and that this class is new, guesses among
    the others, and is right in a share (1 + 1/2 + … + 1/n_way) / n_way of first presentations.

    Args:
        learner: Evaluated where its parameters lie; its mode does not matter and is left alone.
        source: As in `draw_sequences`; every class as often as every other.
        n_tasks: How many sequences.
        generator: Draws them. None: one with a fixed seed, as in `evaluate`.
        batch_size: Sequences read at once.

    Raises:
        TypeError: If a count is not an integer.
        ValueError: If the learner names no classes, there are fewer than 2 tasks, or classes are
            not presented equally often.
    """
    check_int("n_tasks", n_tasks, minimum=2)
    check_int("batch_size", batch_size, minimum=1)
    if not learner.classification:
        raise ValueError("accuracy by presentation is of classes; this learner is for regression.")
    generator = generator or torch.Generator().manual_seed(EVALUATION_SEED)
    device = next(learner.parameters()).device
    drawn = draw_sequences(source, n_tasks, generator=generator, device=device)
    time = presentations(drawn.y)
    n_times = int(time.max())
    if int((time == n_times).sum()) * n_times != time.numel():
        raise ValueError("every class must be presented as often as every other; use Episodes.")
    found = [
        learner.predictions(Examples(x, y)).argmax(-1) == y
        for x, y in zip(drawn.x.split(batch_size), drawn.y.split(batch_size))
    ]
    right = torch.cat(found).double()
    at = [time == k for k in range(1, n_times + 1)]
    return [Estimate.of(((right * k).sum(1) / k.sum(1)).cpu().numpy()) for k in at]
