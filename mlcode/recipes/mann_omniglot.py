"""A memory-augmented network and an LSTM on Omniglot, by presentation of a class, in minutes.

Santoro et al. (2016) show five classes ten times each, mixed, under names drawn for every sequence,
and report how often the first, second, … tenth presentation of a class is named right. Two of the
figures are quoted in table 1 of Finn et al. (2017), as 1-shot and 5-shot: those of the second and
of the fifth presentation.

Here it is a short run with a small convolutional network before the controller, where the paper
feeds pixels, and with what `MemoryLearner` says it does differently.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Adam
from torch.optim.lr_scheduler import OneCycleLR

from mlcode.model_based.memory import MemoryLearner
from mlcode.model_based.presentations import accuracy_by_presentation
from mlcode.recipes.recipe import Options, Recipe, Result, Target
from mlcode.sources.episodes import Episodes
from mlcode.sources.omniglot import Omniglot
from mlcode.training import train

SOURCE, KEY = "Finn et al., 2017, table 1", "finn2017"
TARGETS = {  # presentation: what the paper's MANN reached
    2: Target(0.828, 0.0, SOURCE, KEY, second_hand=True),
    5: Target(0.949, 0.0, SOURCE, KEY, second_hand=True),
}
DEVIATIONS = (
    "a short run with settings of our own, for minutes on two cores",
    "a convolutional network before the controller instead of pixels",
    "keys and written values apart, with a learned strength; see MemoryLearner",
    "the split of Matching networks; characters turned in training, not shifted",
)


@dataclass(frozen=True)
class MANNOmniglot:
    """The settings.

    Args:
        n_way: Classes of a sequence.
        n_presentations: Times each is shown.
        n_slots: Of the memory; the LSTM has none.
        width: Of a slot.
        n_heads: Heads.
        n_hidden: Width of the controller, and of the LSTM.
        n_features: What the convolutional network makes of an image.
        n_tasks: Sequences a step.
        meta_lr: Of Adam at its largest; it rises and falls in one cycle.
        clip_grad_norm: Largest norm of a gradient.
        n_iterations: Steps of the memory-augmented network.
        lstm_times: How many times as many steps the LSTM takes, which needs less time for one.
        resampling: How drawings are reduced to 28 × 28.
        training_classes: In words, for the record.
        test_classes: In words.
        n_test_tasks: Sequences over which accuracy is averaged.
    """

    n_way: int = 5
    n_presentations: int = 10
    n_slots: int = 64
    width: int = 32
    n_heads: int = 1
    n_hidden: int = 96
    n_features: int = 64
    n_tasks: int = 16
    meta_lr: float = 3e-3
    clip_grad_norm: float = 1.0
    n_iterations: int = 3000
    lstm_times: float = 1.5
    resampling: str = "lanczos"
    training_classes: str = "1,200 characters in four rotations"
    test_classes: str = "423 characters, unseen"
    n_test_tasks: int = 600


def encoder(n_features: int) -> nn.Sequential:
    """Three strided convolutions without batch norm, which would look at later images."""
    layers: list[nn.Module] = []
    for n_in, n_out in ((1, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 4 * 4, n_features))


def learner_of(setting: MANNOmniglot, *, memory: bool) -> MemoryLearner:
    """The memory-augmented network, or the LSTM that it is without memory."""
    return MemoryLearner(
        setting.n_features,
        setting.n_way,
        n_slots=setting.n_slots if memory else 0,
        width=setting.width,
        n_heads=setting.n_heads,
        n_hidden=setting.n_hidden,
        encoder=encoder(setting.n_features),
    )


def trained(setting: MANNOmniglot, options: Options, *, memory: bool = True) -> MemoryLearner:
    """Train one of the two. The order of sequences comes from torch's global generator."""
    times = 1 if memory else setting.lstm_times
    n_iterations = max(1, int((options.n_iterations or setting.n_iterations) * times))
    path = options.checkpoint
    if path is not None and not memory:
        path = path.with_name(f"{path.stem}_lstm{path.suffix}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)  # weights and order; restored on leaving
        learner = learner_of(setting, memory=memory).to(options.device)
        optimizer = Adam(learner.parameters(), setting.meta_lr)
        train(
            learner,
            Episodes(
                Omniglot("trainval", resampling=setting.resampling),
                setting.n_way,
                setting.n_presentations - 1,
                1,
                rotations=True,
            ),
            n_iterations=n_iterations,
            n_tasks=setting.n_tasks,
            optimizer=optimizer,
            scheduler=OneCycleLR(optimizer, setting.meta_lr, total_steps=n_iterations + 1),
            clip_grad_norm=setting.clip_grad_norm,
            generator=torch.Generator().manual_seed(options.seed),
            checkpoint=path,
            checkpoint_every=500,
            progress=options.progress,
        )
    return learner


def results(setting: MANNOmniglot, learners: dict[str, MemoryLearner]) -> list[Result]:
    """Accuracy at each presentation, for each learner; the first row is the one with a target."""
    characters = Omniglot("test", resampling=setting.resampling)
    source = Episodes(characters, setting.n_way, setting.n_presentations - 1, 1)
    curves = {
        name: accuracy_by_presentation(learner, source, setting.n_test_tasks)
        for name, learner in learners.items()
    }
    first = next(iter(learners))
    order = sorted(range(1, setting.n_presentations + 1), key=lambda k: (k not in TARGETS, k))
    return [
        Result(in_words(name, k), curve[k - 1], TARGETS.get(k) if name == first else None)
        for name, curve in curves.items()
        for k in (order if name == first else sorted(order))
    ]


def in_words(name: str, presentation: int) -> str:
    """A protocol in words."""
    return f"{name}, presentation {presentation} of a class, 5-way"


def run(setting: MANNOmniglot, options: Options) -> tuple[list[Result], dict[str, Any]]:
    """Train both and measure them."""
    learners = {
        "MANN": trained(setting, options),
        "LSTM": trained(setting, options, memory=False),
    }
    return results(setting, learners), {}


SHORT = MANNOmniglot()
RECIPES = (
    Recipe(
        "mann-omniglot-short",
        "memory-augmented network and LSTM, Omniglot, by presentation of a class",
        in_words("MANN", 2),
        "about ten minutes on two cores",
        asdict(SHORT),
        lambda options: run(SHORT, options),
        target=TARGETS[2],
        deviations=DEVIATIONS,
    ),
)
