"""Metric-based learners on Omniglot (Snell et al., 2017, table 1), and short runs for two cores.

What the code of Prototypical networks (https://github.com/jakesnell/prototypical-networks) does,
and what is done here:

- It embeds an episode's support set and queries in one batch, whose statistics its batch norm uses
  while it trains. So does "together" here.
- At test its batch norm uses running averages of the statistics of training episodes. Batch norm
  here keeps none, so those of 2,000 training images are frozen instead: an answer depends on
  nothing but the support set and its query.
- Its lists of classes hold every character in four rotations, those of the test as well. Here a
  test character at another angle is no class of its own; with turned ones it is a row.
- It halves the rate every 2,000 episodes, ends when 20,000 in a row have brought nothing on the
  validation characters, and then trains anew, on them too, for 20,000 more than the best had
  needed. Here it is 20,000 on both, by when the rate is a thousandth of what it was.
- It reduces images by nearest neighbour (see `Omniglot`); here they are reduced smoothly.
"""

from dataclasses import asdict, replace
from typing import Any

from mlcode.recipes.metric_training import SHAPES, MetricOmniglot, in_words, results, trained
from mlcode.recipes.recipe import Recipe, Target

DEVIATIONS = (
    "statistics of 2,000 training images at test instead of running averages",
    "images reduced smoothly instead of by nearest neighbour",
)


def row(source: str, key: str, *values: float, second_hand: bool = False) -> list[Target]:
    """A row of a published table, for `SHAPES`."""
    return [Target(value, 0.0, source, key, second_hand=second_hand) for value in values]


PROTOTYPICAL = row("Snell et al., 2017, table 1", "snell2017", 0.988, 0.997, 0.960, 0.989)
MATCHING = row(
    "Vinyals et al., 2016, table 1", "vinyals2016", 0.981, 0.989, 0.938, 0.985, second_hand=True
)
SIAMESE = row(
    "Finn et al., 2017, table 1", "finn2017", 0.973, 0.984, 0.882, 0.970, second_hand=True
)
TO_REACH = (0.98, 0.993, 0.94, None)


def recipe(
    name: str,
    title: str,
    time: str,
    published: list[Target],
    deviations: tuple[str, ...] = (),
    **settings: Any,
) -> Recipe:
    """A recipe from what differs from the paper's settings."""
    setting = MetricOmniglot(**settings)
    targets = dict(zip(SHAPES, published))
    first = setting.shapes[0]
    return Recipe(
        name,
        title,
        in_words(first),
        time,
        asdict(setting),
        lambda options: (results(setting, trained(setting, options), targets), {}),
        target=targets[first],
        deviations=(*deviations, *DEVIATIONS),
    )


SHORT: dict[str, Any] = {
    "n_way": 30,
    "shapes": SHAPES,
    "halve_every": None,
    "bfloat16": True,
    "n_iterations": 5000,
    "n_test_tasks": 600,
}
COSINE = "the rate falling along a cosine"
WITH_AMX = "on two cores with units for bfloat16 (AMX)"
GPU = "hours on two cores; for a GPU"
RECIPES = (
    recipe(
        "protonet-omniglot-short",
        "prototypical network, Omniglot, one short training for all ways and shots",
        f"about 13 minutes {WITH_AMX}",
        [replace(t, at_least=least) for t, least in zip(PROTOTYPICAL, TO_REACH)],
        (
            f"13,500 episodes of 30 ways, {COSINE}; training in bfloat16",
            "one training instead of one for each number of shots, which were those of the test",
        ),
        **SHORT | {"n_iterations": 13_500},
    ),
    recipe(
        "matching-omniglot-short",
        "matching network, Omniglot, one short training for all ways and shots",
        f"about 5 to 10 minutes {WITH_AMX}",
        MATCHING,
        (
            f"5,000 episodes of 30 ways, {COSINE}; training in bfloat16",
            "a learned temperature, no full context embeddings, a training of our own",
        ),
        learner="matching",
        options=(("temperature", 0.1), ("learned_temperature", True)),
        **SHORT,
    ),
    recipe(
        "siamese-omniglot-short",
        "Siamese network, Omniglot, one short training for all ways and shots",
        f"about 5 to 10 minutes {WITH_AMX}",
        SIAMESE,
        (
            "5,000 batches of 20 classes; training in bfloat16",
            "the triplet loss, and a training of our own",
        ),
        learner="siamese",
        options=(("objective", "triplet"),),
        **SHORT | {"n_way": 20},
    ),
    *(
        recipe(
            f"protonet-omniglot-{n_way}w{n_shot}s",
            f"prototypical network, Omniglot {n_way}-way {n_shot}-shot",
            GPU,
            PROTOTYPICAL,
            n_shot=n_shot,
            shapes=((n_way, n_shot),),
        )
        for n_way, n_shot in SHAPES
    ),
)
