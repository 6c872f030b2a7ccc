"""Implicit MAML: the meta-gradient from where adaptation ends, without the way there."""

import warnings

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import grad_and_value

from mlcode.checks import check_int, check_positive, check_tasks
from mlcode.learner import LossFn, Mapping
from mlcode.optimization.conjugate_gradients import Solution, solve
from mlcode.optimization.curvature import dot, hessian_times
from mlcode.optimization.doubts import no_minimum, unsolved
from mlcode.optimization.inner_loop import Parameters, unroll
from mlcode.optimization.maml import MAML
from mlcode.tasks import Examples, Tasks


class ImplicitMAML(MAML):
    r"""Adapt within reach of θ, and differentiate the solution instead of the steps to it.

    A task is solved by φ = argmin L_support(φ) + λ/2 ‖φ − θ‖². There the gradient vanishes,
    ∇L_support(φ) + λ(φ − θ) = 0, and differentiating this equation gives the meta-gradient
    (I + H/λ)⁻¹ ∇L_query(φ), with H the Hessian of the support loss at φ. It is found by conjugate
    gradients, which need products with H only (Rajeswaran, Finn, Kakade and Levine, 2019). Memory
    does not grow with inner steps, and the way to φ does not matter: only how close they come.

    Differs from the paper in stopping both loops after a fixed number of steps instead of at a
    given accuracy, so that tasks can be mapped by `vmap`.

    Args:
        model: As in `MAML`. Every trainable parameter is adapted.
        proximity: λ, the strength of the pull to θ, in units of curvature; the
            paper's 2 for Omniglot. Large: φ stays at θ.
        inner_lr: Rate of the gradient steps on the regularised support loss; they converge where
            it is below 2 divided by λ + the largest curvature.
        n_inner_steps: How many of them in training; the paper's 16 for Omniglot, 5-way.
        n_test_steps: How many in evaluation. None: as many.
        n_conjugate_steps: Conjugate-gradient steps for the meta-gradient; the paper's 5.
        max_residual: Warn, once for a learner, when the meta-gradient x of a task solves its
            equation A x = b worse than this: by ‖b − A x‖/‖b‖, which is 1 for x = 0. A second
            warning, once as well, comes when conjugate gradients meet a direction in which the
            loss bends down more steeply than `proximity` holds: φ is no minimum then, and x wrong
            however well it solves. Few steps can miss such a direction. A step in one compiled
            graph looks at neither.
        loss_fn: As in `MAML`.
        statistics: As in `MAML`.
        mapping: See `MetaLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: If a number is of the wrong type.
        ValueError: If a number is out of range; see also `MAML`.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        proximity: float = 2.0,
        inner_lr: float = 0.01,
        n_inner_steps: int = 16,
        n_test_steps: int | None = None,
        n_conjugate_steps: int = 5,
        max_residual: float = 1.0,
        loss_fn: LossFn = F.mse_loss,
        statistics: str = "query",
        mapping: Mapping = "auto",
        chunk_size: int | None = None,
    ) -> None:
        check_positive("proximity", proximity)
        check_int("n_conjugate_steps", n_conjugate_steps, minimum=0)
        check_positive("max_residual", max_residual)
        super().__init__(
            model,
            inner_lr=inner_lr,
            n_inner_steps=n_inner_steps,
            n_test_steps=n_test_steps,
            loss_fn=loss_fn,
            first_order=True,
            statistics=statistics,
            mapping=mapping,
            chunk_size=chunk_size,
        )
        self.proximity = proximity
        self.n_conjugate_steps = n_conjugate_steps
        self.max_residual = max_residual
        self._said: set[str] = set()

    def adapt(self, support: Examples, n_steps: int | None = None) -> Parameters:
        """φ after gradient steps on the regularised support loss, without a graph back to θ."""
        start = {name: p.detach() for name, p in self.initial().items()}

        def regularised(phi: Parameters) -> Tensor:
            moved = {name: p - start[name] for name, p in phi.items()}
            return self.support_loss(phi, support) + self.proximity / 2 * dot(moved, moved)

        n_steps = self._checked_steps(n_steps, support)
        return unroll(regularised, start, self.rule, n_steps, first_order=True)[0]

    def losses(self, tasks: Tasks) -> Float[Tensor, "task"]:
        """The loss of each task of a batch, whose gradient is the implicit one.

        Warns as `max_residual` says.
        """
        if not torch.is_grad_enabled():
            return super().losses(tasks)
        check_tasks(tasks, like=next(self.parameters()), n_way=self.n_way)
        losses, residuals, curvatures = self.map(self._loss_and_doubts, *tasks).unbind(dim=1)
        if not torch.compiler.is_compiling():
            self._report(residuals.detach(), curvatures.detach())
        return losses

    def task_loss(self, support: Examples, query: Examples) -> Float[Tensor, ""]:
        """The query loss at φ, whose gradient with respect to θ is the implicit one."""
        if torch.is_grad_enabled():
            return self._loss_and_doubts(support, query)[0]
        return self.loss(self.outputs(self.adapt(support), support, query.x), query.y)

    def _loss_and_doubts(self, support: Examples, query: Examples) -> Float[Tensor, "3"]:
        phi = self.adapt(support)

        def query_loss(at: Parameters) -> Tensor:
            return self.loss(self.outputs(at, support, query.x), query.y)

        gradient, value = grad_and_value(query_loss)(phi)
        found = self._solve(phi, gradient, support)
        # Its value is the loss and its derivative the meta-gradient: θ·g − stop(θ·g) is zero.
        product = dot(self.initial(), {name: g.detach() for name, g in found.x.items()})
        loss = value.detach() + product - product.detach()
        return torch.stack([loss, found.residual.detach(), found.curvature.detach()])

    def _report(self, residuals: Float[Tensor, "task"], curvatures: Float[Tensor, "task"]) -> None:
        doubts = {
            "unsolved": unsolved(residuals, self.n_conjugate_steps, self.max_residual),
            "no minimum": no_minimum(curvatures, self.proximity),
        }
        for kind, doubt in doubts.items():
            if doubt is not None and kind not in self._said:
                self._said.add(kind)
                warnings.warn(doubt, RuntimeWarning, stacklevel=4)

    def implicit_gradient(
        self, phi: Parameters, gradient: Parameters, support: Examples
    ) -> Parameters:
        """(I + H/λ)⁻¹ applied to the query loss's gradient at the solution `phi` of one task."""
        return self._solve(phi, gradient, support).x

    def _solve(self, phi: Parameters, gradient: Parameters, support: Examples) -> Solution:
        def times(v: Parameters) -> Parameters:
            curved = hessian_times(lambda at: self.support_loss(at, support), phi, v)
            return {name: v[name] + curved[name] / self.proximity for name in v}

        return solve(times, gradient, self.n_conjugate_steps)

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        own = f"proximity={self.proximity}, n_conjugate_steps={self.n_conjugate_steps}"
        return f"{own}, {super().extra_repr()}"
