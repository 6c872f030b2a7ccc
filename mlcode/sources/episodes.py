"""Few-shot classification: tasks of a few classes each, drawn from many classes of images."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from mlcode.checks import check_int
from mlcode.sources.characters import Characters, quarter_turns
from mlcode.tasks import Examples, Tasks


class _Picks(NamedTuple):
    """Which images a set of examples shows, and what it calls them."""

    image: Int64[Tensor, "task example"]  # counted through all drawings of all classes
    label: Int64[Tensor, "task example"]


@dataclass(frozen=True)
class Episodes:
    """N-way K-shot tasks (Vinyals et al., 2016, section 4.1): tell `n_way` unseen classes apart.

    A task draws `n_way` different classes and calls them 0 … n_way − 1 in random order, so that
    labels mean nothing outside their task. Of each class it draws `n_shot` images to learn from
    and `n_query` others to be judged on. Each set is in random order: an example's position says
    nothing about its label, as it would if classes stood one after the other.

    With `rotations`, a class is a character turned by one of these angles, so that there are up to
    four times as many classes to train on (Santoro et al., 2016; Vinyals et al., 2016). A task may
    then hold one character at two angles. Usual for training only.

    A batch of tasks is one gather. Everything random is drawn where the generator lives, the CPU as
    a rule: a CPU generator's seed gives the same tasks on every device. The images stay bytes, one
    copy for each rotation and device; only those drawn become floats in [0, 1], with ink 1.

    Args:
        characters: The classes and their images, such as `Glyphs("train")`.
        n_way: Classes a task. The papers' N.
        n_shot: Support images a class. The papers' K.
        n_query: Query images a class.
        rotations: Angles in degrees, anticlockwise, out of 0, 90, 180 and 270. True: all four.
            False: only 0.
        dtype: Of the images returned. None: torch's default.

    Raises:
        TypeError: If `characters` are not `Characters`, or a count or angle is not an integer.
        ValueError: If a count is too small, there are too few classes or too few images of each, or
            the rotations are none, repeated, no quarter turns, or of images that are not square.
    """

    characters: Characters
    n_way: int = 5
    n_shot: int = 1
    n_query: int = 15
    rotations: bool | Sequence[int] = False
    dtype: torch.dtype | None = None
    _kept: dict[torch.device, Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not isinstance(self.characters, Characters):
            kind = type(self.characters).__name__
            raise TypeError(f"characters must be Characters, such as Glyphs('train'); got {kind}.")
        check_int("n_way", self.n_way, minimum=2)
        check_int("n_shot", self.n_shot, minimum=1)
        check_int("n_query", self.n_query, minimum=1)
        if not isinstance(self.rotations, bool):
            object.__setattr__(self, "rotations", tuple(self.rotations))  # hashable
        quarter_turns(self.rotations, self.characters)
        self._check_enough()

    @property
    def angles(self) -> tuple[int, ...]:
        """The angles, in degrees, by which characters are turned."""
        return quarter_turns(self.rotations, self.characters)

    @property
    def n_classes(self) -> int:
        """How many classes tasks are drawn from, which is characters times rotations."""
        return len(self.characters) * len(self.angles)

    def sample(
        self,
        n_tasks: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tasks:
        """Draw `n_tasks` independent tasks.

        Returns:
            For support and query each, `x` of the shape (task, example, channel, height, width)
            and `y` of (task, example), integers from 0 to n_way − 1. `device` None: that of the
            characters' images.
        """
        classes = self.draw_classes(n_tasks, generator=generator)
        return self.tasks_of(classes, generator=generator, device=device)

    def draw_classes(
        self, n_tasks: int, *, generator: torch.Generator | None = None
    ) -> Int64[Tensor, "task way"]:
        """Draw the classes of `n_tasks` tasks, as numbers from 0 to n_classes − 1.

        `tasks_of` makes tasks of them: `sample` is the two in turn, with the same generator.
        """
        check_int("n_tasks", n_tasks, minimum=1)
        return _distinct(n_tasks, self.n_classes, self.n_way, generator)

    def tasks_of(
        self,
        classes: Int64[Tensor, "task way"],
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tasks:
        """Tasks of given classes, with drawings drawn anew; the first of a row is called 0.

        Raises:
            ValueError: If a row has not `n_way` different classes from 0 to n_classes − 1.
        """
        self._check_classes(classes)
        device = self.characters.images.device if device is None else torch.device(device)
        support, query = self._pick(classes, generator)
        return Tasks(self._show(support, device), self._show(query, device))

    def _pick(
        self, classes: Int64[Tensor, "task way"], generator: torch.Generator | None
    ) -> tuple[_Picks, _Picks]:
        n_drawings, n_images = self.characters.n_drawings, self.n_shot + self.n_query
        drawings = _shuffled((len(classes), self.n_way, n_drawings), n_images, generator)
        images = classes[..., None] * n_drawings + drawings
        support, query = images[..., : self.n_shot], images[..., self.n_shot :]
        return _in_random_order(support, generator), _in_random_order(query, generator)

    def _show(self, picks: _Picks, device: torch.device) -> Examples:
        if device not in self._kept:
            self._kept[device] = self.characters.turned(self.angles, device)  # not at each draw
        x = self.characters.as_inputs(self._kept[device], picks.image, self.dtype)
        return Examples(x, picks.label.to(device))

    def _check_classes(self, classes: Int64[Tensor, "task way"]) -> None:
        low, high = (int(end) for end in classes.aminmax()) if classes.numel() else (0, 0)
        wide = classes.shape[1] == self.n_way
        if not wide or low < 0 or high >= self.n_classes or len(_with_repeats(classes)):
            raise ValueError(
                f"expected rows of {self.n_way} different classes from 0 to {self.n_classes - 1}; "
                f"got shape {tuple(classes.shape)}, from {low} to {high}."
            )

    def _check_enough(self) -> None:
        if self.n_way > self.n_classes:
            times = f" in {len(self.angles)} rotations" if len(self.angles) > 1 else ""
            raise ValueError(
                f"{self.n_way}-way tasks need {self.n_way} classes; {self.characters!r} has "
                f"{len(self.characters)}{times}. Use n_way <= {self.n_classes}."
            )
        needed, there = self.n_shot + self.n_query, self.characters.n_drawings
        if needed > there:
            most = there - self.n_shot
            advice = f"n_query <= {most}" if most > 0 else f"n_shot + n_query <= {there}"
            raise ValueError(
                f"{self.n_way}-way tasks with {self.n_shot} support and {self.n_query} query "
                f"drawings a class need {needed} drawings of each class; {self.characters!r} has "
                f"{there}. Use {advice}."
            )


def _in_random_order(
    images: Int64[Tensor, "task way image"], generator: torch.Generator | None
) -> _Picks:
    """The images of each task, all classes mixed; a class is called by its place among the ways."""
    n_tasks, n_way, each = images.shape
    place = _shuffled((n_tasks, n_way * each), n_way * each, generator)
    return _Picks(images.flatten(1).gather(1, place), place // each)


def _shuffled(
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


def _distinct(
    n_rows: int, n: int, first: int, generator: torch.Generator | None
) -> Int64[Tensor, "row first"]:
    """In each row, `first` of the numbers 0 … n − 1 in random order, none twice.

    Where few of many are asked for, shuffling all would take longer than the rest of a task.
    """
    if first * (first - 1) > n:  # a row drawn with replacement would hold a number twice too often
        return _shuffled((n_rows, n), first, generator)
    at = generator.device if generator is not None else "cpu"
    drawn = torch.randint(n, (n_rows, first), generator=generator, device=at)
    while len(again := _with_repeats(drawn)):  # drawn anew as a whole: what is left is uniform
        drawn[again] = torch.randint(n, (len(again), first), generator=generator, device=at)
    return drawn


def _with_repeats(rows: Int64[Tensor, "row number"]) -> Int64[Tensor, "found"]:
    """Which rows hold a number twice."""
    ordered = rows.sort(-1).values
    return (ordered[:, 1:] == ordered[:, :-1]).any(-1).nonzero()[:, 0]
