from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis.strategies import integers, sampled_from
from torch import nn
from torch.optim import Adam

from mlcode import Estimate, Examples, Sinusoids, Tasks, evaluate, train
from mlcode.engine import compiled_gradient
from mlcode.model_based.recurrent import RecurrentLearner
from mlcode.model_based.sequences import joined
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

CELLS = sampled_from(["gru", "lstm"])
LABELS = sampled_from([True, False])


def learner_of(cell="gru", classification=True, seed=0, **settings):
    made = RecurrentLearner(4, 3, cell=cell, n_hidden=5, classification=classification, **settings)
    return reseed(made.double(), seed)


def tasks_of(n_tasks, n_shot, n_query, classification=True, seed=0) -> Tasks:
    return random_tasks(
        n_tasks, n_shot, n_query, (4,), (3,), seed=seed, classes=3 if classification else None
    )


def first(examples, n):
    return Examples(examples.x[:n], examples.y[:n])


@given(cell=CELLS, classification=LABELS, seed=SEEDS, n_shot=integers(0, 4), n_tasks=integers(1, 3))
def test_fused_and_plain_agree_forward_backward_and_twice_backward(
    cell, classification, seed, n_shot, n_tasks
):
    tasks = tasks_of(n_tasks, n_shot, 2, classification, seed)
    found = []
    for kernel in ("fused", "plain", "auto"):
        learner = learner_of(cell, classification, seed, kernel=kernel, shuffled=False)
        weights = list(learner.parameters())
        losses = learner.losses(tasks)
        slopes = torch.autograd.grad(losses.mean(), weights, create_graph=True)
        bends = torch.autograd.grad(sum((g**3).sum() for g in slopes), weights)
        found.append([losses, *slopes, *bends])
    assert max(map(distance, found[0], found[1])) < 1e-10
    assert max(map(distance, found[0], found[2])) < 1e-10


@given(cell=CELLS, classification=LABELS, seed=SEEDS, training=sampled_from([True, False]))
def test_batch_loop_and_vmap_agree(cell, classification, seed, training):
    tasks = tasks_of(3, 2, 2, classification, seed)
    found = []
    for mapping in ("auto", "loop", "vmap"):
        learner = learner_of(cell, classification, seed, mapping=mapping, shuffled=False)
        learner.train(training)
        found.append((learner.losses(tasks), gradients(learner, tasks)))
    for losses, gradient in found[1:]:
        assert distance(losses, found[0][0]) < 1e-12
        assert distance(gradient, found[0][1]) < 1e-11


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gradients_with_respect_to_weights_of_its_own_for_each_task(cell):
    """`vmap` of `grad` over weights, as for a learner that is adapted by gradient steps."""
    learner, tasks = learner_of(cell, False, shuffled=False), tasks_of(2, 2, 2, False)
    named = {name: p.detach() for name, p in learner.named_parameters()}
    weights = {name: torch.stack([p, 1.1 * p]) for name, p in named.items()}

    def loss(own, *task):
        many = Tasks(*(Examples(part.x[None], part.y[None]) for part in task))
        return torch.func.functional_call(learner, own, (many,))

    mapped = torch.func.vmap(torch.func.grad(loss))(weights, *tasks)
    for i in range(2):
        one = {name: w[i] for name, w in weights.items()}
        alone = torch.func.grad(loss)(one, *tasks.select(i))
        assert distance({name: g[i] for name, g in mapped.items()}, alone) < 1e-12


@given(cell=CELLS, seed=SEEDS, order=sampled_from([[0, 1, 2], [2, 0, 1], [1]]))
def test_the_state_is_reset_at_each_task(cell, seed, order):
    """A task's loss is the same whatever was read before or beside it."""
    learner, tasks = learner_of(cell, seed=seed, shuffled=False), tasks_of(3, 3, 2, seed=seed)
    together = learner.losses(tasks)
    again = learner.losses(tasks.select(torch.tensor(order)))
    assert distance(again, together[order]) < 1e-12
    assert same(set(learner.state_dict()), set(snapshot(learner)))  # no state among the weights


@given(cell=CELLS, classification=LABELS, seed=SEEDS, n=integers(1, 4))
def test_predictions_after_each_prefix_are_those_on_truncated_support_sets(
    cell, classification, seed, n
):
    tasks = tasks_of(2, n, 2, classification, seed)
    support, query = tasks.select(0)
    learner = learner_of(cell, classification, seed)
    prefixes = learner.predict_prefixes(support, query.x)
    alone = [learner.predict(first(support, k), query.x) for k in range(n + 1)]
    assert distance(prefixes, torch.stack(alone)) < 1e-12
    tasks = Tasks(
        Examples(support.x[None], support.y[None]), Examples(query.x[None], query.y[None])
    )
    many = learner.predict_prefixes(tasks.support, tasks.query.x)
    assert distance(many[0], prefixes) < 1e-12


