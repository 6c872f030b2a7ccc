import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import floats, integers
from torch import nn

from mlcode import MAML
from mlcode.model_based.cells import LSTMCell
from mlcode.optimization.inner_loop import unroll
from mlcode.optimization.learned_rules import InterpretableRule, LSTMRule, log_and_sign
from tests.helpers import SEEDS, distance, random_tasks, reseed, seeded, smooth_net

doubles = {"dtype": torch.float64}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), **doubles)


def twins(n_in, n_hidden, seed=0):
    """Our cell and torch's, with the same weights: one's `state_dict` is the other's."""
    ours = reseed(LSTMCell(n_in, n_hidden).double(), seed)
    theirs = nn.LSTMCell(n_in, n_hidden).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@given(seed=SEEDS, n_in=integers(1, 4), n_hidden=integers(1, 6), n_rows=integers(1, 5))
def test_the_cell_is_torchs_forward_backward_and_twice_backward(seed, n_in, n_hidden, n_rows):
    x, h, c = (normal(n_rows, n, seed=seed + i) for i, n in enumerate((n_in, n_hidden, n_hidden)))

    def derivatives(cell):
        inputs = [t.clone().requires_grad_() for t in (x, h, c)]
        hidden, memory = cell(inputs[0], (inputs[1], inputs[2]))
        among = [*inputs, *(dict(cell.named_parameters())[n] for n in sorted(cell.state_dict()))]
        score = (hidden.sin() + memory**2).sum()
        first = torch.autograd.grad(score, among, create_graph=True)
        second = torch.autograd.grad(sum((g**3).sum() for g in first), among)
        return [hidden, memory, *first, *second]

    ours, theirs = twins(n_in, n_hidden, seed)
    assert max(map(distance, derivatives(ours), derivatives(theirs))) < 1e-12


def test_the_cell_begins_within_torchs_bounds():
    cell = LSTMCell(3, 25)
    entries = torch.cat([p.detach().flatten() for p in cell.parameters()])
    assert entries.abs().max() <= 0.2
    assert float(entries.std()) == pytest.approx(0.2 / math.sqrt(3), rel=0.05)


@given(g=floats(-1e6, 1e6))
def test_preprocessing_is_the_papers_formula_case_by_case(g):
    log, sign = log_and_sign(torch.tensor(g, **doubles), p=10.0).tolist()
    if abs(g) >= math.exp(-10):
        assert (log, sign) == pytest.approx((math.log(abs(g)) / 10, math.copysign(1, g)))
    else:
        assert (log, sign) == pytest.approx((-1, math.exp(10) * g))


def test_preprocessing_of_a_vanishing_gradient_has_a_finite_derivative():
    g = torch.zeros(3, **doubles, requires_grad=True)
    log_and_sign(g).sum().backward()
    assert torch.allclose(g.grad, torch.full((3,), math.exp(10), **doubles))


@pytest.mark.parametrize("p", [None, 10.0])
@given(seed=SEEDS)
def test_coordinates_share_weights_and_not_states(p, seed):
    """A permutation of the coordinates permutes the path: each is stepped by the same network."""
    rule = reseed(LSTMRule(5, p=p).double(), seed)
    start, order = normal(6, seed=seed), torch.randperm(6, generator=seeded(seed))
    weights = torch.linspace(0.5, 3, 6, **doubles)

    def end(start, weights):
        return unroll(lambda at: (weights * at["w"] ** 2).sum(), {"w": start}, rule, 4)[0]["w"]

    assert distance(end(start, weights)[order], end(start[order], weights[order])) < 1e-13
    alone = [end(s[None], w[None]) for s, w in zip(start, weights)]
    assert distance(end(start, weights), torch.cat(alone)) < 1e-13


def test_a_parameters_shape_does_not_matter():
    rule, start = reseed(LSTMRule(5).double()), normal(2, 6)

    def end(theta):
        return unroll(lambda at: sum((p**4).sum() for p in at.values()), theta, rule, 3)[0]

    parts = end({"a": start[0].reshape(3, 2), "b": start[1].reshape(1, 2, 3)})
    whole = end({"all": start})["all"]
    assert (
        distance(torch.cat([parts["a"].flatten(), parts["b"].flatten()]), whole.flatten()) < 1e-13
    )


