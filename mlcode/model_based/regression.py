"""Linear regression in closed form, which what a transformer learned is measured against."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mlcode.checks import check_spread
from mlcode.learner import MetaLearner
from mlcode.tasks import Examples


class RidgeRegression(MetaLearner):
    """w = (XᵀX + λI)⁻¹ Xᵀy, through the origin; with λ = 0 the least squares of smallest norm.

    For y = wᵀx + ε with w ~ N(0, I) and ε ~ N(0, σ²), `LinearFunctions`, the posterior mean of w is
    ridge regression with λ = σ². So with that penalty no learner has a smaller expected squared
    error on those tasks, whatever its size. In float64 inside. Without support examples w is 0.

    Args:
        penalty: λ, in units of y² if those of w and x are 1. With w ~ N(0, s²I) the best is σ²/s².

    Raises:
        TypeError: If the penalty is not a number.
        ValueError: If it is negative or not finite.
    """

    def __init__(self, penalty: float = 0.0) -> None:
        super().__init__(loss_fn=F.mse_loss)
        check_spread("penalty", penalty)
        self.penalty = penalty

    def predict(
        self, support: Examples, query_x: Float[Tensor, "query feature"]
    ) -> Float[Tensor, "query target"]:
        """The fitted function at each query."""
        return (query_x.double() @ self.weights(support)).to(query_x)

    def weights(self, support: Examples) -> Float[Tensor, "feature target"]:
        """w, a column for each target."""
        x, y = support.x.double(), support.y.double()
        if self.penalty == 0:
            return torch.linalg.pinv(x) @ y
        penalty = self.penalty * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        return torch.linalg.solve(x.mT @ x + penalty, x.mT @ y)

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        return f"penalty={self.penalty}"