@given(cell=CELLS, classification=LABELS, seed=SEEDS, n=integers(1, 4))
def test_one_pass_predicts_each_example_as_the_query_of_those_before_it(
    cell, classification, seed, n
):
    support, _ = tasks_of(1, n, 1, classification, seed).select(0)
    learner = learner_of(cell, classification, seed)
    together = learner.predictions(support)
    assert distance(learner.head(learner.hidden(support)), together) < 1e-12
    for step in range(n):
        alone = learner.predict(first(support, step), support.x[step : step + 1])
        assert distance(together[step : step + 1], alone) < 1e-12


@given(cell=CELLS, seed=SEEDS, step=integers(0, 3))
def test_a_hidden_state_knows_its_input_and_the_targets_before_and_no_more(cell, seed, step):
    (x, y), _ = tasks_of(1, 4, 1, False, seed).select(0)
    learner = learner_of(cell, False, seed)
    other = y.clone()
    other[step] += 1
    before, after = learner.hidden(Examples(x, y)), learner.hidden(Examples(x, other))
    assert distance(before[: step + 1], after[: step + 1]) < 1e-12
    assert all(distance(a, b) > 1e-9 for a, b in zip(before[step + 1 :], after[step + 1 :]))


def test_by_hand_with_one_unit():
    """A GRU of one unit that reads two examples, written out with numbers."""
    learner = RecurrentLearner(1, n_hidden=1).double()
    with torch.no_grad():
        for p in learner.parameters():
            p.fill_(0.5)
    support = Examples(torch.tensor([[1.0], [2.0]]).double(), torch.tensor([[3.0], [4.0]]).double())
    h, sigmoid = torch.zeros(()).double(), torch.sigmoid
    predicted = []
    for x, y in [(1.0, 0.0), (2.0, 3.0), (5.0, 4.0)]:  # each x with the y before it
        inputs, fed_back = torch.tensor(0.5 * x + 0.5 * y + 0.5), 0.5 * h + 0.5
        gate = sigmoid(inputs + fed_back)  # reset and update have the same weights here
        h = (1 - gate) * torch.tanh(inputs + gate * fed_back) + gate * h
        predicted.append(0.5 * h + 0.5)
    assert distance(learner.predictions(support)[:, 0], torch.stack(predicted[:2])) < 1e-7
    answer = learner.predict(support, torch.tensor([[5.0]]).double())
    assert distance(answer[0, 0], predicted[2]) < 1e-7


