"""Heads on given features that are fitted by iteration, where no closed form exists."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import grad

from mlcode.transfer.heads import class_means

N_NEWTON_STEPS = 12
LENGTHS = tuple(0.5**i for i in range(8))  # that are tried of a Newton step


def cosine_head(
    z: Float[Tensor, "support feature"],
    y: Int64[Tensor, "support"],
    query_z: Float[Tensor, "query feature"],
    n_way: int,
    *,
    scale: float = 2.0,
    lr: float = 1.0,
    n_steps: int = 100,
) -> Float[Tensor, "query n_way"]:
    """`scale` times the cosine of each query with the direction of each class, which is fitted.

    The head of the baseline that Chen et al. (2019) call Baseline++: cross-entropy of the scaled
    cosines on the support set, lowered by gradient steps.

    Differs from the paper in that a direction begins at the mean of its class's unit vectors, not
    at random, and in that each step sees the whole support set. Without steps it is the class mean
    that is nearest in angle. A class without examples has −∞.
    """
    unit, query_unit = F.normalize(z, dim=-1), F.normalize(query_z, dim=-1)
    start, count = class_means(unit, y, n_way)
    absent = torch.where(count > 0, 0.0, -torch.inf).to(z.dtype)

    def scores(directions: Tensor, at: Tensor) -> Tensor:
        return scale * at @ F.normalize(directions, dim=-1).T + absent

    directions = F.normalize(start, dim=-1)
    for _ in range(n_steps):
        slope = grad(lambda d: F.cross_entropy(scores(d, unit), y))(directions)
        directions = directions - lr * slope
    return scores(directions, query_unit)


def logistic_head(
    z: Float[Tensor, "support feature"],
    y: Int64[Tensor, "support"],
    query_z: Float[Tensor, "query feature"],
    n_way: int,
    *,
    penalty: float = 1.0,
) -> Float[Tensor, "query n_way"]:
    """Log-odds of a penalised logistic regression on features scaled to length 1.

    Minimises Σᵢ cross-entropyᵢ + penalty ‖W‖²/2 with free intercepts, as scikit-learn does with
    C = 1/penalty. On the features of a supervised network it is the baseline of Tian et al. (2020).

    Solved by Newton's method, whose step is shortened where that lowers the objective further; the
    objective is convex, and intercepts are held to a sum of 0, which changes no probability. A
    class without examples has −∞.
    """
    unit, query_unit = F.normalize(z, dim=-1), F.normalize(query_z, dim=-1)
    # W lies in the span of the support set. In an orthonormal basis of it the system is small.
    basis, coordinates = torch.linalg.qr(unit.T)
    x = torch.cat([coordinates.T, unit.new_ones(len(unit), 1)], 1)
    member = F.one_hot(y, n_way).to(z.dtype)
    absent = torch.where(member.sum(0) > 0, 0.0, -torch.inf).to(z.dtype)
    w = x.new_zeros(n_way, x.shape[1])
    for _ in range(N_NEWTON_STEPS):
        step = _newton_step(w, x, member, absent, penalty)
        tried = [w - length * step for length in LENGTHS]
        values = torch.stack([_objective(at, x, member, absent, penalty) for at in tried])
        # Of steps that do equally well but for rounding the longest: at the end, the whole step.
        rounding = 8 * torch.finfo(w.dtype).eps * values.amin().abs()
        best = (values <= values.amin() + rounding).to(w.dtype).argmax()
        w = torch.tensordot(F.one_hot(best, len(tried)).to(w.dtype), torch.stack(tried), 1)
    return query_unit @ basis @ w[:, :-1].T + w[:, -1] + absent


def _objective(
    w: Float[Tensor, "n_way column"],
    x: Float[Tensor, "example column"],
    member: Float[Tensor, "example n_way"],
    absent: Float[Tensor, "n_way"],
    penalty: float,
) -> Float[Tensor, ""]:
    """What logistic regression minimises; the last column of `w` holds the intercepts."""
    fit = F.cross_entropy(x @ w.T + absent, member.argmax(1), reduction="sum")
    # Adding to all intercepts changes no probability: the last term settles which it is.
    return fit + penalty / 2 * w[:, :-1].square().sum() + w[:, -1].sum().square() / 2


def _newton_step(
    w: Float[Tensor, "n_way column"],
    x: Float[Tensor, "example column"],
    member: Float[Tensor, "example n_way"],
    absent: Float[Tensor, "n_way"],
    penalty: float,
) -> Float[Tensor, "n_way column"]:
    """H⁻¹ g of `_objective`, with H = Σᵢ (diag pᵢ − pᵢpᵢᵀ) ⊗ xᵢxᵢᵀ and the terms without data."""
    n_way, n_columns = w.shape
    p = (x @ w.T + absent).softmax(-1)
    kept = torch.cat([x.new_full((n_columns - 1,), penalty), x.new_zeros(1)])
    last = torch.cat([x.new_zeros(n_columns - 1), x.new_ones(1)])
    gradient = (p - member).T @ x + kept * w + w[:, -1].sum() * last
    same_class = torch.eye(n_way, dtype=x.dtype, device=x.device)
    spread = p[:, :, None] * (same_class - p[:, None])
    hessian = torch.einsum("ikl,id,ie->kdle", spread, x, x)
    hessian = hessian + torch.einsum("kl,de->kdle", same_class, torch.diag(kept))
    hessian = hessian + torch.einsum("kl,de->kdle", torch.ones_like(same_class), last.outer(last))
    # A class without examples has no curvature along its intercept, which stays at 0.
    unused = torch.diag((absent < 0).to(x.dtype))
    hessian = hessian + torch.einsum("kl,de->kdle", unused, torch.diag(last))
    system = hessian.reshape(w.numel(), w.numel())
    return torch.linalg.solve(system, gradient.reshape(-1)).view_as(w)
