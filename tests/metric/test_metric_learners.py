"""What holds for every metric-based learner."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import integers, permutations, sampled_from
from torch import nn
from torch.optim import Adam

from mlcode import MLP, ConvNet, Episodes, Examples, Glyphs, Tasks, accuracy, evaluate, train
from mlcode.metric import MatchingNetwork, PrototypicalNetwork, Siamese
from mlcode.metric.metric_learner import MetricLearner, count_classes
from tests.helpers import (
    SEEDS,
    compiles,
    distance,
    gradients,
    random_tasks,
    reseed,
    same,
    seeded,
    snapshot,
)


def prototypical(encoder, **settings):
    return PrototypicalNetwork(encoder, **settings)


def by_cosine(encoder, **settings):
    return PrototypicalNetwork(
        encoder, distance="cosine", temperature=0.1, learned_temperature=True, **settings
    )


def matching(encoder, **settings):
    return MatchingNetwork(encoder, temperature=0.2, learned_temperature=True, **settings)


def contrastive(encoder, **settings):
    return Siamese(encoder, **settings)


def hard_contrastive(encoder, **settings):
    return Siamese(encoder, pairs="hard", form="unsquared", **settings)


def triplets(encoder, **settings):
    return Siamese(encoder, objective="triplet", **settings)


def hard_triplets(encoder, **settings):
    return Siamese(encoder, objective="triplet", pairs="hard", **settings)


def logistic(encoder, **settings):
    return Siamese(encoder, objective="logistic", **settings)


EVERY = sampled_from(
    [
        prototypical,
        by_cosine,
        matching,
        contrastive,
        hard_contrastive,
        triplets,
        hard_triplets,
        logistic,
    ]
)


def mlp(seed=0):
    return reseed(MLP(4, 8, 6).double(), seed)


def episodes(n_tasks, n_way, n_shot, n_query, *, seed=0, feature=(4,)) -> Tasks:
    """Tasks of noise in which every class has its examples, in random order."""
    draw = seeded(seed)

    def examples(each):
        y = torch.arange(n_way).repeat(n_tasks, each)
        order = torch.rand(y.shape, generator=draw).argsort(-1)
        x = torch.randn(*y.shape, *feature, generator=draw, dtype=torch.float64)
        return Examples(x, y.gather(1, order))

    return Tasks(examples(n_shot), examples(n_query))


def made(kind, encoder, seed=0, **settings) -> MetricLearner:
    """The learner, all of whose parameters depend on the seed alone."""
    learner = kind(encoder, **settings).double()
    if isinstance(learner, Siamese) and learner.objective == "logistic":
        reseed(learner.head, seed)
    return learner


@given(
    kind=EVERY,
    seed=SEEDS,
    n_tasks=integers(1, 4),
    n_way=integers(2, 5),
    n_shot=integers(1, 3),
    statistics=sampled_from(["together", "query"]),
)
def test_loop_vmap_and_chunks_agree(kind, seed, n_tasks, n_way, n_shot, statistics):
    tasks = episodes(n_tasks, n_way, n_shot, 2, seed=seed)
    results = []
    for way in ({"mapping": "loop"}, {"mapping": "vmap"}, {"mapping": "vmap", "chunk_size": 2}):
        learner = made(kind, mlp(seed), statistics=statistics, **way)
        results.append((learner.losses(tasks).detach(), gradients(learner, tasks)))
    for losses, gradient in results[1:]:
        assert distance(losses, results[0][0]) < 1e-12
        assert distance(gradient, results[0][1]) < 1e-11


@given(kind=EVERY, seed=SEEDS)
def test_its_meta_gradient_is_the_slope_of_its_loss(kind, seed):
    tasks = episodes(2, 3, 2, 2, seed=seed)
    encoder = reseed(nn.Sequential(nn.Linear(4, 6), nn.Tanh()).double(), seed)
    encoder.n_out = 6  # which the logistic head asks for
    learner = made(kind, encoder, seed)
    found = gradients(learner, tasks)
    draw = seeded(seed)
    steps = {
        n: torch.randn(p.shape, generator=draw).double() for n, p in learner.named_parameters()
    }

    def loss_at(size):
        moved = {n: p.detach() + size * steps[n] for n, p in learner.named_parameters()}
        return torch.func.functional_call(learner, moved, (tasks,)).item()

    slope = (loss_at(1e-6) - loss_at(-1e-6)) / 2e-6
    along = sum(float((found[n] * steps[n]).sum()) for n in found)
    # The hinge, the hardest pair and ReLU have kinks, which a step rarely meets.
    assert abs(along - slope) < 1e-4 * max(1.0, abs(slope))


@given(kind=EVERY, seed=SEEDS, order=permutations(range(4)))
def test_renaming_the_classes_renames_the_predictions(kind, seed, order):
    support, query = episodes(1, 4, 2, 2, seed=seed).select(0)
    learner = made(kind, mlp(seed), seed)
    order = torch.tensor(order)
    before = learner.predict(support, query.x)
    after = learner.predict(Examples(support.x, order[support.y]), query.x)
    assert distance(after[:, order], before) < 1e-12


@given(kind=EVERY, seed=SEEDS, order=permutations(range(6)))
def test_the_order_of_support_examples_does_not_matter(kind, seed, order):
    support, query = episodes(1, 3, 2, 2, seed=seed).select(0)
    learner = made(kind, mlp(seed), seed)
    shuffled = Examples(support.x[order], support.y[order])
    assert distance(learner.predict(shuffled, query.x), learner.predict(support, query.x)) < 1e-12


@given(kind=EVERY, n_way=sampled_from([2, 5, 20, 60]), n_shot=integers(1, 2))
def test_one_learner_serves_any_number_of_ways_and_shots(kind, n_way, n_shot):
    tasks = episodes(2, n_way, n_shot, 1)
    learner = made(kind, mlp())
    assert learner(tasks).isfinite()
    support, query = tasks.select(0)
    scores = learner.predict(support, query.x)
    assert scores.shape == (n_way, n_way)
    assert scores.isfinite().all()


@given(kind=EVERY, seed=SEEDS)
def test_a_query_that_is_a_support_example_is_of_its_class(kind, seed):
    support, _ = episodes(1, 5, 1, 1, seed=seed).select(0)
    learner = made(kind, mlp(seed), seed)
    if kind is logistic:  # which may have learned anything, even that the unlike are alike
        with torch.no_grad():
            learner.head.weight.copy_(-learner.head.weight.abs())
    scores = learner.predict(support, support.x)
    best = scores.amax(1)
    assert distance(scores.gather(1, support.y[:, None])[:, 0], best) < 1e-12


def test_classes_may_have_unequal_numbers_of_examples():
    (x, _), (query_x, _) = random_tasks(1, 6, 5, (4,), (), classes=3).select(0)
    support = Examples(x, torch.tensor([0, 0, 0, 1, 1, 2]))
    for kind in (prototypical, by_cosine, matching, contrastive, logistic):
        scores = made(kind, mlp()).predict(support, query_x)
        assert scores.shape == (5, 3)
        assert scores.isfinite().all()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([3, 7], r"no support example of class 0, but labels up to 7"),
        ([0, 2], r"no support example of class 1, but labels up to 2"),
        ([0, 10**12], r"no support example of class 1, but labels up to 1000000000000"),
        ([-1, 0], r"labels must not be negative; support\.y holds -1"),
        ([0.0, 1.0], r"names classes: support\.y must hold one integer an example; got torch"),
        ([[0], [1]], r"names classes: support\.y must hold one integer an example"),
        ([], r"the support set is empty: nothing to compare with"),
    ],
)
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", [prototypical, matching, contrastive])
def test_labels_that_are_not_the_numbers_of_classes_are_refused(kind, labels, message):
    """Of {3, 7} another library makes NaN."""
    real = any(isinstance(label, float) for label in labels)
    y = torch.tensor(labels, dtype=torch.float64 if real else torch.long)
    support = Examples(torch.randn(len(labels), 4, generator=seeded(0)).double(), y)
    learner, query_x = made(kind, mlp()), torch.zeros(3, 4).double()
    with pytest.raises(ValueError, match=message):
        learner.predict(support, query_x)
    query = Examples(query_x[None], torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(ValueError, match=message if labels else "empty"):
        learner(Tasks(Examples(support.x[None], support.y[None]), query))


@pytest.mark.parametrize("mapping", ["loop", "vmap"])
def test_one_task_of_a_batch_without_a_class_is_named(mapping):
    tasks = episodes(3, 3, 2, 2)
    tasks.support.y[1] = torch.tensor([0, 0, 0, 2, 2, 2])
    learner = made(prototypical, mlp(), mapping=mapping)
    with pytest.raises(ValueError, match="task 1 has no support example of class 1"):
        learner(tasks)


@pytest.mark.parametrize("label", [3, -1, -100])
@pytest.mark.parametrize("kind", [prototypical, matching, contrastive])
def test_a_query_of_a_class_that_the_support_set_has_not_is_refused(kind, label):
    tasks = episodes(2, 3, 2, 2)
    tasks.query.y[1, 0] = label
    with pytest.raises(ValueError, match=r"labels must .*query\.y holds"):
        made(kind, mlp())(tasks)


def test_after_an_error_the_next_tasks_are_counted_afresh():
    learner, wrong = made(prototypical, mlp()), episodes(2, 3, 2, 2)
    wrong.query.y[0, 0] = 7
    with pytest.raises(ValueError, match="labels must"):
        learner(wrong)
    support, query = episodes(1, 5, 1, 1).select(0)
    assert learner.predict(support, query.x).shape == (5, 5)


@pytest.mark.parametrize("statistics", ["together", "query", "support"])
def test_batch_statistics_come_from_where_the_name_says(statistics):
    encoder = ConvNet(None, n_filters=4, downsampling="pool").double()
    support, query = episodes(1, 3, 2, 2, feature=(1, 28, 28)).select(0)
    learner = made(prototypical, encoder, statistics=statistics)
    z, query_z = learner.embed(support.x, query.x)
    expected = {
        "together": encoder(torch.cat([support.x, query.x])),
        "query": torch.cat([encoder(support.x), encoder(query.x)]),
        "support": encoder(torch.cat([support.x, query.x]), n_reference=6),
    }
    assert distance(torch.cat([z, query_z]), expected[statistics]) < 1e-12
    alone = learner.predict(support, query.x[:1])
    together = learner.predict(support, query.x)[:1]
    assert (distance(alone, together) < 1e-12) == (statistics == "support")


def test_with_frozen_statistics_every_query_is_answered_alone():
    encoder = ConvNet(None, n_filters=4, downsampling="pool").double()
    support, query = episodes(1, 3, 2, 2, feature=(1, 28, 28)).select(0)
    encoder.freeze_statistics(query.x)
    for statistics in ("together", "query", "support"):
        learner = made(prototypical, encoder, statistics=statistics)
        alone = learner.predict(support, query.x[:1])
        assert distance(alone, learner.predict(support, query.x)[:1]) < 1e-12


@pytest.mark.parametrize("kind", [prototypical, matching, contrastive, triplets])
def test_vmap_and_loop_agree_for_convolutions_and_evaluate_takes_both(kind):
    characters = Glyphs("validation")
    source = Episodes(characters, n_way=4, n_shot=2, n_query=2, dtype=torch.float64)
    encoder = reseed(ConvNet(None, n_filters=3, downsampling="pool").double())
    results = [
        evaluate(made(kind, encoder, mapping=mapping), source, 6, metric=accuracy, batch_size=4)
        for mapping in ("loop", "vmap")
    ]
    assert results[0].values.tolist() == results[1].values.tolist()


@compiles
@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", [prototypical, matching, contrastive, hard_triplets])
def test_the_compiled_loss_and_gradient_are_the_same(kind):
    from mlcode.engine import compiled_gradient

    tasks = episodes(2, 3, 2, 2)
    learner = made(kind, mlp())
    expected, loss = gradients(learner, tasks), learner(tasks).detach()
    assert distance(compiled_gradient(learner)(tasks), loss) < 1e-12
    assert distance({n: p.grad for n, p in learner.named_parameters()}, expected) < 1e-12


def test_predicting_leaves_the_learner_as_it_was():
    for kind in (prototypical, by_cosine, matching, logistic):
        learner = made(kind, mlp())
        before = snapshot(learner)
        support, query = episodes(1, 3, 2, 2).select(0)
        learner.predict(support, query.x)
        learner(episodes(2, 4, 1, 1))
        assert same(snapshot(learner), before)
        assert learner._n_way is None


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: PrototypicalNetwork(mlp(), distance="euclid"), ValueError, "distance must be"),
        (lambda: PrototypicalNetwork(mlp(), temperature=0.0), ValueError, "temperature must be"),
        (lambda: MatchingNetwork(mlp(), temperature="1"), TypeError, "temperature must be"),
        (lambda: MatchingNetwork(mlp(), statistics="batch"), ValueError, "statistics must be"),
        (lambda: MatchingNetwork(mlp(), statistics="support"), ValueError, "n_reference"),
        (lambda: PrototypicalNetwork(F.relu), TypeError, "must be a torch.nn.Module"),
        (
            lambda: PrototypicalNetwork(nn.Sequential(nn.BatchNorm1d(3))),
            ValueError,
            "running statistics",
        ),
        (lambda: Siamese(mlp(), objective="tripplet"), ValueError, "Did you mean 'triplet'"),
        (lambda: Siamese(mlp(), margin=-1.0), ValueError, "margin must be positive"),
        (lambda: Siamese(mlp(), form="square"), ValueError, "Did you mean 'squared'"),
        (lambda: Siamese(mlp(), pairs="easy"), ValueError, "pairs must be one of"),
        (
            lambda: Siamese(nn.Flatten(), objective="logistic"),
            ValueError,
            "does not say it; pass n_features",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_the_classes_of_a_batch_are_counted():
    assert count_classes(torch.tensor([[0, 1, 1], [1, 0, 0]])) == 2
    assert count_classes(torch.tensor([[2, 0, 1]])) == 3


@pytest.mark.parametrize("kind", [prototypical, matching, contrastive, triplets, logistic])
def test_it_learns_to_tell_clusters_apart_that_lie_along_one_of_many_axes(kind):
    """The classes differ along two of eight axes; along the others is noise, four times as wide."""

    class Clusters:
        def sample(self, n_tasks, *, generator=None, device=None):
            centre = 3 * torch.randn(n_tasks, 4, 1, 2, generator=generator)

            def examples(each):
                near = centre + 0.3 * torch.randn(n_tasks, 4, each, 2, generator=generator)
                noise = 4 * torch.randn(n_tasks, 4, each, 6, generator=generator)
                y = torch.arange(4)[:, None].expand(n_tasks, 4, each).flatten(1)
                return Examples(torch.cat([near, noise], -1).flatten(1, 2), y)

            return Tasks(examples(1), examples(3))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = kind(
            nn.Sequential(nn.Linear(8, 4, bias=False)),
            **({} if kind is not logistic else {"n_features": 4}),
        )
    before = evaluate(learner, Clusters(), 200, metric=accuracy)
    train(
        learner,
        Clusters(),
        n_iterations=300,
        n_tasks=8,
        optimizer=Adam(learner.parameters(), 0.02),
        generator=seeded(0),
    )
    after = evaluate(learner, Clusters(), 200, metric=accuracy)
    assert before.mean < 0.7
    assert after.mean > 0.8