def test_training_draws_one_of_all_orders_and_evaluation_none():
    tasks, learner = tasks_of(1, 1, 1), learner_of()
    learner.shuffled = False
    sequence = joined(*tasks, axis=1)
    both = [Examples(sequence.x[:, order], sequence.y[:, order]) for order in ([0, 1], [1, 0])]
    expected = [learner.loss(learner.predictions(s)[0], s.y[0]).item() for s in both]
    learner.shuffled = True
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = {round(learner(tasks).item(), 9) for _ in range(20)}
    assert drawn == {round(loss, 9) for loss in expected}
    learner.eval()
    state = torch.random.get_rng_state()
    assert learner(tasks).item() == learner(tasks).item()
    assert same(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("classification", [True, False])
def test_without_support_examples_or_queries_and_with_one_it_answers(cell, classification):
    support, query = tasks_of(1, 1, 2, classification).select(0)
    learner = learner_of(cell, classification)
    blank = learner.predict(first(support, 0), query.x)
    assert blank.shape == (2, 3)
    assert blank.isfinite().all()
    assert distance(learner.predict(support, query.x), blank) > 1e-6
    assert learner.predict(support, query.x[:0]).shape == (0, 3)
    assert learner.predict_prefixes(first(support, 0), query.x).shape == (1, 2, 3)


@pytest.mark.usefixtures("unchecked")
def test_a_sequence_of_no_examples_is_refused():
    support, _ = tasks_of(1, 1, 1).select(0)
    with pytest.raises(ValueError, match="the sequence is empty: there is nothing to predict"):
        learner_of().predictions(first(support, 0))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("label", [3, -1, -100])
@pytest.mark.parametrize("mapping", ["auto", "vmap"])
def test_a_label_outside_the_classes_is_refused(label, mapping):
    tasks, learner = tasks_of(2, 3, 2), learner_of(mapping=mapping)
    tasks.support.y[1, 0] = label
    with pytest.raises(ValueError, match=r"labels must lie in 0 … 2; support\.y holds"):
        learner(tasks)
    support, query = tasks.select(1)
    for call in (learner.predict, learner.predict_prefixes):
        with pytest.raises(ValueError, match=r"labels must lie in 0 … 2; support\.y holds"):
            call(support, query.x)


@pytest.mark.usefixtures("unchecked")
def test_sets_that_do_not_fit_the_learner_are_refused():
    (x, y), query = tasks_of(1, 3, 2).select(0)
    learner, regression = learner_of(), learner_of(classification=False)
    with pytest.raises(ValueError, match="needs one integer label an example; got y of shape"):
        learner.predict(Examples(x, y.double()), query.x)
    with pytest.raises(ValueError, match=r"needs one target per input; got x of shape \(3, 4\)"):
        learner.predict(Examples(x, y[:2]), query.x)
    for bad_x, bad_query in ((x[:, :3], query.x), (x, query.x[:, :3])):
        with pytest.raises(ValueError, match=r"was made for 4 feature\(s\); got 3"):
            learner.predict(Examples(bad_x, y), bad_query)
    with pytest.raises(ValueError, match="expected one floating dtype; got"):
        learner.predict(Examples(x.float(), y), query.x)
    with pytest.raises(ValueError, match=r"expected 3 target\(s\) an example; got 2"):
        regression.predict(Examples(x, torch.zeros(3, 2).double()), query.x)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"n_hidden": 0}, ValueError, "n_hidden must be at least 1; got 0"),
        ({"n_hidden": 2.5}, TypeError, "n_hidden must be an integer"),
        ({"cell": "rnn"}, ValueError, "cell must be one of 'gru', 'lstm'; got 'rnn'"),
        ({"cell": "GRU"}, ValueError, "cell must be one of"),
        ({"kernel": "plane"}, ValueError, "Did you mean 'plain'"),
        ({"n_out": 0}, ValueError, "n_out must be at least 1"),
        ({"encoder": len}, TypeError, r"encoder must be a torch\.nn\.Module"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        RecurrentLearner(4, **settings)


@pytest.mark.usefixtures("unchecked")
def test_images_are_read_through_an_encoder():
    x = torch.rand(2, 3, 1, 28, 28, generator=seeded(0))
    y = torch.tensor([[0, 1, 2], [2, 1, 0]])
    learner = RecurrentLearner(
        16, 3, classification=True, encoder=nn.Sequential(nn.AvgPool2d(7), nn.Flatten())
    )
    assert learner.predict(Examples(x, y), x).shape == (2, 3, 3)
    pixels = RecurrentLearner(784, 3, classification=True)
    assert pixels.predict(Examples(x, y), x).shape == (2, 3, 3)


class Mean(RecurrentLearner):
    """Answers every query with the mean of the support targets: what one would try first."""

    def __init__(self):
        super().__init__(1, n_hidden=1)

    def predict(self, support, query_x):
        return support.y.mean(-2, keepdim=True).expand_as(query_x)


def test_it_learns_to_read_sinusoids():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = RecurrentLearner(1, n_hidden=32)
        source = Sinusoids(n_shot=5, n_query=5)
        optimizer = Adam(learner.parameters(), 5e-3)
        train(
            learner, source, n_iterations=250, n_tasks=32, optimizer=optimizer, generator=seeded(0)
        )
    found, mean = (evaluate(each, source, 300) for each in (learner, Mean()))
    gain = Estimate.of(mean.values - found.values)  # on the same tasks
    assert gain.mean > gain.interval + 0.1 * mean.mean


@compiles
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("classification", [True, False])
def test_the_compiled_loss_and_gradient_are_the_same(classification, monkeypatch):
    """Compiled as far as the graph, all but the C++; the fused kernel would break it in two."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    tasks = tasks_of(2, 2, 2, classification)
    learner = learner_of("lstm", classification, shuffled=False)
    loss, gradient = learner(tasks).detach(), gradients(learner, tasks)
    assert distance(compiled_gradient(learner)(tasks), loss) < 1e-12
    assert distance({name: p.grad for name, p in learner.named_parameters()}, gradient) < 1e-10


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_on_a_gpu_the_kernels_agree_and_the_plain_one_has_second_derivatives(cell):
    tasks = tasks_of(3, 4, 2, False).to("cuda")
    found = {}
    for kernel in ("auto", "plain"):
        learner = learner_of(cell, False, kernel=kernel, shuffled=False).to("cuda")
        found[kernel] = (learner.losses(tasks), gradients(learner, tasks))
        learner.eval()
        gradients(learner, tasks)  # which cuDNN refuses in evaluation mode
        learner.train()
        slopes = torch.autograd.grad(learner(tasks), list(learner.parameters()), create_graph=True)
        if kernel == "plain":
            sum((g**2).sum() for g in slopes).backward()
    assert distance(found["auto"][0], found["plain"][0]) < 1e-10
    assert distance(found["auto"][1], found["plain"][1]) < 1e-10
