import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import integers, permutations
from torch import nn

from mlcode import MAML, MLP, Examples, Sinusoids
from tests.helpers import (
    SEEDS,
    distance,
    gradients,
    network,
    random_tasks,
    same,
    seeded,
    smooth_net,
    snapshot,
)

TASKS = random_tasks(3, 4, 5, (2,), (1,))
SUPPORT, QUERY = TASKS.select(0)


def shared_net():
    """A trunk, a norm and a head, to adapt in part."""
    net = nn.Sequential()
    net.trunk = nn.Linear(2, 6)
    net.norm = nn.LayerNorm(6)
    net.act = nn.Tanh()
    net.head = nn.Linear(6, 1)
    return net.double()


@given(seed=SEEDS)
def test_zero_steps_are_the_model_itself(seed):
    model, tasks = smooth_net(2, seed=seed), random_tasks(2, 3, 4, (2,), (1,), seed=seed)
    learner = MAML(model, n_inner_steps=0)
    support, query = tasks.select(1)
    assert torch.equal(learner.predict(support, query.x), model(query.x))
    assert all(learner.adapt(support)[name] is p for name, p in model.named_parameters())


def test_zero_steps_need_no_support_set_and_steps_do():
    empty = Examples(torch.zeros(0, 2).double(), torch.zeros(0, 1).double())
    model = smooth_net(2)
    assert torch.equal(MAML(model, n_inner_steps=0).predict(empty, QUERY.x), model(QUERY.x))
    with pytest.raises(ValueError, match="the support set is empty: nothing to adapt to"):
        MAML(model).predict(empty, QUERY.x)


