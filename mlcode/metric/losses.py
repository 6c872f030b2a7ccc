"""Losses on distances: what pulls the examples of a class together and pushes others away."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mlcode.checks import check_choice, check_positive

FORMS = ("squared", "unsquared")


def contrastive_loss(
    distance: Float[Tensor, "*pair"],
    *,
    same: Bool[Tensor, "*pair"],
    margin: float = 1.0,
    form: str = "squared",
) -> Float[Tensor, ""]:
    """Pull pairs of one class together, push others at least `margin` apart.

    Mean over pairs of d² for the same class and max(0, margin − d)² for two (Hadsell, Chopra and
    LeCun, 2006, without its factor ½).

    Args:
        distance: Euclidean distance of each pair's embeddings, not squared.
        same: True where both examples are of one class. Texts differ in which number means "same";
            a bool that is named at the call cannot be read the wrong way.
        margin: Distance beyond which a pair of two classes costs nothing.
        form: "squared" is the paper's. "unsquared", d and max(0, margin − d), is in many texts: it
            pulls and pushes with the same force at every distance, even where the paper's lets go.

    Raises:
        TypeError: If `same` is not of bools or `margin` not a number.
        ValueError: If shapes differ, there is no pair, a distance is negative or not a number,
            `margin` is not positive, or the form is unknown.
    """
    if same.dtype != torch.bool:
        raise TypeError(
            f"same must hold bools, True for a pair of one class; got {same.dtype}. Of labels, use "
            "same=(y1 == y2)."
        )
    if distance.shape != same.shape or distance.numel() == 0:
        raise ValueError(
            "expected one distance and one bool for each of one or more pairs; got shapes "
            f"{tuple(distance.shape)} and {tuple(same.shape)}."
        )
    _check_distances(distance)
    check_choice("form", form, FORMS)
    check_positive("margin", margin)
    return contrastive_terms(distance, same, margin, form).mean()


def triplet_loss(
    to_same: Float[Tensor, "*triplet"], to_other: Float[Tensor, "*triplet"], *, margin: float = 1.0
) -> Float[Tensor, ""]:
    """Mean of max(0, d(anchor, same) − d(anchor, other) + margin) (Hermans et al., 2017).

    Only the difference of two distances counts, so that a class may be as wide as others are far.

    Args:
        to_same: Distance of each anchor from an example of its class.
        to_other: Distance of the same anchor from an example of another class.
        margin: By how much the other should be farther.

    Raises:
        TypeError: If `margin` is not a number.
        ValueError: If shapes differ, there is no triplet, a distance is negative or not a number,
            or `margin` is not positive.
    """
    if to_same.shape != to_other.shape or to_same.numel() == 0:
        raise ValueError(
            "expected two distances for each of one or more triplets; got shapes "
            f"{tuple(to_same.shape)} and {tuple(to_other.shape)}."
        )
    _check_distances(to_same)
    _check_distances(to_other)
    check_positive("margin", margin)
    return triplet_terms(to_same, to_other, margin).mean()


def contrastive_terms(
    distance: Float[Tensor, "*pair"], same: Bool[Tensor, "*pair"], margin: float, form: str
) -> Float[Tensor, "*pair"]:
    """What each pair costs; nothing is checked, so that it can be mapped and compiled."""
    cost = torch.where(same, distance, (margin - distance).relu())
    return cost.square() if form == "squared" else cost


def triplet_terms(
    to_same: Float[Tensor, "*#triplet"], to_other: Float[Tensor, "*#triplet"], margin: float
) -> Float[Tensor, "*triplet"]:
    """What each triplet costs; nothing is checked."""
    return (to_same - to_other + margin).relu()


def _check_distances(distance: Tensor) -> None:
    if not bool((distance.detach() >= 0).all()):  # written so that NaN fails too
        raise ValueError(
            "distances must not be negative, nor NaN; got "
            f"{distance.detach().min().item()} as the least. Give distances, not similarities."
        )
