"""What holds for every learner that reads a sequence: memory, LSTM and transformer."""

import pytest
import torch
from hypothesis import given
from hypothesis.strategies import integers, sampled_from
from torch import nn

from mlcode import ConvNet, Episodes, Examples, Glyphs, Tasks, evaluate
from mlcode.model_based import InContextLearner, MemoryLearner
from mlcode.model_based.presentations import (
    accuracy_by_presentation,
    draw_sequences,
    presentations,
)
from mlcode.model_based.sequences import joined, reordered
from tests.helpers import SEEDS, distance, gradients, random_tasks, reseed, same, seeded, snapshot


def memory(classification, **settings):
    return MemoryLearner(
        4,
        3,
        n_slots=3,
        width=4,
        n_heads=2,
        n_hidden=5,
        classification=classification,
        **settings,
    )


def lstm(classification, **settings):
    return MemoryLearner(4, 3, n_slots=0, n_hidden=5, classification=classification, **settings)


def causal(classification, **settings):
    return InContextLearner(
        4, 3, width=8, n_layers=2, n_heads=2, classification=classification, **settings
    )


def whole_set(classification, **settings):
    return causal(classification, causal=False, **settings)


KINDS = [memory, lstm, causal, whole_set]
IN_ORDER = KINDS[:3]
CLASSIFICATION = sampled_from([True, False])


def made(kind, classification=True, seed=0, **settings):
    return reseed(kind(classification, **settings).double(), seed)


def tasks_of(n_tasks, n_shot, n_query, classification=True, seed=0) -> Tasks:
    return random_tasks(
        n_tasks, n_shot, n_query, (4,), (3,), seed=seed, classes=3 if classification else None
    )


@given(
    kind=sampled_from(KINDS),
    classification=CLASSIFICATION,
    seed=SEEDS,
    n_tasks=integers(1, 3),
    n_shot=integers(0, 4),
    training=sampled_from([True, False]),
)
def test_batch_loop_and_vmap_agree(kind, classification, seed, n_tasks, n_shot, training):
    tasks = tasks_of(n_tasks, n_shot, 2, classification, seed)
    results = []
    for mapping in ("auto", "loop", "vmap"):
        learner = made(kind, classification, seed, mapping=mapping, shuffled=False)
        learner.train(training)
        results.append((learner.losses(tasks).detach(), gradients(learner, tasks)))
    for losses, gradient in results[1:]:
        assert distance(losses, results[0][0]) < 1e-12
        assert distance(gradient, results[0][1]) < 1e-11


@given(kind=sampled_from(KINDS), classification=CLASSIFICATION, seed=SEEDS)
def test_its_meta_gradient_is_the_slope_of_its_loss(kind, classification, seed):
    tasks = tasks_of(2, 3, 2, classification, seed)
    learner = made(kind, classification, seed, shuffled=False)
    found, draw = gradients(learner, tasks), seeded(seed)
    steps = {
        n: torch.randn(p.shape, generator=draw).double() for n, p in learner.named_parameters()
    }

    def loss_at(size):
        moved = {n: p.detach() + size * steps[n] for n, p in learner.named_parameters()}
        return torch.func.functional_call(learner, moved, (tasks,)).item()

    slope = (loss_at(1e-6) - loss_at(-1e-6)) / 2e-6
    along = sum(float((found[n] * steps[n]).sum()) for n in found)
    # Ranks of usage and ReLU have kinks, which a step rarely meets.
    assert abs(along - slope) < 1e-4 * max(1.0, abs(slope))


@given(kind=sampled_from(IN_ORDER), classification=CLASSIFICATION, seed=SEEDS, n=integers(1, 5))
def test_one_pass_predicts_each_example_as_the_query_of_those_before_it(
    kind, classification, seed, n
):
    support, _ = tasks_of(1, n, 1, classification, seed).select(0)
    learner = made(kind, classification, seed)
    together = learner.predictions(support)
    for step in range(n):
        before = Examples(support.x[:step], support.y[:step])
        alone = learner.predict(before, support.x[step : step + 1])
        assert distance(together[step : step + 1], alone) < 1e-12


@given(kind=sampled_from(IN_ORDER), seed=SEEDS, step=integers(0, 4))
def test_a_prediction_knows_neither_its_own_target_nor_what_comes_later(kind, seed, step):
    support, other = tasks_of(1, 5, 5, False, seed).select(0)
    learner = made(kind, False, seed)
    later = torch.arange(5) > step
    x = torch.where(later[:, None], other.x, support.x)
    y = torch.where((later | (torch.arange(5) == step))[:, None], other.y, support.y)
    before, after = learner.predictions(support), learner.predictions(Examples(x, y))
    assert distance(before[: step + 1], after[: step + 1]) < 1e-12


