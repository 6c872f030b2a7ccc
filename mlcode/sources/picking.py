"""Which drawings of which classes a few-shot task shows: random choices, by number."""

from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor


class Picks(NamedTuple):
    """Which images a set of examples shows, and what it calls them."""

    image: Int64[Tensor, "task example"]  # counted through all drawings of all classes
    label: Int64[Tensor, "task example"]


def pick_drawings(
    classes: Int64[Tensor, "task way"],
    n_drawings: int,
    n_shot: int,
    n_query: int,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Picks, Picks]:
    """Different drawings of given classes for support set and queries, each in random order.

    The drawings of a class are `n_drawings`, counted through all classes.
    """
    drawings = shuffled((*classes.shape, n_drawings), n_shot + n_query, generator)
    images = classes[..., None] * n_drawings + drawings
    support, query = images[..., :n_shot], images[..., n_shot:]
    return in_random_order(support, generator), in_random_order(query, generator)


def in_random_order(
    images: Int64[Tensor, "task way image"], generator: torch.Generator | None
) -> Picks:
    """The images of each task, all classes mixed; a class is called by its place among the ways."""
    n_tasks, n_way, each = images.shape
    place = shuffled((n_tasks, n_way * each), n_way * each, generator)
    return Picks(images.flatten(1).gather(1, place), place // each)


def shuffled(
    size: tuple[int, ...], first: int, generator: torch.Generator | None
) -> Int64[Tensor, "..."]:
    """The `first` places of random permutations of the last axis.

    They sort random numbers: float64, of which no two are alike, so that the order is one.
    """
    at = generator.device if generator is not None else "cpu"
    keys = torch.rand(size, generator=generator, device=at, dtype=torch.float64)
    if keys.device.type == "cpu":  # where NumPy sorts three times as fast as torch
        return torch.from_numpy(keys.numpy().argsort(-1))[..., :first]
    return keys.argsort(-1)[..., :first]


def distinct(
    n_rows: int, n: int, first: int, generator: torch.Generator | None
) -> Int64[Tensor, "row first"]:
    """In each row, `first` of the numbers 0 … n − 1 in random order, none twice.

    Where few of many are asked for, shuffling all would take longer than the rest of a task.
    """
    if first * (first - 1) > n:  # a row drawn with replacement would hold a number twice too often
        return shuffled((n_rows, n), first, generator)
    at = generator.device if generator is not None else "cpu"
    drawn = torch.randint(n, (n_rows, first), generator=generator, device=at)
    while len(again := with_repeats(drawn)):  # drawn anew as a whole: what is left is uniform
        drawn[again] = torch.randint(n, (len(again), first), generator=generator, device=at)
    return drawn


def with_repeats(rows: Int64[Tensor, "row number"]) -> Int64[Tensor, "found"]:
    """Which rows hold a number twice."""
    ordered = rows.sort(-1).values
    return (ordered[:, 1:] == ordered[:, :-1]).any(-1).nonzero()[:, 0]
