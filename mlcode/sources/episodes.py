"""Few-shot classification: tasks of a few classes each, drawn from many classes of images."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Int64
from torch import Tensor

from mlcode.checks import check_int
from mlcode.sources.characters import Characters, quarter_turns
from mlcode.sources.picking import Picks, distinct, pick_drawings, with_repeats
from mlcode.tasks import Examples, Tasks


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
        return distinct(n_tasks, self.n_classes, self.n_way, generator)

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
        n_drawings = self.characters.n_drawings
        support, query = pick_drawings(
            classes, n_drawings, self.n_shot, self.n_query, generator=generator
        )
        return Tasks(self._show(support, device), self._show(query, device))

    def _show(self, picks: Picks, device: torch.device) -> Examples:
        if device not in self._kept:
            self._kept[device] = self.characters.turned(self.angles, device)  # not at each draw
        x = self.characters.as_inputs(self._kept[device], picks.image, self.dtype)
        return Examples(x, picks.label.to(device))

    def _check_classes(self, classes: Int64[Tensor, "task way"]) -> None:
        low, high = (int(end) for end in classes.aminmax()) if classes.numel() else (0, 0)
        wide = classes.shape[1] == self.n_way
        if not wide or low < 0 or high >= self.n_classes or len(with_repeats(classes)):
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
