import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import floats, integers, permutations
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from mlcode import ConvNet, Examples, Glyphs, accuracy, evaluate
from mlcode.sources.episodes import Episodes
from mlcode.transfer import FeatureTransfer
from mlcode.transfer.heads import nearest_centroid, nearest_neighbour, ridge
from tests.helpers import SEEDS, network, random_tasks, seeded


def points(seed, n=12, n_features=4, n_way=3):
    draw = seeded(seed)
    z = torch.randn(n, n_features, generator=draw, dtype=torch.float64)
    y = torch.arange(n) % n_way
    return z, y, torch.randn(7, n_features, generator=draw, dtype=torch.float64)


@given(seed=SEEDS)
def test_the_nearest_centroid_is_scikit_learns(seed):
    z, y, query = points(seed)
    theirs = NearestCentroid().fit(z.numpy(), y.numpy())
    logits = nearest_centroid(z, y, query, 3)
    assert logits.argmax(1).tolist() == theirs.predict(query.numpy()).tolist()
    means = torch.from_numpy(theirs.centroids_)
    assert torch.allclose(logits, -(torch.cdist(query, means) ** 2), rtol=1e-10, atol=1e-10)


@given(seed=SEEDS)
def test_the_nearest_neighbour_is_scikit_learns(seed):
    z, y, query = points(seed)
    theirs = KNeighborsClassifier(1).fit(z.numpy(), y.numpy())
    assert nearest_neighbour(z, y, query, 3).argmax(1).tolist() == (
        theirs.predict(query.numpy()).tolist()
    )


@given(seed=SEEDS, n=integers(2, 12), n_features=integers(1, 8), penalty=floats(0.01, 10))
def test_the_ridge_is_scikit_learns_whether_examples_or_features_are_more(
    seed, n, n_features, penalty
):
    z, _, query = points(seed, n, n_features)
    targets = torch.randn(n, 2, generator=seeded(seed + 1), dtype=torch.float64)
    weight = torch.rand(n, generator=seeded(seed + 2), dtype=torch.float64) + 0.1
    theirs = Ridge(penalty).fit(z.numpy(), targets.numpy(), sample_weight=weight.numpy())
    ours = ridge(z, targets, query, penalty=penalty, weight=weight)
    assert np.allclose(ours.numpy(), theirs.predict(query.numpy()), rtol=1e-9, atol=1e-10)


def test_a_weight_of_two_is_an_example_given_twice_and_of_zero_one_left_out():
    z, _, query = points(0, n=4)
    targets = torch.randn(4, 1, generator=seeded(1), dtype=torch.float64)
    weighted = ridge(z, targets, query, weight=torch.tensor([2.0, 1.0, 0.0, 1.0]).double())
    index = [0, 0, 1, 3]
    assert torch.allclose(weighted, ridge(z[index], targets[index], query), atol=1e-12)


@pytest.mark.parametrize("head", [nearest_centroid, nearest_neighbour])
def test_a_class_without_examples_is_never_the_answer(head):
    z, _, query = points(0)
    logits = head(z, torch.tensor([0, 2] * 6), query, 3)
    assert (logits[:, 1] == -torch.inf).all()
    assert logits[:, [0, 2]].isfinite().all()


@given(seed=SEEDS, order=permutations(range(3)))
def test_renaming_the_classes_renames_the_predictions(seed, order):
    (x, y), (query_x, _) = random_tasks(1, 9, 5, (4,), (), seed=seed, classes=3).select(0)
    y = torch.arange(9) % 3
    order = torch.tensor(order)
    for head in ("centroid", "neighbour", "ridge"):
        learner = FeatureTransfer(n_way=3, head=head)
        before = learner.predict(Examples(x, y), query_x)
        after = learner.predict(Examples(x, order[y]), query_x)
        assert torch.allclose(after[:, order], before, atol=1e-12)


def test_vmap_and_loop_agree_and_nothing_of_the_encoder_is_learned():
    tasks = random_tasks(3, 6, 5, (1, 28, 28), (), classes=3)
    encoder = ConvNet(None, n_filters=4, downsampling="pool").double()
    for statistics in ("query", "support"):
        losses = [
            FeatureTransfer(
                encoder, n_way=3, head="ridge", statistics=statistics, mapping=mapping
            ).losses(tasks)
            for mapping in ("vmap", "loop")
        ]
        assert torch.allclose(*losses, atol=1e-12)
    assert not losses[0].requires_grad


def test_with_statistics_of_the_support_set_queries_are_answered_alone():
    (x, y), (query_x, _) = random_tasks(1, 6, 5, (1, 28, 28), (), classes=3).select(0)
    encoder = ConvNet(None, n_filters=4, downsampling="pool").double()

    def answers(statistics, query_x):
        learner = FeatureTransfer(encoder, n_way=3, statistics=statistics)
        return learner.predict(Examples(x, y), query_x)

    assert torch.allclose(answers("support", query_x)[:1], answers("support", query_x[:1]))
    assert not torch.allclose(answers("query", query_x)[:1], answers("query", query_x[:2])[:1])


def test_regression_on_features_fits_real_targets():
    (x, y), (query_x, _) = random_tasks(1, 9, 5, (2,), (3,)).select(0)
    body = network(torch.nn.Linear(2, 6), torch.nn.Tanh())
    learner = FeatureTransfer(body, head="ridge", penalty=0.5, loss_fn=F.mse_loss)
    theirs = Ridge(0.5).fit(body(x).detach().numpy(), y.numpy())
    expected = theirs.predict(body(query_x).detach().numpy())
    assert np.allclose(learner.predict(Examples(x, y), query_x).numpy(), expected, atol=1e-10)


def test_on_pixels_it_beats_chance_on_unseen_scripts():
    episodes = Episodes(Glyphs("test"), n_way=5, n_shot=1, n_query=5)
    estimate = evaluate(
        FeatureTransfer(n_way=5, head="neighbour"), episodes, n_tasks=200, metric=accuracy
    )
    assert 0.4 < estimate.mean < 0.9


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_way": 5, "head": "centroids"}, "Did you mean 'centroid'"),
        ({}, "head='centroid' tells classes apart: pass n_way"),
        ({"n_way": 1}, "n_way must be at least 2; got 1"),
        ({"head": "ridge", "penalty": 0.0}, "penalty must be positive"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FeatureTransfer(**options)


def test_labels_without_a_number_of_classes_are_refused():
    (x, y), (query_x, _) = random_tasks(1, 6, 5, (4,), (), classes=3).select(0)
    with pytest.raises(ValueError, match=r"y holds labels.*pass n_way"):
        FeatureTransfer(head="ridge").predict(Examples(x, y), query_x)


def test_an_empty_support_set_is_refused():
    empty = Examples(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    with pytest.raises(ValueError, match="the support set is empty"):
        FeatureTransfer(n_way=3).predict(empty, torch.zeros(2, 4))
