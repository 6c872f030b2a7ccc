"""MAML's meta-step is the same in every library, for networks, losses and tasks nobody picked."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis.strategies import booleans, composite, integers, sampled_from
from torch import nn

from mlcode.peers import maml
from mlcode.peers.finite_differences import projections, slopes, unit_directions
from mlcode.peers.maml import MAMLSetting
from mlcode.peers.maml_objective import maml_objective
from mlcode.peers.meta_step import difference, meta_step, relative_difference
from tests.helpers import SEEDS, network, random_tasks, same, smooth_net, snapshot

PEERS = {
    "learn2learn": maml.by_learn2learn,
    "higher": maml.by_higher,
    "torchopt": maml.by_torchopt,
}
ALL = {"mlcode": maml.by_mlcode, **PEERS}
SMOOTH = (nn.Tanh, nn.Softplus, nn.Sigmoid)


@composite
def problems(draw, activations=(*SMOOTH, nn.ReLU), widest=8):
    """A network of 0 to 3 hidden layers, tasks to fit it, and a loss."""
    n_in, n_out, width = draw(integers(1, 4)), draw(integers(2, 4)), draw(integers(1, widest))
    seed, activation = draw(SEEDS), draw(sampled_from(activations))
    sizes = [n_in, *[width] * draw(integers(0, 3)), n_out]
    layers = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), activation()]
    classes = n_out if draw(booleans()) else None
    counts = draw(integers(1, 4)), draw(integers(1, 6)), draw(integers(1, 6))
    tasks = random_tasks(*counts, (n_in,), (n_out,), seed=seed, classes=classes)
    loss_fn = F.mse_loss if classes is None else F.cross_entropy
    return network(*layers[:-1], seed=seed), tasks, loss_fn


@pytest.mark.parametrize("peer", PEERS)
@given(problem=problems(), n_inner_steps=integers(0, 4), first_order=booleans())
def test_the_step_is_the_peers_step(peer, problem, n_inner_steps, first_order):
    model, tasks, loss_fn = problem
    setting = MAMLSetting(n_inner_steps, first_order, inner_lr=0.1, loss_fn=loss_fn)
    ours = meta_step(maml.by_mlcode, model, tasks, setting)
    theirs = meta_step(PEERS[peer], model, tasks, setting)
    assert max(difference(ours, theirs)) < 1e-10


@settings(max_examples=8)  # two evaluations for every single weight
@given(problem=problems(SMOOTH, widest=3), n_inner_steps=integers(1, 3), first_order=booleans())
def test_the_gradient_is_the_slope_along_every_weight(problem, n_inner_steps, first_order):
    model, tasks, loss_fn = problem
    setting = MAMLSetting(n_inner_steps, first_order, inner_lr=0.1, loss_fn=loss_fn)
    gradient = meta_step(maml.by_mlcode, model, tasks, setting).gradient
    directions = unit_directions(model)
    # These networks have no kinks: the step may be longer than the ledger's, and rounding smaller.
    measured = slopes(maml_objective(model, tasks, setting), directions, step=1e-5)
    predicted = projections(gradient, directions)
    assert (predicted - measured).abs().max() < 1e-6 * measured.abs().max() + 1e-9


@pytest.mark.parametrize("by", ALL)
@pytest.mark.parametrize("first_order", [False, True])
@given(n_in=integers(1, 4), n_shot=integers(1, 6), n_query=integers(1, 6), seed=SEEDS)
def test_a_linear_model_has_its_closed_form(by, first_order, n_in, n_shot, n_query, seed):
    r"""θ′ = θ − (2α/K) Xᵀ(Xθ − y); its gradient (I − (2α/K) XᵀX) (2/Q) X_qᵀ(X_q θ′ − y_q)."""
    model = network(nn.Linear(n_in, 1, bias=False), seed=seed)
    tasks = random_tasks(3, n_shot, n_query, (n_in,), (1,), seed=seed)
    setting = MAMLSetting(1, first_order, inner_lr=0.05)
    theta, expected = model[0].weight.detach().T, torch.zeros(n_in, 1, dtype=torch.float64)
    for (x, y), (x_q, y_q) in maml.each(tasks):
        adapted = theta - 2 * 0.05 / n_shot * x.T @ (x @ theta - y)
        factor = torch.eye(n_in, dtype=torch.float64)
        if not first_order:
            factor -= 2 * 0.05 / n_shot * x.T @ x
        expected += factor @ (2 / n_query * x_q.T @ (x_q @ adapted - y_q)) / 3
    step = meta_step(ALL[by], model, tasks, setting)
    assert relative_difference(step.gradient, {"0.weight": expected.T}) < 1e-12


@pytest.mark.parametrize("by", ALL)
@pytest.mark.parametrize("first_order", [False, True])
def test_a_meta_step_leaves_the_given_model_as_it_was(by, first_order):
    model, tasks = smooth_net(2), random_tasks(2, 3, 3, (2,), (1,))
    before = snapshot(model)
    step = meta_step(ALL[by], model, tasks, MAMLSetting(2, first_order))
    assert same(snapshot(model), before)
    assert all(p.grad is None for p in model.parameters())
    assert not same(step.parameters, before)


@pytest.mark.parametrize("by", ALL)
def test_the_gradient_is_added_to_what_is_there_as_backward_does(by):
    model, tasks = smooth_net(2), random_tasks(2, 3, 3, (2,), (1,))
    for setting in (MAMLSetting(2), MAMLSetting(2, first_order=True)):
        once = meta_step(ALL[by], model, tasks, setting).gradient
        model.zero_grad()
        meta_gradient = ALL[by](model, setting)
        meta_gradient(tasks)
        meta_gradient(tasks)
        twice = {name: p.grad for name, p in model.named_parameters()}
        assert relative_difference(twice, {name: 2 * g for name, g in once.items()}) < 1e-14


def test_first_and_second_order_are_told_apart():
    model, tasks = smooth_net(2), random_tasks(2, 3, 3, (2,), (1,))
    steps = [
        meta_step(maml.by_mlcode, model, tasks, MAMLSetting(1, first_order, inner_lr=0.1))
        for first_order in (False, True)
    ]
    assert difference(*steps).gradient > 1e-3


def test_a_difference_is_relative_to_the_largest_entry_of_all_tensors():
    a, b = (
        {"x": torch.tensor([4.0]), "y": torch.tensor([1.5])},
        {
            "x": torch.tensor([4.0]),
            "y": torch.tensor([1.0]),
        },
    )
    assert relative_difference(a, b) == 0.125
    assert relative_difference({"x": torch.zeros(2)}, {"x": torch.zeros(2)}) == 0.0
    assert relative_difference({"x": torch.ones(2)}, {"x": torch.zeros(2)}) == float("inf")


@pytest.mark.parametrize("order", [("x", "y"), ("y", "x")])
def test_nan_is_no_agreement_wherever_it_stands(order):
    a = {"x": torch.tensor([float("nan")]), "y": torch.tensor([1.0])}
    b = {"x": torch.tensor([1.0]), "y": torch.tensor([1.0])}
    found = relative_difference({n: a[n] for n in order}, {n: b[n] for n in order})
    assert found != found


def test_a_difference_needs_the_same_names_and_shapes():
    with pytest.raises(ValueError, match="same names and shapes"):
        relative_difference({"x": torch.zeros(2)}, {"x": torch.zeros(1)})


def test_a_parameter_that_the_loss_does_not_reach_is_named():
    model = smooth_net(2)
    model.register_parameter("spare", nn.Parameter(torch.zeros(1).double()))
    tasks = random_tasks(2, 3, 3, (2,), (1,))
    with pytest.raises(ValueError, match="does not reach the parameter 'spare'"):
        meta_step(lambda m, _: lambda t: _backward(m, t), model, tasks, MAMLSetting())


def _backward(model, tasks):
    loss = F.mse_loss(model(tasks.query.x), tasks.query.y)
    loss.backward()
    return loss.detach()


# Central differences of eighth order: what they leave out falls as h⁸, so h can stay large enough
# for rounding, 1e-16 / h, to cost three digits only. Kinks would spoil them, hence a smooth net.
STENCIL = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("n_inner_steps", [1, 5])
def test_finite_differences_of_high_order_agree_to_ten_digits(n_inner_steps, first_order):
    model, tasks = smooth_net(seed=3), random_tasks(4, 5, 6, (1,), (1,), seed=3)
    setting = MAMLSetting(n_inner_steps=n_inner_steps, first_order=first_order, inner_lr=0.05)
    found = meta_step(maml.by_mlcode, model, tasks, setting).gradient
    objective, directions = maml_objective(model, tasks, setting), unit_directions(model)
    h = 5e-3
    measured = sum(
        k * weight * 2 * slopes(objective, directions, step=k * h) for k, weight in STENCIL.items()
    )
    expected = projections(found, directions)
    assert (measured - expected).abs().max() < 1e-10 * expected.abs().max()
