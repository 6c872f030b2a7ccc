"""Hard tasks: some of a batch are made of the classes at which the learner fails."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mlcode.checks import check_fraction
from mlcode.learner import MetaLearner, uncompiled
from mlcode.sources.episodes import Episodes
from mlcode.tasks import Examples, Tasks


@dataclass(frozen=True)
class HardTasks:
    """A source that makes a share of every batch of tasks out of the classes that go wrong.

    It draws ordinary tasks and lets the learner, as it is just now, answer their queries. The class
    of each that is answered worst is put aside, and further tasks are made of the classes put
    aside, with other drawings of them (the hard-task meta-batch of Sun et al., 2019).
    If these are fewer than a task needs, others are drawn at random beside them.

    Differs from the paper in that failures are looked for in the batch itself before the step, and
    not in those that were stepped on before: nothing has to be remembered from one batch to the
    next, and a run that is resumed goes on as it would have. The price is one more pass forward.

    Args:
        episodes: Where tasks are drawn from.
        learner: Whose failures count.
        share: Of hard tasks in a batch, below 1, rounded down.

    Raises:
        TypeError: If `episodes` are none, or `learner` is no meta-learner.
        ValueError: If `share` is not at least 0 and below 1.
    """

    episodes: Episodes
    learner: MetaLearner
    share: float = 0.5

    def __post_init__(self) -> None:
        if not isinstance(self.episodes, Episodes):
            kind = type(self.episodes).__name__
            raise TypeError(f"episodes must be Episodes, whose tasks have classes; got {kind}.")
        uncompiled(self.learner)
        check_fraction("share", self.share)

    def sample(
        self,
        n_tasks: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tasks:
        """Draw `n_tasks` tasks, ordinary ones first."""
        n_hard = int(self.share * n_tasks)
        classes = self.episodes.draw_classes(n_tasks - n_hard, generator=generator)
        plain = self.episodes.tasks_of(classes, generator=generator, device=device)
        if n_hard == 0:
            return plain
        worst = classes.gather(1, self.worst(plain).cpu()[:, None])[:, 0]
        hard = torch.stack([self._around(worst, generator) for _ in range(n_hard)])
        return _together([plain, self.episodes.tasks_of(hard, generator=generator, device=device)])

    def worst(self, tasks: Tasks) -> Int64[Tensor, "task"]:
        """The label, in each task, of the class whose queries are answered worst.

        That is the lowest share of right answers and, among equals, the highest mean loss.
        """
        learner = uncompiled(self.learner)
        with torch.no_grad():
            scores = learner.map(lambda s, q: learner.predict(s, q.x), *tasks)
        return torch.stack([_worst(s, y) for s, y in zip(scores, tasks.query.y)])

    def _around(
        self, classes: Int64[Tensor, "found"], generator: torch.Generator | None
    ) -> Int64[Tensor, "way"]:
        """Classes of one task: of those found as many as fit, then any others."""
        n_way = self.episodes.n_way
        found = classes.unique()
        at = generator.device if generator is not None else "cpu"
        order = torch.randperm(len(found), generator=generator, device=at).cpu()[:n_way]
        found = found[order]
        rest = torch.randperm(self.episodes.n_classes, generator=generator, device=at).cpu()
        rest = rest[~torch.isin(rest, found)]
        ways = torch.cat([found, rest[: n_way - len(found)]])
        mixed = torch.randperm(n_way, generator=generator, device=at).cpu()
        return ways[mixed]


def _worst(scores: Float[Tensor, "query n_way"], y: Int64[Tensor, "query"]) -> Int64[Tensor, ""]:
    right = (scores.argmax(-1) == y).to(scores.dtype)
    loss = torch.nn.functional.cross_entropy(scores, y, reduction="none").clamp(max=1e6)
    labels = y.unique()
    badness = torch.stack(
        [(1 - right[y == label].mean()) * 1e7 + loss[y == label].mean() for label in labels]
    )
    return labels[badness.argmax()]


def _together(batches: Sequence[Tasks]) -> Tasks:
    return Tasks(
        *(
            Examples(torch.cat([p.x for p in parts]), torch.cat([p.y for p in parts]))
            for parts in zip(*batches)
        )
    )
