"""Every learner of the book that can fit a curve, on sine waves from ten points.

As `mlcode.recipes.comparison_glyphs`, with 5 s of one core a training. A learned optimizer is left
out: it begins each wave at a random network, and to measure it takes longer than all the others.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.optim import SGD

from mlcode.comparison import compare
from mlcode.evaluation import EVALUATION_SEED
from mlcode.learner import MetaLearner
from mlcode.metrics import Metric
from mlcode.model_based.hypernetwork import HyperNetwork
from mlcode.model_based.in_context import InContextLearner
from mlcode.model_based.memory import MemoryLearner
from mlcode.model_based.recurrent import RecurrentLearner
from mlcode.model_based.task_features import TaskFeatures
from mlcode.networks import MLP
from mlcode.optimization.implicit import ImplicitMAML
from mlcode.optimization.maml import MAML
from mlcode.optimization.meta_sgd import MetaSGD
from mlcode.optimization.reptile import Reptile
from mlcode.recipes.comparison_glyphs import Size
from mlcode.recipes.contenders import (
    SHARE,
    Contender,
    best_factors,
    place,
    searched,
    searches_as_dict,
    trained,
)
from mlcode.recipes.maml_sinusoid import bounded
from mlcode.recipes.recipe import Options, Recipe, Result
from mlcode.sources.frozen import FrozenTasks, freeze
from mlcode.sources.sinusoids import Sinusoids
from mlcode.transfer.features import FeatureTransfer
from mlcode.transfer.fine_tuning import FineTuning
from mlcode.tuning import VALIDATION_SEED

ERROR = Metric("mean squared error", bounded, "lower")  # what diverges on a task has a value


def regressor() -> MLP:
    """The network of the MAML paper."""
    return MLP(1, 40, 40, 1)


def waves(_: Any) -> Sinusoids:
    """Ten points to learn from and ten to be judged on."""
    return Sinusoids()


def adapting(kind: type[MAML], n_iterations: int, rate: float = 0.01, **options: Any) -> Contender:
    """A contender that takes inner steps."""
    return Contender(
        lambda rate, _: kind(regressor(), inner_lr=rate, **options),
        waves,
        n_iterations,
        25,
        5e-3,
        ("inner_lr", rate),
    )


def reading(build: Any, n_iterations: int, meta_lr: float, own: str, width: float) -> Contender:
    """A contender that reads the points; its own hyperparameter is a width."""
    clip: dict[str, Any] = {"clip_grad_norm": 1.0}
    return Contender(
        lambda width, _: build(round(width)), waves, n_iterations, 25, meta_lr, (own, width), **clip
    )


def on_all_waves(kind: str) -> Contender:
    """A network that is fitted to all waves at once, and what is made of it."""

    def finish(learner: MetaLearner, _: Any) -> MetaLearner:
        assert isinstance(learner, MAML)
        model = learner.model
        if kind == "fine-tuning":
            return FineTuning(model, lr=0.01, n_steps=10, loss_fn=nn.functional.mse_loss)
        assert isinstance(model, nn.Sequential)
        body = nn.Sequential(*list(model)[:-1])
        return FeatureTransfer(body, head="ridge", penalty=0.1, loss_fn=nn.functional.mse_loss)

    def build(_: float, __: Any) -> MAML:
        return MAML(regressor(), n_inner_steps=0)

    return Contender(build, waves, 2000, 25, 5e-3, finish=finish)


CONTENDERS: dict[str, Contender] = {
    "MAML": adapting(MAML, 700, n_test_steps=10),
    "first-order MAML": adapting(MAML, 850, n_test_steps=10, first_order=True),
    "ANIL": adapting(MAML, 1000, n_test_steps=10, adapted="4.*"),
    "Meta-SGD": adapting(MetaSGD, 650),
    "implicit MAML": adapting(ImplicitMAML, 74, n_inner_steps=10),
    "Reptile": replace(
        adapting(Reptile, 280, 0.02, n_inner_steps=8, n_test_steps=10, batch_size=10),
        source=lambda _: Sinusoids(n_query=40),
        n_tasks=5,
        meta_lr=1.0,
        optimizer=SGD,
    ),
    "hypernetwork": reading(
        lambda n: HyperNetwork(regressor(), TaskFeatures(1), n_hidden=n), 560, 3e-3, "n_hidden", 64
    ),
    "recurrent": reading(lambda n: RecurrentLearner(1, n_hidden=n), 430, 1e-2, "n_hidden", 64),
    "memory": reading(
        lambda n: MemoryLearner(1, 1, n_hidden=n, classification=False), 115, 5e-3, "n_hidden", 64
    ),
    "in context": reading(
        lambda n: InContextLearner(1, width=n, causal=False), 340, 5e-3, "width", 32
    ),
    "fine-tuning": on_all_waves("fine-tuning"),
    "features, ridge": on_all_waves("ridge"),
}


def tasks(n_tasks: int, seed: int) -> FrozenTasks:
    """Frozen waves with a hundred queries each."""
    source = Sinusoids(n_query=100)
    return freeze(source, n_tasks, generator=torch.Generator().manual_seed(seed))


def run(
    options: Options, size: Size | None = None, contenders: Mapping[str, Contender] = CONTENDERS
) -> tuple[list[Result], dict[str, Any]]:
    """Search, train, compare."""
    size = size or Size()
    seen = tasks(size.n_validation, VALIDATION_SEED)
    share = SHARE * size.share
    searches = {
        name: searched(name, one, seen, ERROR, options, share=share)
        for name, one in contenders.items()
    }
    chosen = {name: best_factors(tried, ERROR) for name, tried in searches.items()}
    learners: dict[str, list[MetaLearner]] = {name: [] for name in contenders}
    seconds = dict.fromkeys(contenders, 0.0)
    for name, contender in contenders.items():
        for seed in size.seeds:
            file = place(options, f"{name} seed {seed}")
            more: dict[str, Any] = {"factors": chosen[name], "share": size.share}
            learner, spent = trained(contender, seed, checkpoint=file, **more)
            learners[name].append(learner)
            seconds[name] += round(spent / len(size.seeds), 2)
    comparison = compare(learners, tasks(size.n_test, EVALUATION_SEED), metric=ERROR)
    return [], {
        "comparison": comparison.as_dict(),
        "searches": searches_as_dict(contenders, searches, chosen),
        "seconds_of_training": seconds,
    }


RECIPES = (
    Recipe(
        "comparison-sinusoids",
        "every learner of the book that fits curves, on sine waves",
        "10 points of a wave, 100 queries",
        "eight minutes on one core",
        {
            "network": "MLP 1-40-40-1, ReLU, where a learner has one",
            "budget": "about 5 s of one core a training, as iterations",
            "search": "5 trainings of a quarter of the iterations, on 200 waves drawn anew",
            "n_test_tasks": 600,
        },
        run,
        deviations=("budgets of seconds, and settings of our own",),
        seeds=Size().seeds,
    ),
)
