"""The comparisons: every contender trains, the search chooses what did best, nothing sees a test
task too early."""

import pytest
import torch

from mlcode import Episodes, Glyphs
from mlcode.metrics import ACCURACY, SQUARED_ERROR
from mlcode.recipes import RECIPES, Options, comparison_glyphs, comparison_sinusoids
from mlcode.recipes.contenders import FACTORS, Tried, best_factors, place, searched, trained
from mlcode.recipes.glyph_contenders import CONTENDERS, WAYS, WHOLE
from mlcode.recipes.on_features import FeatureEpisodes, OnFeatures, features_of
from mlcode.transfer import FeatureTransfer
from tests.helpers import same, seeded

TINY = comparison_glyphs.Size(seeds=(0, 1), share=1e-6, n_validation=2, n_test=3)  # one iteration
CURVES = comparison_sinusoids.CONTENDERS


@pytest.fixture(scope="module")
def encoder():
    return comparison_glyphs.pretrained(0, Options(), TINY)


@pytest.fixture(scope="module")
def one_task():
    return Episodes(Glyphs("validation"), WAYS, 1, 2).sample(1, generator=seeded(0)).select(0)


@pytest.mark.parametrize("name", CONTENDERS)
def test_every_contender_takes_a_step_and_answers_each_query_by_itself(name, encoder, one_task):
    learner, seconds = trained(CONTENDERS[name], 0, encoder, share=1e-6)
    support, query = one_task
    with torch.no_grad():
        together = learner.predict(support, query.x)
        alone = learner.predict(support, query.x[:1])
    assert together.shape == (10, WAYS)
    assert torch.allclose(together[:1], alone, atol=1e-4)
    assert seconds > 0


@pytest.mark.parametrize("name", CURVES)
def test_every_contender_on_curves_takes_a_step(name):
    learner, _ = trained(CURVES[name], 0, share=1e-6)
    tasks = comparison_sinusoids.tasks(2, seed=0)
    support, query = tasks.tasks.select(0)
    assert learner.predict(support, query.x).shape == query.y.shape


def test_a_training_depends_on_its_seed_alone():
    def weights(seed):
        torch.manual_seed(torch.seed())
        learner, _ = trained(CONTENDERS["first-order MAML"], seed, share=1e-6)
        return dict(learner.named_parameters())

    assert same(weights(0), weights(0))
    assert not same(weights(0), weights(1))


def test_the_search_chooses_what_did_best_and_passes_over_what_diverged():
    means = (0.5, None, 0.7, 0.4, 0.6)
    tried = [Tried(f, 0.1, 0.1, mean, 0.01) for f, mean in zip(FACTORS, means)]
    assert best_factors(tried, ACCURACY) == FACTORS[2]
    assert best_factors(tried, SQUARED_ERROR) == FACTORS[3]
    with pytest.raises(ValueError, match="every training of the search diverged"):
        best_factors([Tried((1, 1), 0.1, None, None, None)], ACCURACY)


def test_the_search_varies_the_rate_and_the_learners_own_number_one_at_a_time():
    tasks = comparison_sinusoids.tasks(2, seed=0)
    tried = searched("MAML", CURVES["MAML"], tasks, SQUARED_ERROR, Options(), share=1e-6)
    rates, steps = zip(*((one.meta_lr, one.own) for one in tried))
    assert rates == pytest.approx((5e-3, 1.25e-3, 2e-2, 5e-3, 5e-3))
    assert steps == pytest.approx((0.01, 0.01, 0.01, 0.0025, 0.04))
    assert len(searched("w", WHOLE, validation(), ACCURACY, Options(), share=1e-6)) == 3


def validation():
    return comparison_glyphs.tasks("validation", 2, seed=0)


def test_the_comparison_holds_every_learner_with_its_search_on_the_validation_split():
    few = {name: CONTENDERS[name] for name in ("first-order MAML", "recurrent")}
    rows, more = comparison_glyphs.run(Options(), TINY, few)
    assert rows == []
    names = [score["name"] for score in more["comparison"]["scores"]]
    heads = ["features, centroid", "features, cosine", "features, logistic", "fine-tuning"]
    assert names == [*few, *heads, "pixels"]
    assert [s["n_trainings"] for s in more["comparison"]["scores"]] == [2] * 6 + [1]
    assert set(more["searches"]) == {"pre-training", *few, "features, logistic", "fine-tuning"}
    assert all(more["searches"][name]["tried"] for name in more["searches"])
    assert validation().split == "validation"


def test_every_training_of_a_comparison_has_a_file_of_its_own(tmp_path):
    few = {name: CURVES[name] for name in ("MAML", "recurrent")}
    options = Options(checkpoint=tmp_path / "run.pt")
    _, more = comparison_sinusoids.run(options, TINY, few)
    assert len(list(tmp_path.glob("run_*.pt"))) == len(few) * (len(FACTORS) + len(TINY.seeds))
    _, again = comparison_sinusoids.run(options, TINY, few)
    assert [s["mean"] for s in again["comparison"]["scores"]] == [
        s["mean"] for s in more["comparison"]["scores"]
    ]
    assert place(Options(), "MAML") is None


def test_episodes_of_features_show_every_class_and_no_drawing_twice():
    features = torch.arange(12 * 20.0).view(12, 20, 1)
    support, query = FeatureEpisodes(features, 5, 1, 3).sample(8, generator=seeded(1))
    assert support.x.shape == (8, 5, 1)
    assert query.y.shape == (8, 15)
    for task in range(8):
        drawn = torch.cat([support.x[task], query.x[task]]).flatten()
        assert len(drawn.unique()) == 20
        y = torch.cat([support.y[task], query.y[task]])
        classes = drawn // 20
        assert all(len(classes[y == k].unique()) == 1 for k in range(5))
        assert sorted(support.y[task].tolist()) == list(range(5))
    assert len({tuple(row.tolist()) for row in support.y}) > 1, "the order says nothing"


def test_a_learner_on_features_sees_what_the_encoder_makes_of_the_images(encoder, one_task):
    characters = Glyphs("validation")
    features = features_of(encoder, characters)
    assert features.shape == (len(characters), 20, 32)
    first = characters.as_inputs(characters.turned((0,), torch.device("cpu")), torch.tensor([0]))
    with torch.no_grad():
        assert torch.allclose(features[0, 0], encoder(first)[0], atol=1e-5)
        inner = FeatureTransfer(n_way=WAYS)
        support, query = one_task
        outer = OnFeatures(inner, encoder).predict(support, query.x)
        assert torch.allclose(outer, FeatureTransfer(encoder, n_way=WAYS).predict(support, query.x))


def test_they_are_recipes():
    for module in (comparison_glyphs, comparison_sinusoids):
        (recipe,) = module.RECIPES
        assert RECIPES[recipe.name].run is module.run
