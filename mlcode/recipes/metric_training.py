"""Training and measuring a metric-based learner on Omniglot, for the recipes."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, StepLR

from mlcode.evaluation import Estimate, accuracy, evaluate
from mlcode.metric import MatchingNetwork, MetricLearner, PrototypicalNetwork, Siamese
from mlcode.networks import ConvNet
from mlcode.recipes.recipe import Options, Result, Target
from mlcode.sources.batches import Batches
from mlcode.sources.episodes import Episodes
from mlcode.sources.omniglot import Omniglot
from mlcode.training import train

FROZEN = "statistics of training images"
TOGETHER = "statistics of support set and queries"
TURNED = ", characters turned as in the code"
SHAPES = ((5, 1), (5, 5), (20, 1), (20, 5))  # ways and shots at test
LEARNERS = {
    "prototypical": PrototypicalNetwork,
    "matching": MatchingNetwork,
    "siamese": Siamese,
}


@dataclass(frozen=True)
class MetricOmniglot:
    """The settings; the defaults are those of the paper on Prototypical networks.

    Args:
        learner: A key of `LEARNERS`.
        options: Of the learner.
        n_way: Classes a training episode, one of which is a step.
        n_shot: Support images a class, in training.
        n_query: Queries a class.
        shapes: Ways and shots at test.
        meta_lr: Of Adam, at first.
        halve_every: Steps after which the rate is halved. None: it falls to 0 along a cosine.
        n_iterations: Steps.
        resampling: How drawings are reduced to 28 × 28.
        training_classes: In words, for the record.
        test_classes: In words.
        network: In words.
        bfloat16: Whether the encoder computes in bfloat16 while it trains; see `InBfloat16`.
        n_reference: Training images whose batch statistics are used at test.
        n_test_tasks: Over which accuracy is averaged.
    """

    learner: str = "prototypical"
    options: tuple[tuple[str, Any], ...] = ()
    n_way: int = 60
    n_shot: int = 1
    n_query: int = 5
    shapes: tuple[tuple[int, int], ...] = SHAPES[:1]
    meta_lr: float = 1e-3
    halve_every: int | None = 2000
    n_iterations: int = 20_000
    resampling: str = "lanczos"
    training_classes: str = "1,200 characters in four rotations"
    test_classes: str = "423 characters, unseen"
    network: str = "ConvNet: max-pooling, 64 filters, no head, torch's initial weights"
    bfloat16: bool = False
    n_reference: int = 2000
    n_test_tasks: int = 1000


def trained(setting: MetricOmniglot, options: Options) -> MetricLearner:
    """Train on one episode a step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)  # the weights; restored on leaving
        encoder = ConvNet(None, downsampling="pool")
        within = InBfloat16(encoder) if setting.bfloat16 else encoder
        learner = LEARNERS[setting.learner](within, **dict(setting.options)).to(options.device)
    n_iterations = options.n_iterations or setting.n_iterations
    optimizer = Adam(learner.parameters(), setting.meta_lr)
    train(
        learner,
        Episodes(
            Omniglot("trainval", resampling=setting.resampling),
            setting.n_way,
            setting.n_shot,
            setting.n_query,
            rotations=True,
        ),
        n_iterations=n_iterations,
        n_tasks=1,
        optimizer=optimizer,
        scheduler=schedule(setting, optimizer, n_iterations),
        generator=torch.Generator().manual_seed(options.seed),
        # On a CPU the compiled step took a tenth longer (234 against 208 ms).
        compiled=options.compiled and options.device != "cpu",
        checkpoint=options.checkpoint,
        checkpoint_every=500,
        progress=options.progress,
    )
    learner.encoder = encoder
    return learner


class InBfloat16(nn.Module):
    """An encoder whose products are computed in bfloat16; its embeddings come back in float32.

    A core with matrix units for bfloat16 (AMX) took a training step of 30 ways in 77 ms, and in
    float32 in 208 (measured). A core without them takes longer than in float32.

    Args:
        encoder: Whose weights stay in float32.
    """

    def __init__(self, encoder: ConvNet) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(
        self, x: Float[Tensor, "example channel height width"], n_reference: int | None = None
    ) -> Float[Tensor, "example feature"]:
        """The embeddings."""
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            z = self.encoder(x, n_reference)
        return z.float()


def schedule(setting: MetricOmniglot, optimizer: Adam, n_iterations: int) -> LRScheduler:
    """How the rate falls."""
    if setting.halve_every is None:
        return CosineAnnealingLR(optimizer, n_iterations)
    return StepLR(optimizer, setting.halve_every, gamma=0.5)


def results(
    setting: MetricOmniglot, learner: MetricLearner, targets: dict[tuple[int, int], Target]
) -> list[Result]:
    """Accuracy on unseen characters, for each way and shot.

    Then, for the first of them, with characters turned as in the code and with the statistics of
    support set and queries together.
    """
    encoder, first = learner.encoder, setting.shapes[0]
    assert isinstance(encoder, ConvNet)
    characters = Omniglot("test", resampling=setting.resampling)
    encoder.thaw_statistics()
    together = Result(in_words(first, TOGETHER), measured(setting, learner, characters, first))
    freeze(setting, encoder)
    found = [
        Result(in_words(shape), measured(setting, learner, characters, shape), targets.get(shape))
        for shape in setting.shapes
    ]
    turned = measured(setting, learner, characters, first, rotations=True)
    target = replace(targets[first], at_least=None)
    return [*found, Result(in_words(first) + TURNED, turned, target), together]


def measured(
    setting: MetricOmniglot,
    learner: MetricLearner,
    characters: Omniglot,
    shape: tuple[int, int],
    rotations: bool = False,
) -> Estimate:
    """The accuracy for one way and shot."""
    source = Episodes(characters, *shape, setting.n_query, rotations=rotations)
    return evaluate(learner, source, setting.n_test_tasks, metric=accuracy)


def freeze(setting: MetricOmniglot, encoder: ConvNet) -> None:
    """Have the encoder use the statistics of training images."""
    images = Batches(
        Omniglot("trainval", resampling=setting.resampling), setting.n_reference, rotations=True
    )
    device = next(encoder.parameters()).device
    drawn = images.sample(1, generator=torch.Generator().manual_seed(0), device=device)
    encoder.freeze_statistics(drawn.query.x[0])


def in_words(shape: tuple[int, int], statistics: str = FROZEN) -> str:
    """A protocol in words."""
    return f"{shape[0]}-way {shape[1]}-shot, batch {statistics}"
