"""MAML on miniImageNet (Finn et al., 2017, section 5.2 and table 1), on a reader's copy of it.

Not run by us, who have no copy of the data; `mlcode.sources.mini_imagenet` says how to get one. The
paper's code (https://github.com/cbfinn/maml) takes α = 0.01 on a loss that is N times the mean over
the support set (see `mlcode.recipes.maml_omniglot`), and so do we: α = 0.05 on the mean.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch.optim import Adam

from mlcode.evaluation import accuracy, evaluate
from mlcode.networks import ConvNet
from mlcode.optimization.maml import MAML
from mlcode.recipes.recipe import Options, Recipe, Result, Target
from mlcode.sources.episodes import Episodes
from mlcode.sources.mini_imagenet import MiniImageNet
from mlcode.training import train


@dataclass(frozen=True)
class MAMLMiniImageNet:
    """The paper's settings.

    Args:
        n_shot: Support images a class.
        n_tasks: In an outer step.
        n_way: Classes a task.
        n_query: Queries a class.
        inner_lr: α on the mean support loss; see the head of this file.
        n_inner_steps: In training.
        n_test_steps: In testing.
        n_filters: Of each of the four blocks of convolution, batch norm, ReLU and max-pooling.
        meta_lr: Of Adam.
        clip_grad_value: Largest magnitude of an entry of the meta-gradient.
        n_iterations: Outer steps.
        n_test_tasks: Over which accuracy is averaged.
    """

    n_shot: int
    n_tasks: int
    n_way: int = 5
    n_query: int = 15
    inner_lr: float = 0.05
    n_inner_steps: int = 5
    n_test_steps: int = 10
    n_filters: int = 32
    meta_lr: float = 1e-3
    clip_grad_value: float = 10.0
    n_iterations: int = 60_000
    n_test_tasks: int = 600


def learner_of(setting: MAMLMiniImageNet, seed: int) -> MAML:
    """An untrained learner."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # the weights; restored on leaving
        network = ConvNet(
            setting.n_way,
            in_channels=3,
            n_filters=setting.n_filters,
            downsampling="pool",
            image_size=84,
        )
    return MAML(
        network,
        inner_lr=setting.inner_lr,
        n_inner_steps=setting.n_inner_steps,
        n_test_steps=setting.n_test_steps,
        loss_fn=F.cross_entropy,
    )


def run(setting: MAMLMiniImageNet, options: Options, target: Target) -> list[Result]:
    """Meta-train, and measure on the test classes under the paper's protocol."""
    shape = (setting.n_way, setting.n_shot, setting.n_query)
    test = Episodes(MiniImageNet("test"), *shape)  # first, so that missing data is noticed at once
    learner = learner_of(setting, options.seed).to(options.device)
    train(
        learner,
        Episodes(MiniImageNet("train"), *shape),
        n_iterations=options.n_iterations or setting.n_iterations,
        n_tasks=setting.n_tasks,
        optimizer=Adam(learner.parameters(), setting.meta_lr),
        clip_grad_value=setting.clip_grad_value,
        generator=torch.Generator().manual_seed(options.seed),
        compiled=options.compiled,
        checkpoint=options.checkpoint,
        checkpoint_every=1000,
        progress=options.progress,
    )
    estimate = evaluate(learner, test, setting.n_test_tasks, metric=accuracy)
    return [Result(PROTOCOL, estimate, target)]


DEVIATION = "batch norm with a scale, its parameters adapted too; torch's initial weights"
PROTOCOL = "15 queries a class, batch statistics of the query set"


def recipe(n_shot: int, n_tasks: int, value: float, interval: float) -> Recipe:
    """A recipe of the paper's table."""
    setting = MAMLMiniImageNet(n_shot, n_tasks)
    target = Target(value, interval, "Finn et al., 2017, table 1", "finn2017")
    return Recipe(
        f"maml-miniimagenet-5w{n_shot}s",
        f"MAML, miniImageNet 5-way {n_shot}-shot",
        PROTOCOL,
        "hours on a GPU, with the reader's copy of the data",
        asdict(setting),
        lambda options: (run(setting, options, target), {}),
        target=target,
        deviations=(
            "batch norm with a scale, its parameters adapted too; torch's initial weights",
        ),
    )


RECIPES = (recipe(1, 4, 0.4870, 0.0184), recipe(5, 2, 0.6311, 0.0092))
