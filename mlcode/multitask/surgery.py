"""Gradients that point apart: how far, and what gradient surgery makes of them."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

__all__ = ["gradient_cosines", "project_conflicts", "random_orders"]


def gradient_cosines(
    gradients: Float[Tensor, "task parameter"],
) -> Float[Tensor, "task task"]:
    """The cosine of the angle between the gradients of every two tasks.

    Two tasks *conflict* where it is negative: a step that lowers the one raises the other (Yu et
    al., 2020, definition 1). A gradient of 0 has no direction; its cosines are 0.
    """
    unit = _directions(gradients)
    return unit @ unit.T


def project_conflicts(
    gradients: Float[Tensor, "task parameter"],
    *,
    orders: Int64[Tensor, "task other"] | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "task parameter"]:
    r"""PCGrad: take out of each gradient what goes against another task's.

    Gradient i meets every other gradient in turn, and where their product is negative it is
    replaced by its projection on the plane normal to gⱼ, gᵢ − (gᵢ·gⱼ / ‖gⱼ‖²) gⱼ (Yu et al., 2020,
    algorithm 1). The gⱼ are the gradients as they came. Of two tasks, neither result then goes
    against the other's gradient; of three and more, a later projection can turn against an
    earlier one, which is why the order is random.

    The sum of the results replaces the sum of the gradients.

    Args:
        gradients: One row a task, of the parameters that the tasks share.
        orders: Row i lists the other tasks in the order in which gradient i meets them. None: a
            random order for each.
        generator: Draws the orders.

    Raises:
        ValueError: If a row of `orders` does not list every other task once.
    """
    n_tasks = len(gradients)
    orders = random_orders(n_tasks, generator) if orders is None else orders
    directions = _directions(gradients)
    projected = []
    for i, (gradient, order) in enumerate(zip(gradients, orders.tolist(), strict=True)):
        if sorted([i, *order]) != list(range(n_tasks)):
            raise ValueError(
                f"row {i} of orders must list every task but {i} once; got {order} of "
                f"{n_tasks} tasks."
            )
        for j in order:
            along = gradient @ directions[j]
            gradient = gradient - along.clamp(max=0) * directions[j]
        projected.append(gradient)
    return torch.stack(projected)


def random_orders(
    n_tasks: int, generator: torch.Generator | None = None
) -> Int64[Tensor, "task other"]:
    """For each task, the others in random order."""
    at = generator.device if generator is not None else "cpu"
    keys = torch.rand(n_tasks, n_tasks, generator=generator, device=at, dtype=torch.float64)
    keys.fill_diagonal_(2.0)  # itself last, and left out
    return keys.argsort(-1)[:, :-1]


def _directions(gradients: Float[Tensor, "task parameter"]) -> Float[Tensor, "task parameter"]:
    """Each gradient over its length; 0 stays 0.

    Scaled by its largest entry first: the squares of a gradient whose weight has nearly gone to
    zero would underflow, and its length would be 0 although it has a direction.
    """
    largest = gradients.abs().amax(1, keepdim=True)
    scaled = gradients / torch.where(largest > 0, largest, 1)
    length = scaled.norm(dim=1, keepdim=True)
    return scaled / torch.where(length > 0, length, 1)
