"""How alike two representations of the same examples are."""

import torch
from jaxtyping import Float
from torch import Tensor


def linear_cka(
    a: Float[Tensor, "example feature"], b: Float[Tensor, "example other_feature"]
) -> Float[Tensor, ""]:
    """Centred kernel alignment with the linear kernel (Kornblith, Norouzi, Lee and Hinton, 2019).

    ‖BᵀA‖² / (‖AᵀA‖ ‖BᵀB‖) with Frobenius norms, after each feature's mean is taken off. It compares
    which examples are close to which, so it does not change if either representation is turned,
    scaled or moved. 1: the same up to that. 0: unrelated. A representation that is the same for
    every example has no relations to compare, which is an error.

    Args:
        a: One row an example.
        b: The same examples in the same order; the number of features may differ.

    Raises:
        ValueError: If the numbers of examples differ or are below 2, or one of them is constant.
    """
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"expected the same 2 or more examples twice; got {len(a)} and {len(b)}.")
    a, b = a - a.mean(0), b - b.mean(0)
    # By the matrices of examples by examples, which are small where features are many.
    kernel_a, kernel_b = a @ a.T, b @ b.T
    norms = kernel_a.norm() * kernel_b.norm()
    if not norms > 0:
        raise ValueError("a representation is the same for every example: nothing to compare.")
    return torch.sum(kernel_a * kernel_b) / norms
