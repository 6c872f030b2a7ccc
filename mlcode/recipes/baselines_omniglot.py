"""What needs no meta-learning, on Omniglot: pixels compared, and features pre-trained."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR

from mlcode.evaluation import accuracy, evaluate
from mlcode.networks import ConvNet
from mlcode.optimization.maml import MAML
from mlcode.recipes.recipe import Options, Recipe, Result
from mlcode.sources.batches import Batches
from mlcode.sources.episodes import Episodes
from mlcode.sources.omniglot import Omniglot
from mlcode.training import train
from mlcode.transfer.features import FeatureTransfer

PROTOCOL = "5 queries a class, no batch statistics of the test"
SHAPES = ((5, 1), (5, 5), (20, 1), (20, 5))  # ways and shots


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


def measured(learner_of, resampling: str, n_query: int, n_tasks: int) -> list[Result]:
    """Accuracy for each way and shot of `learner_of(n_way)` on unseen characters."""
    characters = Omniglot("test", resampling=resampling)
    found = []
    for n_way, n_shot in SHAPES:
        source = Episodes(characters, n_way, n_shot, n_query)
        # Few tasks at once: distances are taken pixel by pixel, 31 MB a task for 20 ways, 5 shots.
        estimate = evaluate(learner_of(n_way), source, n_tasks, metric=accuracy, batch_size=5)
        found.append(Result(f"{n_way}-way {n_shot}-shot, {n_query} queries a class", estimate))
    return found


def pixels(options: Options) -> tuple[list[Result], dict[str, Any]]:
    """Nearest neighbour on the 784 pixels."""

    def learner(n_way: int) -> FeatureTransfer:
        return FeatureTransfer(n_way=n_way, head="neighbour").to(options.device)

    return measured(learner, "lanczos", 5, 600), {}


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
        setting.resampling,
        setting.n_query,
        setting.n_test_tasks,
    )
    return found, {}


RECIPES = (
    Recipe(
        "pixels-omniglot",
        "nearest neighbour on pixels, Omniglot",
        PROTOCOL,
        "half a minute",
        {"resampling": "lanczos", "distance": "Euclidean", "n_test_tasks": 600},
        pixels,
        seeds=(),
    ),
    Recipe(
        "features-omniglot",
        "pre-trained features and the nearest class mean, Omniglot",
        PROTOCOL,
        "about ten minutes on two cores",
        asdict(Pretraining()),
        features,
    ),
)
