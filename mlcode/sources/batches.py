"""Ordinary supervised learning on all classes at once, which is how an encoder is pre-trained."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mlcode.checks import check_int
from mlcode.sources.characters import Characters, quarter_turns
from mlcode.tasks import Examples, Tasks


@dataclass(frozen=True)
class Batches:
    """Mini-batches of images labelled by their class among *all* classes, as tasks.

    A batch is a task without a support set: the label of a class is always the same, so there is
    nothing to adapt to and every image is a query. `train` then pre-trains a classifier as it
    meta-trains a learner, with `MAML(network, n_inner_steps=0)`, which is the network itself.

    Args:
        characters: The classes and their images.
        batch_size: Images in a batch, drawn independently, so that one may come twice.
        rotations: As in `Episodes`: each angle makes a character a class of its own.
        dtype: Of the images returned. None: torch's default.

    Raises:
        TypeError: If `characters` are not `Characters`, or a number is not an integer.
        ValueError: If `batch_size` is below 1 or the rotations are not some of 0, 90, 180 and 270.
    """

    characters: Characters
    batch_size: int = 128
    rotations: bool | Sequence[int] = False
    dtype: torch.dtype | None = None
    _kept: dict[torch.device, Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not isinstance(self.characters, Characters):
            kind = type(self.characters).__name__
            raise TypeError(f"characters must be Characters, such as Glyphs('train'); got {kind}.")
        check_int("batch_size", self.batch_size, minimum=1)
        if not isinstance(self.rotations, bool):
            object.__setattr__(self, "rotations", tuple(self.rotations))  # hashable
        quarter_turns(self.rotations, self.characters)

    @property
    def n_classes(self) -> int:
        """How many classes there are, which is how many outputs the classifier needs."""
        return len(self.characters) * len(quarter_turns(self.rotations, self.characters))

    def sample(
        self,
        n_tasks: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tasks:
        """Draw `n_tasks` mini-batches; each one's query set is the batch, its support set empty.

        Returns:
            `x` of the shape (task, example, channel, height, width) and `y` of (task, example),
            from 0 to n_classes − 1. `device` None: that of the characters' images.
        """
        check_int("n_tasks", n_tasks, minimum=1)
        device = self.characters.images.device if device is None else torch.device(device)
        if device not in self._kept:
            angles = quarter_turns(self.rotations, self.characters)
            self._kept[device] = self.characters.turned(angles, device)
        images = self._kept[device]
        at = generator.device if generator is not None else "cpu"
        index = torch.randint(
            len(images), (n_tasks, self.batch_size), generator=generator, device=at
        )
        x = self.characters.as_inputs(images, index, self.dtype)
        y = (index // self.characters.n_drawings).to(device)
        return Tasks(Examples(x[:, :0], y[:, :0]), Examples(x, y))