@given(kind=sampled_from(KINDS), seed=SEEDS, n_shot=integers(0, 3))
def test_queries_do_not_see_each_other(kind, seed, n_shot):
    support, query = tasks_of(1, n_shot, 4, True, seed).select(0)
    learner = made(kind, True, seed)
    together = learner.predict(support, query.x)
    alone = torch.cat([learner.predict(support, x[None]) for x in query.x])
    assert distance(together, alone) < 1e-12


@given(kind=sampled_from(KINDS), seed=SEEDS)
def test_only_the_set_reader_is_blind_to_the_order_of_the_support_set(kind, seed):
    support, query = tasks_of(1, 4, 2, True, seed).select(0)
    learner = made(kind, True, seed)
    other = Examples(support.x.flip(0), support.y.flip(0))
    apart = distance(learner.predict(other, query.x), learner.predict(support, query.x))
    assert (apart < 1e-12) == (kind is whole_set)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classification", [True, False])
def test_without_support_examples_or_queries_and_with_one_it_answers(kind, classification):
    support, query = tasks_of(1, 1, 2, classification).select(0)
    none = Examples(support.x[:0], support.y[:0])
    learner = made(kind, classification)
    blank = learner.predict(none, query.x)
    assert blank.shape == (2, 3)
    assert blank.isfinite().all()
    assert distance(learner.predict(support, query.x), blank) > 1e-6
    assert learner.predict(support, query.x[:0]).shape == (0, 3)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", IN_ORDER)
def test_a_sequence_of_no_examples_is_refused(kind):
    support, _ = tasks_of(1, 1, 1).select(0)
    with pytest.raises(ValueError, match="the sequence is empty: there is nothing to predict"):
        made(kind).predictions(Examples(support.x[:0], support.y[:0]))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("label", [3, -1, -100])
def test_a_label_outside_the_classes_is_refused(kind, label):
    tasks = tasks_of(2, 3, 2)
    tasks.support.y[1, 0] = label
    learner = made(kind)
    with pytest.raises(ValueError, match=r"labels must lie in 0 … 2; support\.y holds"):
        learner(tasks)
    support, query = tasks.select(1)
    with pytest.raises(ValueError, match=r"labels must lie in 0 … 2; support\.y holds"):
        learner.predict(support, query.x)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", KINDS)