def test_one_step_by_hand():
    """y = wx with w = 1 on the points (1, 3), (2, 2): slope −2 and, as x is 1 and 2, w′ = 1.2."""
    model = network(nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    x, y = torch.tensor([[[1.0], [2.0]], [[3.0], [2.0]]], dtype=torch.float64)
    adapted = MAML(model, inner_lr=0.1).adapt(Examples(x, y))["0.weight"]
    assert float(adapted.detach()) == pytest.approx(1.2, abs=1e-15)


@given(seed=SEEDS, order=permutations(range(4)))
def test_the_order_of_support_examples_does_not_matter(seed, order):
    support, query = random_tasks(1, 4, 5, (2,), (1,), seed=seed).select(0)
    learner = MAML(smooth_net(2, seed=seed), n_inner_steps=3)
    shuffled = Examples(support.x[order], support.y[order])
    assert distance(learner.predict(shuffled, query.x), learner.predict(support, query.x)) < 1e-12


@given(seed=SEEDS, order=permutations(range(3)))
def test_renaming_classes_and_the_heads_outputs_alike_renames_the_predictions(seed, order):
    support, query = random_tasks(1, 6, 5, (2,), (), seed=seed, classes=3).select(0)
    model, renamed = smooth_net(2, 3, seed=seed), smooth_net(2, 3, seed=seed)
    new_name = torch.argsort(torch.tensor(order))
    with torch.no_grad():
        renamed[-1].weight.copy_(model[-1].weight[order])
        renamed[-1].bias.copy_(model[-1].bias[order])
    settings = {"inner_lr": 0.3, "n_inner_steps": 3, "loss_fn": F.cross_entropy}
    prediction = MAML(model, **settings).predict(support, query.x)
    other = MAML(renamed, **settings).predict(Examples(support.x, new_name[support.y]), query.x)
    assert distance(other, prediction[:, order]) < 1e-12


@given(n_steps=integers(0, 4))
def test_adapting_in_two_parts_is_adapting_at_once(n_steps):
    learner = MAML(smooth_net(2))
    first = learner.adapt(SUPPORT, n_steps)
    model = smooth_net(2)
    model.load_state_dict(first)
    assert distance(MAML(model).adapt(SUPPORT, 3), learner.adapt(SUPPORT, n_steps + 3)) < 1e-12


def test_training_and_evaluation_mode_take_their_own_numbers_of_steps():
    learner = MAML(smooth_net(2), n_inner_steps=1, n_test_steps=4)
    assert same(learner.adapt(SUPPORT), learner.adapt(SUPPORT, n_steps=1))
    learner.eval()
    assert same(learner.adapt(SUPPORT), learner.adapt(SUPPORT, n_steps=4))
    untold = MAML(smooth_net(2), n_inner_steps=3).eval()
    assert same(untold.adapt(SUPPORT), untold.adapt(SUPPORT, n_steps=3))


def test_inner_steps_lower_the_support_loss():
    learner = MAML(smooth_net(2), inner_lr=0.05)
    losses = []
    for n_steps in range(6):
        adapted = torch.func.functional_call(
            learner.model, learner.adapt(SUPPORT, n_steps), (SUPPORT.x,)
        )
        losses.append(float(F.mse_loss(adapted, SUPPORT.y).detach()))
    assert losses == sorted(losses, reverse=True)


def test_predicting_and_adapting_leave_the_model_as_it_was():
    model = smooth_net(2)
    before, learner = snapshot(model), MAML(model, n_inner_steps=3)
    learner.predict(SUPPORT, QUERY.x)
    learner.adapt(SUPPORT)
    learner(TASKS)
    assert same(snapshot(model), before)
    assert all(p.grad is None for p in model.parameters())


def test_only_matching_parameters_adapt_and_all_are_meta_learned():
    model = shared_net()
    learner = MAML(model, inner_lr=0.1, n_inner_steps=2, adapted=["head.*", "norm.bias"])
    adapted = learner.adapt(SUPPORT)
    assert set(adapted) == {"head.weight", "head.bias", "norm.bias"}
    theta = dict(model.named_parameters())
    assert all(distance(adapted[name], theta[name]) > 1e-6 for name in adapted)
    assert all(float(g.abs().max()) > 1e-6 for g in gradients(learner, TASKS).values())


def test_a_partly_adapted_learner_equals_one_whose_other_slopes_are_zero():
    """The gradient through the part that adapts, against plain autograd."""
    model = shared_net()
    learner = MAML(model, inner_lr=0.1, adapted="head.*")
    found = gradients(learner, TASKS.select(slice(0, 1)))
    features = model.act(model.norm(model.trunk(SUPPORT.x)))
    w, b = model.head.weight, model.head.bias
    slopes = torch.autograd.grad(
        F.mse_loss(features @ w.T + b, SUPPORT.y), (w, b), create_graph=True
    )
    w, b = (p - 0.1 * slope for p, slope in zip((w, b), slopes))
    loss = F.mse_loss(model.act(model.norm(model.trunk(QUERY.x))) @ w.T + b, QUERY.y)
    names, parameters = zip(*model.named_parameters())
    expected = dict(zip(names, torch.autograd.grad(loss, parameters)))
    assert distance({name[len("model.") :]: g for name, g in found.items()}, expected) < 1e-12


def test_a_pattern_that_matches_nothing_is_refused_with_the_names_there_are():
    message = r"adapted: \['tail\.\*'\] matches no .*; the model has trunk.weight, trunk.bias, norm"
    with pytest.raises(ValueError, match=message):
        MAML(shared_net(), adapted=["head.*", "tail.*"])
    with pytest.raises(ValueError, match="matches no trainable parameter"):
        MAML(shared_net(), adapted=[])


def test_frozen_parameters_are_constants_and_no_pattern_finds_them():
    model = shared_net()
    model.trunk.requires_grad_(False)
    before, learner = snapshot(model.trunk), MAML(model, n_inner_steps=2)
    assert not any(name.startswith("trunk") for name in learner.adapt(SUPPORT))
    learner(TASKS).backward()
    assert model.trunk.weight.grad is None
    assert model.head.weight.grad is not None
    assert same(snapshot(model.trunk), before)
    with pytest.raises(ValueError, match=r"trunk.* matches no trainable parameter"):
        MAML(model, adapted="trunk.*")


@pytest.mark.parametrize("mapping", ["vmap", "loop"])
@pytest.mark.parametrize("first_order", [False, True])
def test_adaptation_works_where_no_outer_gradient_is_wanted(mapping, first_order):
    learner = MAML(smooth_net(2), n_inner_steps=2, mapping=mapping, first_order=first_order)
    with torch.no_grad():
        quiet = learner.losses(TASKS)
    assert not quiet.requires_grad
    assert distance(quiet, learner.losses(TASKS)) < 1e-15


def test_any_loss_cross_entropy_with_integer_labels_included():
    tasks = random_tasks(3, 6, 5, (2,), (), classes=4)
    learner = MAML(smooth_net(2, 4), inner_lr=0.5, loss_fn=F.cross_entropy)
    support, query = tasks.select(0)
    by_hand = F.cross_entropy(learner.predict(support, query.x), query.y)
    assert distance(learner.losses(tasks)[0], by_hand) < 1e-12
    learner(tasks).backward()


class Tied(nn.Module):
    """An autoencoder whose decoder is its encoder's transpose, kept as one parameter twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False).double()
        self.second = nn.Linear(3, 3, bias=False).double()
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


@pytest.mark.parametrize("mapping", ["vmap", "loop"])
def test_tied_weights_stay_tied_while_they_adapt(mapping):
    model, tasks = Tied(), random_tasks(2, 4, 5, (3,), (3,))
    learner = MAML(model, inner_lr=0.1, n_inner_steps=2, mapping=mapping)
    w = model.first.weight
    losses = []
    for support, query in map(tasks.select, range(2)):
        fast = w
        for _ in range(2):
            loss = F.mse_loss(torch.tanh(support.x @ fast.T) @ fast.T, support.y)
            fast = fast - 0.1 * torch.autograd.grad(loss, fast, create_graph=True)[0]
        losses.append(F.mse_loss(torch.tanh(query.x @ fast.T) @ fast.T, query.y))
    expected = torch.autograd.grad(torch.stack(losses).mean(), w)[0]
    assert distance(gradients(learner, tasks)["model.first.weight"], expected) < 1e-12


def test_batch_norm_that_keeps_running_statistics_is_refused_and_stateless_accepted():
    with pytest.raises(ValueError, match=r"model.1 keeps running statistics.*track_running"):
        MAML(nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)))
    stateless = nn.BatchNorm1d(4, track_running_stats=False)
    net = network(nn.Linear(2, 4), stateless, nn.Linear(4, 1))
    vmap, loop = (MAML(net, mapping=way).losses(TASKS) for way in ("vmap", "loop"))
    assert distance(vmap, loop) < 1e-12


def test_meta_learning_needs_no_inner_learning_rate_of_a_certain_type_of_number():
    one = MAML(smooth_net(2), inner_lr=1)
    other = MAML(smooth_net(2), inner_lr=np.float64(1.0))
    assert torch.equal(one(TASKS), other(TASKS))


@pytest.mark.parametrize("bad", [0.0, -0.01, float("nan"), float("inf")])
def test_an_inner_learning_rate_is_positive_and_finite(bad):
    with pytest.raises(ValueError, match=f"inner_lr must be positive and finite; got {bad}"):
        MAML(MLP(1, 1), inner_lr=bad)


@pytest.mark.parametrize("name", ["n_inner_steps", "n_test_steps"])
def test_steps_are_not_negative(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 0; got -1"):
        MAML(MLP(1, 1), **{name: -1})
    with pytest.raises(ValueError, match="n_steps must be at least 0; got -2"):
        MAML(smooth_net(2)).adapt(SUPPORT, -2)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inner_lr": "0.1"}, r"inner_lr must be a number; got '0.1' \(str\)"),
        ({"inner_lr": torch.tensor(0.1)}, r"inner_lr must be a number; got tensor\(0.1"),
        ({"n_inner_steps": 1.0}, r"n_inner_steps must be an integer; got 1.0 \(float\)"),
        ({"n_test_steps": "5"}, r"n_test_steps must be an integer; got '5' \(str\)"),
        ({"adapted": [0]}, r"adapted must be a name pattern or several; got \(0,\)"),
    ],
)
def test_settings_of_a_wrong_type_are_refused_by_type(arguments, message):
    with pytest.raises(TypeError, match=message):
        MAML(MLP(1, 1), **arguments)


@pytest.mark.usefixtures("unchecked")
def test_a_function_is_no_module():
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module; got function"):
        MAML(lambda x: x)


def test_its_repr_tells_the_settings():
    text = repr(MAML(MLP(1, 1), inner_lr=0.5, first_order=True))
    assert "inner_lr=0.5" in text
    assert "first_order=True" in text
    assert "loss_fn=mse_loss" in text


def test_the_papers_setting_runs_in_float32_from_the_defaults():
    loss = MAML(MLP(1, 40, 40, 1))(Sinusoids().sample(25, generator=seeded(0)))
    assert loss.dtype == torch.float32
    assert loss.isfinite()
