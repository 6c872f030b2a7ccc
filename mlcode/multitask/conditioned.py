"""Several starts instead of one: the task's support set says from which to adapt."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mlcode.checks import check_int, check_support
from mlcode.learner import LossFn, Mapping
from mlcode.optimization.inner_loop import Parameters, UpdateRule, unroll
from mlcode.optimization.maml import MAML
from mlcode.tasks import Examples


class TaskEmbedding(nn.Module):
    """A share for each start, from the support set: the mean over examples of what a network says.

    A mean, so that neither the order nor the number of the examples matters.

    Args:
        n_in: Features of an input and entries of a target together.
        n_starts: How many starts there are.
        n_hidden: Width of the task's embedding.

    Raises:
        TypeError: If a size is no integer.
        ValueError: If one is below 1; on call, if targets are labels, or an example has another
            size.
    """

    def __init__(self, n_in: int, n_starts: int, n_hidden: int = 32) -> None:
        super().__init__()
        sizes = {"n_in": n_in, "n_starts": n_starts, "n_hidden": n_hidden}
        for name, size in sizes.items():
            check_int(name, size, minimum=1)
        self.n_in = n_in
        self.each = nn.Sequential(
            nn.Linear(n_in, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_hidden), nn.ReLU()
        )
        self.share = nn.Linear(n_hidden, n_starts)

    def forward(self, support: Examples) -> Float[Tensor, "start"]:
        """The shares, which sum to 1."""
        if not support.y.is_floating_point():
            raise ValueError(
                "TaskEmbedding reads targets as numbers; labels mean nothing outside their task. "
                "Give ConditionedMAML no embedding: it then tries every start."
            )
        examples = torch.cat([support.x.flatten(1), support.y.flatten(1)], 1)
        if examples.shape[1] != self.n_in:
            raise ValueError(
                f"TaskEmbedding was made for examples of {self.n_in} numbers, input and target "
                f"together; got {examples.shape[1]}."
            )
        return self.share(self.each(examples).mean(0)).softmax(-1)


class ConditionedMAML(MAML):
    """MAML with several starts θ₁ … θ_K, of which a task's support set chooses.

    One start has to be near every task. If tasks come in kinds that are far apart, such as waves,
    lines and steps, none is. Two ways to choose:

    - with an embedding of the support set: the start is the mean of all θₖ, weighted by shares that
      the embedding gives, and the embedding is learned with them. Vuorio et al. (2019) condition on
      an embedding too; there it modulates one start, layer by layer.
    - without one: the task adapts from every start and takes the one where its support loss ends
      lowest. Tasks fall into clusters, and each start is trained by its own cluster alone, as in
      k-means. The choice costs K adaptations, without an outer gradient through them.

    Args:
        starts: Networks of one form with different weights: from equal ones, all would stay equal.
        embedding: From a support set to the shares, such as `TaskEmbedding`. None: clusters.
        inner_lr: As in `MAML`, like all that follow.
        n_inner_steps: See `MAML`.
        n_test_steps: See `MAML`.
        loss_fn: See `MAML`.
        first_order: See `MAML`.
        statistics: See `MAML`.
        rule: See `MAML`.
        mapping: See `MetaLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: As `MAML`.
        ValueError: As `MAML`, or if there is no start, or starts differ in form.
    """

    def __init__(
        self,
        starts: Sequence[nn.Module],
        embedding: nn.Module | None = None,
        *,
        inner_lr: float = 0.01,
        n_inner_steps: int = 1,
        n_test_steps: int | None = None,
        loss_fn: LossFn = F.mse_loss,
        first_order: bool = False,
        statistics: str = "query",
        rule: UpdateRule | None = None,
        mapping: Mapping = "auto",
        chunk_size: int | None = None,
    ) -> None:
        if not starts:
            raise ValueError("expected at least one start; got none.")
        super().__init__(
            starts[0],
            inner_lr=inner_lr,
            n_inner_steps=n_inner_steps,
            n_test_steps=n_test_steps,
            loss_fn=loss_fn,
            first_order=first_order,
            statistics=statistics,
            rule=rule,
            mapping=mapping,
            chunk_size=chunk_size,
        )
        forms = [{n: tuple(p.shape) for n, p in start.named_parameters()} for start in starts]
        for i, form in enumerate(forms):
            if form != forms[0]:
                raise ValueError(
                    f"starts must have one form; start {i} has the parameters {form}, and start 0 "
                    f"{forms[0]}."
                )
        self.others = nn.ModuleList(starts[1:])
        self.embedding = embedding

    @property
    def n_starts(self) -> int:
        """How many starts there are."""
        return 1 + len(self.others)

    def starts(self) -> list[Parameters]:
        """The parameters of every start, by name."""
        modules = [self.model, *self.others]
        return [
            {n: p for n, p in module.named_parameters() if n in self._adapted_names}
            for module in modules
        ]

    def shares(self, support: Examples, n_steps: int | None = None) -> Float[Tensor, "start"]:
        """How much of each start the task takes: the embedding's shares, or 1 for the one chosen.

        Args:
            support: The support set of one task.
            n_steps: After how many inner steps starts are compared. None: as in `adapt`.

        Raises:
            ValueError: If the support set is empty, or the embedding has not one share for each
                start.
        """
        check_support(support, like=next(iter(self.initial().values())))
        if self.embedding is None:
            return self._lowest(support, n_steps)
        shares = self.embedding(support)
        if shares.shape != (self.n_starts,):
            raise ValueError(
                f"the embedding gives shares of shape {tuple(shares.shape)} for {self.n_starts} "
                "starts; make it with n_starts of them."
            )
        return shares

    def adapt(self, support: Examples, n_steps: int | None = None) -> Parameters:
        """The adapted parameters of one task, from the start that its support set chooses."""
        shares, starts = self.shares(support, n_steps), self.starts()
        start = {
            name: torch.tensordot(shares, torch.stack([s[name] for s in starts]), 1)
            for name in starts[0]
        }
        return self._ending(start, support, n_steps)

    def _lowest(self, support: Examples, n_steps: int | None) -> Float[Tensor, "start"]:
        """1 for the start from which the support loss ends lowest; a choice has no slope."""
        starts = [{name: p.detach() for name, p in start.items()} for start in self.starts()]
        ends = [self._ending(start, support, n_steps) for start in starts]
        losses = torch.stack([self.support_loss(end, support) for end in ends]).detach()
        losses = torch.where(losses.isnan(), torch.inf, losses)  # argmin takes NaN for the least
        return F.one_hot(losses.argmin(), len(losses)).to(losses.dtype)

    def _ending(self, start: Parameters, support: Examples, n_steps: int | None) -> Parameters:
        n_steps = self._checked_steps(n_steps, support)
        return unroll(
            lambda at: self.support_loss(at, support),
            start,
            self.rule,
            n_steps,
            first_order=self.first_order,
        )[0]