def test_sets_that_do_not_fit_the_learner_are_refused(kind):
    (x, y), query = tasks_of(1, 3, 2).select(0)
    learner = made(kind)
    with pytest.raises(ValueError, match=r"needs one integer label an example; got y of shape"):
        learner.predict(Examples(x, y.double()), query.x)
    with pytest.raises(ValueError, match=r"needs one target per input; got x of shape \(3, 4\)"):
        learner.predict(Examples(x, y[:2]), query.x)
    with pytest.raises(ValueError, match=r"was made for 4 feature\(s\); got 3"):
        learner.predict(Examples(x[:, :3], y), query.x[:, :3])
    with pytest.raises(ValueError, match=r"expected one floating dtype; got"):
        learner.predict(Examples(x.float(), y), query.x)
    regression = made(kind, False)
    with pytest.raises(ValueError, match=r"expected 3 target\(s\) an example; got 2"):
        regression.predict(Examples(x, torch.zeros(3, 2).double()), query.x)
    with pytest.raises(ValueError, match=r"needs 3 real target\(s\) an example"):
        regression.predict(Examples(x, y), query.x)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: MemoryLearner(0, 3), ValueError, "n_features must be at least 1"),
        (lambda: MemoryLearner(4, 3, n_slots=-1), ValueError, "n_slots must be at least 0"),
        (lambda: MemoryLearner(4, 3, n_heads=0), ValueError, "n_heads must be at least 1"),
        (lambda: MemoryLearner(4, 3, decay=1.0), ValueError, "decay must be at least 0 and below"),
        (lambda: MemoryLearner(4, 3, width=1.5), TypeError, "width must be an integer"),
        (lambda: InContextLearner(4, n_layers=0), ValueError, "n_layers must be at least 1"),
        (lambda: InContextLearner(4, width=9), ValueError, "width must be a multiple of n_heads"),
        (lambda: MemoryLearner(4, 3, encoder=len), TypeError, "encoder must be a torch.nn.Module"),
        (
            lambda: MemoryLearner(64, 3, encoder=ConvNet(None)),
            ValueError,
            "would mix each input with those that come after it",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_set_reader_has_no_predictions_in_one_pass():
    support, _ = tasks_of(1, 3, 1).select(0)
    with pytest.raises(ValueError, match="use predict on each prefix"):
        made(whole_set).predictions(support)


@pytest.mark.parametrize("kind", [memory, lstm])
def test_training_draws_an_order_from_torchs_generator_and_evaluation_does_not(kind):
    tasks, learner = tasks_of(2, 4, 2), made(kind, shuffled=True)
    with torch.random.fork_rng():
        losses = [learner(tasks).item() for _ in range(3)]
    assert len(set(losses)) == 3
    learner.eval()
    state = torch.random.get_rng_state()
    assert learner(tasks).item() == learner(tasks).item()
    assert same(torch.random.get_rng_state(), state)


def test_evaluate_takes_them_and_leaves_them_as_they_were():
    source = Episodes(Glyphs("validation"), n_way=3, n_shot=1, n_query=1)
    encoder = nn.Sequential(nn.AvgPool2d(7), nn.Flatten())
    for kind in (MemoryLearner, InContextLearner):
        learner = kind(16, 3, classification=True, encoder=encoder)
        before = snapshot(learner)
        assert evaluate(learner, source, 4).values.shape == (4,)
        assert same(snapshot(learner), before)


def test_presentations_are_counted_for_each_class():
    y = torch.tensor([[0, 1, 0, 0, 1], [2, 2, 2, 1, 2]])
    assert presentations(y).tolist() == [[1, 1, 2, 3, 2], [1, 2, 3, 1, 4]]


@given(seed=SEEDS, n_way=integers(2, 4), n_shot=integers(1, 3))
def test_a_sequence_holds_every_example_of_its_task_once(seed, n_way, n_shot):
    source = Episodes(Glyphs("validation"), n_way, n_shot, n_query=2)
    sequence = draw_sequences(source, 2, generator=seeded(seed))
    whole = joined(*source.sample(2, generator=seeded(seed)), axis=1)
    assert sequence.y.shape == (2, n_way * (n_shot + 2))
    for task in range(2):
        rows, expected = (
            sorted(zip(part.x[task].flatten(1).sum(1).tolist(), part.y[task].tolist()))
            for part in (sequence, whole)
        )
        assert rows == expected


def test_reordering_moves_inputs_and_targets_together():
    x = torch.arange(6.0).reshape(1, 3, 2)
    moved = reordered(Examples(x, torch.tensor([[0, 1, 2]])), torch.tensor([[2, 0, 1]]))
    assert moved.y.tolist() == [[2, 0, 1]]
    assert moved.x.tolist() == [[[4, 5], [0, 1], [2, 3]]]


class OneHotClasses:
    """Tasks whose classes can be told apart for sure, called by names drawn for each task."""

    n_way = 4

    def sample(self, n_tasks, *, generator=None, device=None):
        name = torch.rand(n_tasks, self.n_way, generator=generator).argsort(-1)
        shown = torch.arange(self.n_way).expand(n_tasks, self.n_way)
        x = torch.eye(self.n_way)[shown]
        many = Examples(x.repeat(1, 2, 1), name.repeat(1, 2))
        return Tasks(many, Examples(x, name))


class Remembers(MemoryLearner):
    """Knows for sure what it was told, and guesses the rest: among all names or the unused."""

    def __init__(self, knows_whats_left):
        super().__init__(4, 4, n_slots=0)
        self.knows_whats_left = knows_whats_left

    def predictions(self, sequence):
        kind = sequence.x.argmax(-1)
        scores = 1e-3 * torch.rand(*kind.shape, 4, generator=seeded(0))
        for task, step in torch.cartesian_prod(*map(torch.arange, kind.shape)).tolist():
            for before in range(step):
                label = sequence.y[task, before]
                alike = kind[task, before] == kind[task, step]
                if alike or self.knows_whats_left:
                    scores[task, step, label] = 1.0 if alike else -1.0
        return scores


def test_with_names_drawn_for_each_task_the_first_presentation_is_a_guess():
    chance, best = (
        accuracy_by_presentation(Remembers(knows), OneHotClasses(), 400) for knows in (False, True)
    )
    assert [len(chance), len(best)] == [3, 3]
    assert abs(chance[0].mean - 1 / 4) < 1.5 * chance[0].interval
    assert abs(best[0].mean - (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4) < 1.5 * best[0].interval
    assert {e.mean for e in (*chance[1:], *best[1:])} == {1.0}


def test_accuracy_by_presentation_does_not_depend_on_the_batch_and_is_refused_elsewhere():
    source = OneHotClasses()
    learner = MemoryLearner(4, 4, n_slots=2)
    one, other = (accuracy_by_presentation(learner, source, 10, batch_size=n) for n in (3, 10))
    assert [e.mean for e in one] == [e.mean for e in other]
    with pytest.raises(ValueError, match="this learner is for regression"):
        accuracy_by_presentation(MemoryLearner(4, 4, classification=False), source, 2)

    class Uneven(OneHotClasses):
        def sample(self, n_tasks, *, generator=None, device=None):
            support, query = super().sample(n_tasks, generator=generator)
            return Tasks(support, Examples(query.x[:, :1], query.y[:, :1]))

    with pytest.raises(ValueError, match="as often as every other"):
        accuracy_by_presentation(learner, Uneven(), 2)
