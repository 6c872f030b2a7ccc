"""Families of few-shot tasks that differ in outputs and losses, and share what learners share."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from mlcode.learner import MetaLearner
from mlcode.multitask.batches import TaskBatch, check_batch, check_names
from mlcode.multitask.joint import JointLearner
from mlcode.multitask.weighting import Weighting
from mlcode.tasks import Tasks


class Families(JointLearner):
    """One meta-learner for each family of tasks, trained together.

    Few-shot regressions and classifications cannot be in one batch of tasks: their targets have no
    common shape, their networks no common output, and their losses no common unit. So each family
    has a learner of its own, with its own head and loss, and what the learners share they share as
    modules: `MAML(TrunkAndHead(trunk, head))` for one family and `ProtoMAML(trunk)` for another
    train one trunk. `weighting` weighs the families.

    `families["sines"]` is the learner of that family, for `evaluate` and `predict`.

    Args:
        learners: The learner of each family.
        weighting: How the families' mean query losses are weighed. None: alike.

    Raises:
        TypeError: If one is no meta-learner.
        ValueError: If there is no family, or `weighting` is for others.
    """

    def __init__(
        self, learners: Mapping[str, MetaLearner], *, weighting: Weighting | None = None
    ) -> None:
        for name, learner in learners.items():
            if not isinstance(learner, MetaLearner):
                raise TypeError(
                    f"learners[{name!r}] must be a MetaLearner, such as MAML(network); got "
                    f"{type(learner).__name__}."
                )
        super().__init__(tuple(learners), weighting)
        self.learners = nn.ModuleList(learners.values())

    def __getitem__(self, name: str) -> MetaLearner:
        """The learner of one family.

        Raises:
            ValueError: If no family has that name.
        """
        check_names((name,), self.names)
        learner = self.learners[self.names.index(name)]
        assert isinstance(learner, MetaLearner)
        return learner

    def losses(self, batch: TaskBatch) -> dict[str, Float[Tensor, ""]]:
        """The mean query loss of each family's tasks.

        Raises:
            ValueError: As the family's learner does, naming the family.
        """
        check_batch(batch, self.names, Tasks)
        return {name: self._loss(name, tasks) for name, tasks in batch.items()}

    def _loss(self, name: str, tasks: Tasks) -> Float[Tensor, ""]:
        try:
            return self[name](tasks)
        except ValueError as error:
            raise ValueError(f"family {name!r}: {error}") from error
