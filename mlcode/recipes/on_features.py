"""A frozen encoder's features in the place of images: tasks made of them, and learners on them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mlcode.checks import check_int
from mlcode.learner import MetaLearner
from mlcode.sources.characters import Characters
from mlcode.sources.picking import pick_drawings, shuffled
from mlcode.tasks import Examples, Tasks


@dataclass(frozen=True, eq=False, repr=False)
class FeatureEpisodes:
    """N-way K-shot tasks as of `Episodes`, of features that were computed once for all drawings.

    A learner that reads features then takes a step in the time that it needs itself.

    Args:
        features: Of each drawing of each class.
        n_way: Classes a task.
        n_shot: Support examples a class.
        n_query: Query examples a class.
    """

    features: Float[Tensor, "class drawing feature"]
    n_way: int = 5
    n_shot: int = 1
    n_query: int = 3

    def sample(
        self,
        n_tasks: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tasks:
        """Draw `n_tasks` tasks, each set in random order."""
        check_int("n_tasks", n_tasks, minimum=1)
        n_classes, n_drawings, _ = self.features.shape
        classes = shuffled((n_tasks, n_classes), self.n_way, generator)
        picks = pick_drawings(classes, n_drawings, self.n_shot, self.n_query, generator=generator)
        bank = self.features.flatten(0, 1)
        return Tasks(*(Examples(bank[each.image], each.label) for each in picks)).to(device)

    def __repr__(self) -> str:
        shape = tuple(self.features.shape)
        return f"FeatureEpisodes({shape}, {self.n_way}, {self.n_shot}, {self.n_query})"


class OnFeatures(MetaLearner):
    """A learner that is handed a frozen encoder's features where the tasks hold images.

    Args:
        learner: Trained on features.
        encoder: From images to features.
    """

    def __init__(self, learner: MetaLearner, encoder: nn.Module) -> None:
        super().__init__(loss_fn=learner.loss_fn)
        self.learner, self.encoder = learner, encoder.requires_grad_(False)

    @property
    def n_way(self) -> int | None:
        """The learner's."""
        return self.learner.n_way

    def predict(
        self, support: Examples, query_x: Shaped[Tensor, "example *feature"]
    ) -> Shaped[Tensor, "example *target"]:
        """What the learner says of the features."""
        seen = Examples(self.encoder(support.x), support.y)
        return self.learner.predict(seen, self.encoder(query_x))


@torch.no_grad()
def features_of(
    encoder: nn.Module, characters: Characters
) -> Float[Tensor, "class drawing feature"]:
    """The features of every drawing, on the encoder's device."""
    device = next(encoder.parameters()).device
    bank = characters.turned((0,), device)
    parts = [
        encoder(characters.as_inputs(bank, index))
        for index in torch.arange(len(bank)).split(characters.n_drawings * 50)
    ]
    return torch.cat(parts).view(len(characters), characters.n_drawings, -1)
