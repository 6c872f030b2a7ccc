"""What a few examples can fit in closed form on top of given features."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Shaped
from torch import Tensor


def nearest_centroid(
    z: Float[Tensor, "support feature"],
    y: Int64[Tensor, "support"],
    query_z: Float[Tensor, "query feature"],
    n_way: int,
) -> Float[Tensor, "query n_way"]:
    """Minus the squared Euclidean distance of each query to the mean of each class.

    The class of the nearest mean has the largest output. A class without examples has −∞.
    """
    means, count = class_means(z, y, n_way)
    return torch.where(count > 0, -squared_distances(query_z, means), -torch.inf)


def class_means(
    z: Float[Tensor, "support feature"], y: Int64[Tensor, "support"], n_way: int
) -> tuple[Float[Tensor, "n_way feature"], Float[Tensor, "n_way"]]:
    """The mean of each class and its number of examples, all classes at once.

    One product with the labels one-hot adds up every class. The mean of a class without examples is
    0 here, and not 0/0; its count says so.
    """
    member = F.one_hot(y, n_way).to(z.dtype)
    count = member.sum(0)
    return (member.T @ z) / count.clamp(min=1)[:, None], count


def nearest_neighbour(
    z: Float[Tensor, "support feature"],
    y: Int64[Tensor, "support"],
    query_z: Float[Tensor, "query feature"],
    n_way: int,
) -> Float[Tensor, "query n_way"]:
    """Minus the squared Euclidean distance of each query to the nearest example of each class."""
    member = F.one_hot(y, n_way).bool()
    distances = squared_distances(query_z, z)[..., None]
    return -torch.where(member, distances, torch.inf).amin(1)


def ridge(
    z: Float[Tensor, "example feature"],
    targets: Float[Tensor, "example target"],
    query_z: Float[Tensor, "query feature"],
    *,
    penalty: float = 1.0,
    weight: Float[Tensor, "example"] | None = None,
) -> Float[Tensor, "query target"]:
    """Fit a linear map to the targets by penalised least squares and apply it to the queries.

    Minimises Σᵢ wᵢ ‖W zᵢ + b − targetᵢ‖² + penalty ‖W‖²; the intercept b is free.

    Args:
        z: Features of the examples to fit.
        targets: What to fit: real values, or classes one-hot.
        query_z: Features of the queries.
        penalty: Strength of the pull of W to zero.
        weight: wᵢ, not negative, one not zero. None: 1 for each.
    """
    weight = z.new_ones(len(z)) if weight is None else weight
    share = (weight / weight.sum())[:, None]
    centre, level = (share * z).sum(0), (share * targets).sum(0)
    root = weight.sqrt()[:, None]
    a, b = root * (z - centre), root * (targets - level)
    query_z = query_z - centre
    if len(z) < z.shape[-1]:  # the smaller of two systems with the same solution
        system = a @ a.T + penalty * torch.eye(len(a), dtype=z.dtype, device=z.device)
        return query_z @ (a.T @ torch.linalg.solve(system, b)) + level
    system = a.T @ a + penalty * torch.eye(a.shape[1], dtype=z.dtype, device=z.device)
    return query_z @ torch.linalg.solve(system, a.T @ b) + level


def as_targets(
    y: Shaped[Tensor, "example *target"], n_way: int | None, dtype: torch.dtype
) -> Float[Tensor, "example n_target"]:
    """Labels one-hot in `n_way` columns; real targets as they are."""
    if y.is_floating_point():
        return y
    if n_way is None:
        raise ValueError(
            "y holds labels, so the learner must know how many classes there are; pass n_way."
        )
    return F.one_hot(y, n_way).to(dtype)


def squared_distances(
    a: Float[Tensor, "left feature"], b: Float[Tensor, "right feature"]
) -> Float[Tensor, "left right"]:
    """‖aᵢ − bⱼ‖² for every pair, by ‖a‖² + ‖b‖² − 2 a·b: one product of matrices, little memory.

    Both are moved by b's mean first, which changes no distance and keeps more digits; what rounding
    leaves below zero is zero.
    """
    centre = b.mean(0)
    a, b = a - centre, b - centre
    squares = a.square().sum(-1)[:, None] + b.square().sum(-1)[None]
    return (squares - 2 * a @ b.T).clamp(min=0)
