"""The metric-based learners' steps are learn2learn's, scikit-learn's and torch's."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from
from sklearn.neighbors import NearestCentroid

from mlcode import peers
from mlcode.metric import MatchingNetwork, PrototypicalNetwork, Siamese
from mlcode.peers import metric
from mlcode.peers.comparison import COMPARISONS
from mlcode.peers.cross_check import cross_check
from mlcode.peers.finite_differences import projections, random_directions, slopes
from mlcode.peers.meta_step import difference, meta_step
from mlcode.peers.metric import LEARNERS, MetricSetting, metric_problem
from mlcode.transfer.heads import class_means
from tests.helpers import SEEDS, distance, seeded


def embedded(seed, n_way=4, n_shot=3, n_query=5, n_features=6):
    draw = seeded(seed)
    z = torch.randn(n_way * n_shot, n_features, generator=draw, dtype=torch.float64)
    query_z = torch.randn(n_query, n_features, generator=draw, dtype=torch.float64)
    y = torch.arange(n_way).repeat(n_shot)[torch.randperm(len(z), generator=draw)]
    return z.requires_grad_(), y, query_z.requires_grad_()


@pytest.mark.parametrize("loss", LEARNERS)
@settings(max_examples=5)
@given(seed=SEEDS)
def test_the_step_is_torchs(loss, seed):
    model, tasks = metric_problem(seed)
    ours, theirs = (
        meta_step(prepare, model, tasks, MetricSetting(loss))
        for prepare in (metric.by_mlcode, metric.by_torch)
    )
    assert float(ours.loss) > 0
    assert max(difference(ours, theirs)) < 1e-10


@settings(max_examples=5)
@given(seed=SEEDS)
def test_the_step_of_prototypes_is_learn2learns(seed):
    model, tasks = metric_problem(seed)
    ours, theirs = (
        meta_step(prepare, model, tasks, MetricSetting())
        for prepare in (metric.by_mlcode, metric.by_learn2learn)
    )
    assert max(difference(ours, theirs)) < 1e-10


@pytest.mark.parametrize("loss", LEARNERS)
def test_the_gradient_is_the_slope_of_torchs_loss(loss):
    model, tasks = metric_problem(0)
    setting = MetricSetting(loss)
    ours = meta_step(metric.by_mlcode, model, tasks, setting)
    directions = random_directions(model, 8, seeded(0))
    measured = slopes(metric.metric_objective(model, tasks, setting), directions)
    apart = (projections(ours.gradient, directions) - measured).abs().max()
    assert apart < 1e-6 * measured.abs().max()


@given(seed=SEEDS, n_way=integers(2, 20), n_shot=integers(1, 5))
def test_prototypes_logits_and_their_gradients_are_learn2learns(seed, n_way, n_shot):
    z, y, query_z = embedded(seed, n_way, n_shot)
    classifier = peers.learn2learn.nn.PrototypicalClassifier()
    prototypes = classifier.fit_(z, y)
    theirs = classifier(query_z)
    ours = PrototypicalNetwork(torch.nn.Sequential()).scores(z, y, query_z, n_way)
    assert distance(class_means(z, y, n_way)[0], prototypes) < 1e-12
    assert distance(ours, theirs) < 1e-12
    direction = torch.randn(ours.shape, generator=seeded(seed), dtype=torch.float64)
    gradients = [
        torch.autograd.grad((logits * direction).sum(), (z, query_z)) for logits in (ours, theirs)
    ]
    for mine, other in zip(*gradients):
        assert distance(mine, other) < 1e-10


@given(seed=SEEDS, n_way=integers(2, 20), n_shot=integers(2, 5))  # of one, it divides 0 by 0
def test_prototypes_and_answers_are_scikit_learns(seed, n_way, n_shot):
    z, y, query_z = embedded(seed, n_way, n_shot)
    theirs = NearestCentroid().fit(z.detach().numpy(), y.numpy())
    assert distance(class_means(z, y, n_way)[0], torch.from_numpy(theirs.centroids_)) < 1e-12
    scores = PrototypicalNetwork(torch.nn.Sequential()).scores(z, y, query_z, n_way)
    assert scores.argmax(1).tolist() == theirs.predict(query_z.detach().numpy()).tolist()


@given(seed=SEEDS, temperature=sampled_from([0.05, 1.0, 3.0]), n_shot=integers(1, 4))
def test_matching_is_torchs_attention_to_normalised_embeddings(seed, temperature, n_shot):
    z, y, query_z = embedded(seed, n_shot=n_shot)
    query, key = (F.normalize(part) for part in (query_z, z))
    p = F.scaled_dot_product_attention(
        query[None], key[None], F.one_hot(y, 4)[None].double(), scale=1 / temperature
    )[0]
    learner = MatchingNetwork(torch.nn.Sequential(), temperature=temperature)
    log_p = learner.scores(z, y, query_z, 4)
    assert distance(log_p.exp(), p) < 1e-12
    assert distance(log_p.exp().sum(1), torch.ones(5).double()) < 1e-12
    direction = torch.randn(p.shape, generator=seeded(seed), dtype=torch.float64)
    gradients = [torch.autograd.grad((q * direction).sum(), (z, query_z)) for q in (log_p.exp(), p)]
    for mine, other in zip(*gradients):
        assert distance(mine, other) < 1e-12


@given(seed=SEEDS)
def test_the_logistic_head_is_a_sigmoid_of_weighted_differences_pair_by_pair(seed):
    z, y, query_z = embedded(seed)
    learner = Siamese(torch.nn.Sequential(), objective="logistic", n_features=6, pairs="all")
    learner = learner.double()
    weight, bias = learner.head.weight[0], learner.head.bias[0]
    p = torch.stack(
        [torch.stack([((a - b).abs() @ weight + bias).sigmoid() for b in z]) for a in z]
    )
    pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if i != j]
    terms = [-(p[i, j] if y[i] == y[j] else 1 - p[i, j]).log() for i, j in pairs]
    assert distance(learner.pair_loss(z, y), torch.stack(terms).mean()) < 1e-12
    nearest = learner.scores(z, y, query_z, 4).argmax(1)
    for i, query in enumerate(query_z):
        to = ((query - z).abs() @ weight + bias).sigmoid()
        assert int(y[to.argmax()]) == int(nearest[i])


def test_a_step_with_another_margin_or_distance_would_be_noticed():
    model, tasks = metric_problem(0)
    for ours, theirs in (
        (MetricSetting("triplet loss"), MetricSetting("triplet loss", margin=2.001)),
        (MetricSetting(), MetricSetting("cosine distance")),
    ):
        steps = (
            meta_step(metric.by_mlcode, model, tasks, ours),
            meta_step(metric.by_torch, model, tasks, theirs),
        )
        assert difference(*steps).loss > 1e-6


def test_learn2learn_is_not_asked_for_what_it_has_not():
    with pytest.raises(ValueError, match="learn2learn has no step with the attention"):
        metric.by_learn2learn(metric_problem(0)[0], MetricSetting("attention"))


def test_the_ledgers_entries_cover_every_loss_and_agree(monkeypatch):
    entries = metric.metric_comparisons()
    assert [str(entry.settings()) for entry in entries.values()] == list(LEARNERS)
    for name, entry in entries.items():
        monkeypatch.setitem(COMPARISONS, name, entry)
        report = cross_check(name)
        report.check()
        peers = [] if name != "prototypical-squared-euclidean-distance" else ["learn2learn"]
        assert [row.peer for row in report.rows] == [
            *peers,
            "torch itself",
            "finite differences",
        ]
