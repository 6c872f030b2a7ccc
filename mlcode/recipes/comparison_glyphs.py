"""Every learner of the book that can tell classes apart, on five unseen characters from one each.

All get as long to train, about 20 s of one core of the processor that the record names; so that the
result can be had again, that is written down as iterations. All get the same search: five trainings
of a quarter of the iterations, measured on the validation split. What did best is trained from
three seeds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from mlcode.comparison import compare
from mlcode.evaluation import EVALUATION_SEED, evaluate
from mlcode.learner import MetaLearner
from mlcode.metrics import ACCURACY
from mlcode.networks import ConvNet
from mlcode.recipes.contenders import (
    SEARCH_SEED,
    SHARE,
    Contender,
    Tried,
    best_factors,
    place,
    searched,
    searches_as_dict,
    trained,
)
from mlcode.recipes.glyph_contenders import CONTENDERS, HALF, WAYS, WHOLE
from mlcode.recipes.recipe import Options, Recipe, Result
from mlcode.sources.episodes import Episodes
from mlcode.sources.frozen import FrozenTasks, freeze
from mlcode.sources.glyphs import Glyphs
from mlcode.transfer.features import FeatureTransfer
from mlcode.transfer.fine_tuning import FineTuning
from mlcode.tuning import VALIDATION_SEED

FEATURES = "pre-training"
QUARTER_TO_FOUR = (1.0, 0.25, 4.0)


@dataclass(frozen=True)
class Size:
    """How much is computed.

    Args:
        seeds: Of the trainings that are compared.
        share: Of the iterations of all of them.
        n_validation: Tasks on which the search is measured.
        n_test: Tasks on which learners are compared.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    share: float = 1.0
    n_validation: int = 200
    n_test: int = 600


def run(
    options: Options, size: Size | None = None, contenders: Mapping[str, Contender] = CONTENDERS
) -> tuple[list[Result], dict[str, Any]]:
    """Search, train, compare."""
    size = size or Size()
    entrants = {FEATURES: WHOLE, **contenders}
    validation = tasks("validation", size.n_validation, VALIDATION_SEED)
    encoder = pretrained(SEARCH_SEED, options, size)
    searches = {
        name: searched(name, one, validation, ACCURACY, options, encoder, share=SHARE * size.share)
        for name, one in entrants.items()
    }
    chosen = {name: best_factors(tried, ACCURACY) for name, tried in searches.items()}
    learners, seconds = all_trained(entrants, chosen, options, size)
    heads, tried = with_heads(learners.pop(FEATURES), validation)
    test = tasks("test", size.n_test, EVALUATION_SEED)
    comparison = compare({**learners, **heads, "pixels": pixels()}, test)
    more = {
        "comparison": comparison.as_dict(),
        "searches": searches_as_dict(entrants, searches, chosen) | tried,
        "seconds_of_training": seconds,
    }
    return [], more


def tasks(split: str, n_tasks: int, seed: int) -> FrozenTasks:
    """Frozen tasks of a split, five queries a class."""
    source = Episodes(Glyphs(split), WAYS, 1, 5)
    return freeze(source, n_tasks, generator=torch.Generator().manual_seed(seed))


def pretrained(
    seed: int, options: Options, size: Size, factors: tuple[float, float] = (1, 1)
) -> ConvNet:
    """The encoder that had half of the budget."""
    file = place(options, f"encoder {seed}")
    learner, _ = trained(HALF, seed, factors=factors, share=size.share, checkpoint=file)
    assert isinstance(learner, FeatureTransfer)
    assert isinstance(learner.encoder, ConvNet)
    return learner.encoder


def all_trained(
    entrants: Mapping[str, Contender],
    chosen: Mapping[str, tuple[float, float]],
    options: Options,
    size: Size,
) -> tuple[dict[str, list[MetaLearner]], dict[str, float]]:
    """Every contender from every seed with the factors chosen, and a training's mean seconds."""
    learners: dict[str, list[MetaLearner]] = {name: [] for name in entrants}
    seconds = dict.fromkeys(entrants, 0.0)
    for seed in size.seeds:
        encoder = pretrained(seed, options, size, chosen[FEATURES])
        for name, contender in entrants.items():
            file = place(options, f"{name} seed {seed}")
            learner, spent = trained(
                contender,
                seed,
                encoder,
                factors=chosen[name],
                share=size.share,
                checkpoint=file,
            )
            learners[name].append(learner)
            seconds[name] += round(spent / len(size.seeds), 2)
    return learners, seconds


def with_heads(
    pretrained: Sequence[MetaLearner], validation: FrozenTasks
) -> tuple[dict[str, list[MetaLearner]], dict[str, Any]]:
    """What can be put on one pre-trained encoder; what was tried of it on validation tasks.

    One number of each head is searched, with the first encoder, which costs no training.
    """
    encoders = [learner.encoder for learner in pretrained if isinstance(learner, FeatureTransfer)]
    learners: dict[str, list[MetaLearner]] = {}
    found: dict[str, Any] = {}
    for name, (own, value, build) in HEADS.items():
        tried = []
        for factor in QUARTER_TO_FOUR if own else ():
            e = evaluate(
                build(encoders[0], value * factor), validation, len(validation), metric=ACCURACY.of
            )
            tried.append(Tried((1, factor), None, value * factor, e.mean, e.interval))
        if own:
            value *= best_factors(tried, ACCURACY)[1]
            found[name] = {"own": own, "own_value": value, "tried": [asdict(t) for t in tried]}
        learners[name] = [build(encoder, value) for encoder in encoders]
    return learners, found


def _with_head(head: str) -> Callable[[Any, float], MetaLearner]:
    return lambda encoder, p: FeatureTransfer(encoder, n_way=WAYS, head=head, penalty=p)


def _fine_tuned(encoder: Any, lr: float) -> MetaLearner:
    return FineTuning(encoder.with_head(WAYS), lr=lr, n_steps=20)


HEADS: dict[str, tuple[str | None, float, Callable[[Any, float], MetaLearner]]] = {
    "features, centroid": (None, 1.0, _with_head("centroid")),
    "features, cosine": (None, 1.0, _with_head("cosine")),
    "features, logistic": ("penalty", 0.1, _with_head("logistic")),
    "fine-tuning": ("lr", 0.1, _fine_tuned),
}


def pixels() -> FeatureTransfer:
    """The nearest neighbour by pixels, which learns nothing beforehand."""
    return FeatureTransfer(n_way=WAYS, head="neighbour")


RECIPES = (
    Recipe(
        "comparison-glyphs",
        "every learner of the book that tells characters apart, on Glyphs",
        "5-way 1-shot, 5 queries a class, each answered by itself",
        "half an hour on one core",
        {
            "network": "ConvNet: stride 2, 32 filters",
            "budget": "about 20 s of one core a training, as iterations",
            "search": "5 trainings of a quarter of the iterations, on 200 validation tasks",
            "n_test_tasks": 600,
        },
        run,
        deviations=("budgets of seconds, and settings of our own",),
        seeds=Size().seeds,
    ),
)