def test_the_lstm_rule_is_torchs_cells_and_a_linear_layer():
    rule = reseed(LSTMRule(5, p=10.0, output_scale=0.3).double())
    cells = [nn.LSTMCell(2, 5).double(), nn.LSTMCell(5, 5).double()]
    for theirs, ours in zip(cells, rule.cells):
        theirs.load_state_dict(ours.state_dict())
    start = normal(4)
    theta, states = start.clone(), [None, None]
    for _ in range(5):
        h = log_and_sign(4 * theta**3)
        for i, cell in enumerate(cells):
            states[i] = cell(h, states[i])
            h = states[i][0]
        theta = theta + 0.3 * (h @ rule.head.weight[0] + rule.head.bias)
    ours, _ = unroll(lambda at: (at["w"] ** 4).sum(), {"w": start}, rule, 5)
    assert distance(ours["w"], theta) < 1e-12


@given(
    seed=SEEDS,
    n_steps=integers(1, 8),
    lr=floats(1e-4, 0.3),
    momentum=floats(0.01, 0.99),
    decay=floats(0.01, 0.999),
)
def test_the_interpretable_rule_takes_torchs_steps(seed, n_steps, lr, momentum, decay):
    tasks = random_tasks(1, 6, 4, (2,), (1,), seed=seed)
    rule = InterpretableRule(lr, momentum, decay).double()
    with torch.no_grad():  # exactly these numbers, not their float32 roundings
        rule.raw_lr.copy_(torch.tensor(lr, **doubles).expm1().log())
        rule.raw_momentum.copy_(torch.tensor(momentum, **doubles).logit())
        rule.raw_decay.copy_(torch.tensor(decay, **doubles).logit())
    ours = MAML(smooth_net(2, seed=seed), rule=rule, n_inner_steps=n_steps)
    theirs = smooth_net(2, seed=seed)
    optimizer = torch.optim.SGD(theirs.parameters(), lr, momentum=momentum)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, decay)
    for _ in range(n_steps):
        optimizer.zero_grad()
        F.mse_loss(theirs(tasks.support.x[0]), tasks.support.y[0]).backward()
        optimizer.step()
        schedule.step()
    adapted = ours.adapt(tasks.select(0).support)
    assert distance(adapted, dict(theirs.named_parameters())) < 1e-12


@given(lr=floats(1e-6, 1e3), momentum=floats(0.001, 0.999), decay=floats(0.001, 0.999))
def test_what_was_put_in_is_read_out(lr, momentum, decay):
    rule = InterpretableRule(lr, momentum, decay)
    found = (rule.lr.item(), rule.momentum.item(), rule.decay.item())
    assert found == pytest.approx((lr, momentum, decay), rel=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: reseed(LSTMRule(4, p=10.0).double()),
        lambda: reseed(LSTMRule(4, p=None).double()),
        lambda: InterpretableRule(0.05).double(),
    ],
)
def test_derivatives_of_both_orders_pass_through_each_rule(make):
    """Two coordinates squeezed through three steps, against finite differences."""
    torch.manual_seed(0)  # the checks draw directions
    rule = make()
    names = [name for name, _ in rule.named_parameters()]

    def end(start, *values):
        def step(theta, gradient, state):
            called = dict(zip(names, values))
            return torch.func.functional_call(rule, called, (theta, gradient, state))

        theta = {"w": start}
        state = rule.init(theta)
        for _ in range(3):
            slope = torch.func.grad(lambda at: (at["w"] ** 4).sum())(theta)
            theta, state = step(theta, slope, state)
        return theta["w"]

    start = torch.tensor([0.7, -1.2], **doubles).requires_grad_()
    inputs = (start, *(p.detach().requires_grad_() for p in rule.parameters()))
    assert torch.autograd.gradcheck(end, inputs)
    assert torch.autograd.gradgradcheck(end, inputs)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LSTMRule(0), "n_hidden must be at least 1; got 0"),
        (lambda: LSTMRule(n_layers=0), "n_layers must be at least 1; got 0"),
        (lambda: LSTMRule(p=0.0), "p must be positive and finite; got 0"),
        (lambda: LSTMRule(output_scale=-0.1), "output_scale must be positive"),
        (lambda: LSTMCell(0, 3), "n_in must be at least 1; got 0"),
        (lambda: InterpretableRule(0.0), "lr must be positive and finite; got 0"),
        (lambda: InterpretableRule(momentum=0.0), "momentum must be positive and finite; got 0"),
        (lambda: InterpretableRule(momentum=1.0), "momentum must be at least 0 and below 1"),
        (lambda: InterpretableRule(decay=1.5), "decay must be at least 0 and below 1; got 1.5"),
    ],
)
def test_settings_that_make_no_rule_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
