"""What speaks against an implicit meta-gradient, in words."""

from jaxtyping import Float
from torch import Tensor


def unsolved(residuals: Float[Tensor, "task"], n_steps: int, max_residual: float) -> str | None:
    """Which task's equation conjugate gradients solved worst, if worse than allowed."""
    task = int(residuals.argmax())
    if not residuals[task] > max_residual:
        return None
    return (
        f"conjugate gradients did not converge: after {n_steps} steps the meta-gradient of task "
        f"{task} of a batch leaves a relative residual of {residuals[task]:.3g}, above "
        f"max_residual={max_residual:g}. Use a larger proximity, more n_conjugate_steps, or a "
        "smoother network. Said once."
    )


def no_minimum(curvatures: Float[Tensor, "task"], proximity: float) -> str | None:
    """At which task's solution the loss bends down most, if the pull to θ does not hold it.

    Args:
        curvatures: The least that conjugate gradients met in I + H/λ, of each task.
        proximity: λ.
    """
    task = int(curvatures.argmin())
    if not curvatures[task] <= 0:
        return None
    h = proximity * (curvatures[task] - 1)
    return (
        f"the inner loop did not end at a minimum: there the loss of task {task} of a batch has "
        f"a curvature of {h:.3g}, which proximity={proximity:g} does not outweigh. Its "
        "meta-gradient may be wrong, however small its residual. Use more n_inner_steps, a larger "
        "proximity, or a smoother network. Said once."
    )
