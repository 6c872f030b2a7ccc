"""Reptile on Omniglot (Nichol, Achiam and Schulman, 2018), and a short run for two cores.

The settings are those of the command that its code (https://github.com/openai/supervised-reptile)
prints for 5-way 1-shot with transduction. What differs is listed with `Reptile` and here:

- Its inner Adam goes on from task to task with the mean squares that it has; here each task begins
  with none, so that a first step is `inner_lr` for every weight whatever its gradient.
- Its queries share batch norm's statistics with the support set; here with each other alone.
- It draws 1,200 of the 1,623 characters at random for training; here they are the 1,028 and 172 of
  the split that Matching and Prototypical networks use, and the 423 others are the test.
- Its images are not inverted and were reduced by nearest neighbour; here ink is 1 and they are
  reduced smoothly.
- Its network flattens the last 2 × 2 image; here it is averaged.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch.optim import SGD
from torch.optim.lr_scheduler import LinearLR

from mlcode.evaluation import accuracy, evaluate
from mlcode.networks import ConvNet
from mlcode.optimization.reptile import Reptile
from mlcode.optimization.rules import Adam
from mlcode.recipes.maml_omniglot import in_words
from mlcode.recipes.recipe import Options, Recipe, Result, Target
from mlcode.sources.episodes import Episodes
from mlcode.sources.omniglot import Omniglot
from mlcode.training import train

DEVIATIONS = (
    "the split of Matching networks instead of 1,200 characters drawn at random",
    "images inverted and reduced smoothly",
    "the inner Adam begins anew with each task",
    "queries share batch statistics with each other, not with the support set",
    "the last image averaged, not flattened; torch's initial weights",
)


@dataclass(frozen=True)
class ReptileOmniglot:
    """The settings; the defaults are the published command's for 5 ways, 1 shot, transductive.

    Args:
        n_way: Classes a task.
        n_shot: Support images a class, at test.
        train_shots: Images a class of a training task.
        inner_lr: Of the inner Adam, whose β₁ is 0.
        batch_size: Images of an inner step in training.
        n_inner_steps: In training.
        n_test_steps: In testing, on the whole support set.
        n_tasks: In an outer step.
        meta_lr: Outer rate at first; it falls to 0 in a line.
        n_iterations: Outer steps.
        resampling: How drawings are reduced to 28 × 28.
        training_classes: In words, for the record.
        test_classes: In words.
        network: In words.
        n_test_tasks: Over which accuracy is averaged.
    """

    n_way: int = 5
    n_shot: int = 1
    train_shots: int = 15
    inner_lr: float = 1e-3
    batch_size: int = 25
    n_inner_steps: int = 3
    n_test_steps: int = 5
    n_tasks: int = 10
    meta_lr: float = 1.0
    n_iterations: int = 100_000
    resampling: str = "lanczos"
    training_classes: str = "1,200 characters in four rotations"
    test_classes: str = "423 characters, unseen"
    network: str = "ConvNet: stride 2, 64 filters, torch's initial weights"
    n_test_tasks: int = 1000


def learner_of(setting: ReptileOmniglot, network: ConvNet, statistics: str = "query") -> Reptile:
    """The learner around a network."""
    return Reptile(
        network,
        n_inner_steps=setting.n_inner_steps,
        n_test_steps=setting.n_test_steps,
        batch_size=setting.batch_size,
        loss_fn=F.cross_entropy,
        rule=Adam(setting.inner_lr, betas=(0.0, 0.999)),
        statistics=statistics,
    )


def trained(setting: ReptileOmniglot, options: Options) -> Reptile:
    """Meta-train. The order of mini-batches comes from torch's global generator, seeded here."""
    characters = Omniglot("trainval", resampling=setting.resampling)
    n_iterations = options.n_iterations or setting.n_iterations
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)  # weights and order; restored on leaving
        learner = learner_of(setting, ConvNet(setting.n_way).to(options.device))
        optimizer = SGD(learner.parameters(), setting.meta_lr)
        train(
            learner,
            Episodes(characters, setting.n_way, 1, setting.train_shots - 1, rotations=True),
            n_iterations=n_iterations,
            n_tasks=setting.n_tasks,
            optimizer=optimizer,
            scheduler=LinearLR(optimizer, 1, 1e-6, n_iterations),
            generator=torch.Generator().manual_seed(options.seed),
            compiled=options.compiled,
            checkpoint=options.checkpoint,
            checkpoint_every=500,
            progress=options.progress,
        )
    return learner


def results(setting: ReptileOmniglot, learner: Reptile, target: Target) -> list[Result]:
    """Accuracy on unseen characters with one query a class, by either kind of statistics."""
    characters = Omniglot("test", resampling=setting.resampling)
    source = Episodes(characters, setting.n_way, setting.n_shot, 1)
    found = []
    for statistics in ("query", "support"):
        assert isinstance(learner.model, ConvNet)
        tested = learner_of(setting, learner.model, statistics)
        estimate = evaluate(tested, source, setting.n_test_tasks, metric=accuracy)
        held = target if statistics == "query" else NOT_TRANSDUCTIVE
        found.append(Result(in_words(1, statistics), estimate, held))
    return found


def published(value: float, interval: float) -> Target:
    """A figure of the Reptile paper's table, read where another text quotes it."""
    return Target(value, interval, "Nichol et al., 2018", "nichol2018", second_hand=True)


def recipe(name: str, title: str, time: str, setting: ReptileOmniglot) -> Recipe:
    """A recipe from its settings."""
    whole = ReptileOmniglot()
    fewer = [f"{setting.n_iterations:,} iterations instead of {whole.n_iterations:,}"]
    fewer *= setting.n_iterations < whole.n_iterations
    return Recipe(
        name,
        title,
        in_words(1, "query"),
        time,
        asdict(setting),
        lambda options: (results(setting, trained(setting, options), TRANSDUCTIVE), {}),
        target=TRANSDUCTIVE,
        deviations=(*fewer, *DEVIATIONS),
    )


TRANSDUCTIVE, NOT_TRANSDUCTIVE = published(0.9768, 0.0004), published(0.9539, 0.0009)
RECIPES = (
    recipe(
        "reptile-omniglot-5w1s-short",
        "Reptile, Omniglot 5-way 1-shot, 4,500 of the paper's 100,000 iterations",
        "about a quarter of an hour on two cores",
        ReptileOmniglot(n_iterations=4500),
    ),
    recipe(
        "reptile-omniglot-5w1s",
        "Reptile, Omniglot 5-way 1-shot",
        "hours on two cores; for a GPU",
        ReptileOmniglot(),
    ),
)
