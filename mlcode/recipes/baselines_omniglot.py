"""What needs no meta-learning, on Omniglot: pixels compared, and features pre-trained."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR

from mlcode.evaluation import accuracy, evaluate
from mlcode.learner import MetaLearner
from mlcode.networks import ConvNet
from mlcode.optimization.maml import MAML
from mlcode.recipes.recipe import Options, Recipe, Result, Target
from mlcode.sources.batches import Batches
from mlcode.sources.episodes import Episodes
from mlcode.sources.omniglot import Omniglot
from mlcode.training import train
from mlcode.transfer.features import FeatureTransfer

SHAPES = ((5, 1), (5, 5), (20, 1), (20, 5))  # ways and shots
PROTOCOL = "5-way 1-shot, 5 queries a class"  # and three more
SETTINGS = {"distance": "Euclidean", "resampling": "lanczos", "n_query": 5, "n_test_tasks": 600}


def published(*values: float) -> list[Target]:
    """A row of the table in the paper on Matching networks, for `SHAPES`."""
    source = "Vinyals et al., 2016, table 1"
    return [Target(value, 0.0, source, "vinyals2016", second_hand=True) for value in values]


ON_PIXELS = published(0.417, 0.632, 0.267, 0.426)
ON_FEATURES = published(0.800, 0.950, 0.695, 0.891)


@dataclass(frozen=True)
class Pretraining:
    """The settings of the encoder's training: an ordinary classifier of all training classes."""

    n_iterations: int = 6000
    batch_size: int = 128
    lr: float = 3e-3
    schedule: str = "cosine to 0"
    resampling: str = "lanczos"
    training_classes: str = "1,200 characters in four rotations"
    network: str = "ConvNet: stride 2, 64 filters"
    statistics: str = "frozen: those of 4,000 training images"
    n_test_tasks: int = 600
    n_query: int = 5


def measured(
    learner_of: Callable[[int], MetaLearner],
    targets: list[Target],
    *,
    resampling: str = "lanczos",
    n_query: int = 5,
    n_test_tasks: int = 600,
) -> list[Result]:
    """Accuracy for each way and shot of `learner_of(n_way)` on unseen characters."""
    characters = Omniglot("test", resampling=resampling)
    found = []
    for (n_way, n_shot), target in zip(SHAPES, targets):
        source = Episodes(characters, n_way, n_shot, n_query)
        estimate = evaluate(learner_of(n_way), source, n_test_tasks, metric=accuracy)
        protocol = f"{n_way}-way {n_shot}-shot, {n_query} queries a class"
        found.append(Result(protocol, estimate, target))
    return found


def pixels(options: Options) -> tuple[list[Result], dict[str, Any]]:
    """Nearest neighbour on the 784 pixels."""

    def learner(n_way: int) -> FeatureTransfer:
        return FeatureTransfer(n_way=n_way, head="neighbour").to(options.device)

    return measured(learner, ON_PIXELS), {}


def pretrained(setting: Pretraining, options: Options) -> ConvNet:
    """Train a classifier of all training classes; give back its body with frozen statistics."""
    n_iterations = options.n_iterations or setting.n_iterations
    batches = Batches(
        Omniglot("trainval", resampling=setting.resampling), setting.batch_size, rotations=True
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)  # the weights; restored on leaving
        network = ConvNet(batches.n_classes).to(options.device)
    learner = MAML(network, n_inner_steps=0, loss_fn=F.cross_entropy, mapping="loop")
    optimizer = Adam(learner.parameters(), setting.lr)
    generator = torch.Generator().manual_seed(options.seed)
    train(
        learner,
        batches,
        n_iterations=n_iterations,
        n_tasks=1,
        optimizer=optimizer,
        scheduler=CosineAnnealingLR(optimizer, n_iterations),
        generator=generator,
        checkpoint=options.checkpoint,
        checkpoint_every=500,
        progress=options.progress,
    )
    images = Batches(batches.characters, 4000, rotations=True)
    x = images.sample(1, generator=generator, device=options.device).query.x[0]
    network.freeze_statistics(x)
    return network.with_head(None)


def features(options: Options) -> tuple[list[Result], dict[str, Any]]:
    """Nearest class mean on pre-trained features."""
    setting = Pretraining()
    encoder = pretrained(setting, options)
    found = measured(
        lambda n_way: FeatureTransfer(encoder, n_way=n_way),
        ON_FEATURES,
        resampling=setting.resampling,
        n_query=setting.n_query,
        n_test_tasks=setting.n_test_tasks,
    )
    return found, {}


RECIPES = (
    Recipe(
        "pixels-omniglot",
        "nearest neighbour on pixels, Omniglot",
        PROTOCOL,
        "a few seconds",
        SETTINGS,
        pixels,
        target=ON_PIXELS[0],
        deviations=("the Euclidean distance instead of the cosine",),
        seeds=(),
    ),
    Recipe(
        "features-omniglot",
        "pre-trained features and the nearest class mean, Omniglot",
        PROTOCOL,
        "about ten minutes on two cores",
        asdict(Pretraining()),
        features,
        target=ON_FEATURES[0],
        deviations=(
            "the nearest class mean by Euclidean distance instead of the nearest example by cosine",
            "an encoder of stride 2 instead of max-pooling, and a training of our own",
        ),
    ),
)
