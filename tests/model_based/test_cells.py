import math

import pytest
import torch
from hypothesis import given
from hypothesis.strategies import integers, sampled_from
from torch import nn

from mlcode.model_based.cells import GRUCell, LSTMCell, unrolled
from tests.helpers import SEEDS, distance, reseed, seeded

PAIRS = [(GRUCell, nn.GRUCell), (LSTMCell, nn.LSTMCell)]
LAYERS = [nn.GRU, nn.LSTM]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def derivatives(outputs, among):
    """A value that depends on everything, its gradient, and a gradient of that gradient."""
    value = sum((out.sin() + out**2).sum() for out in outputs)
    first = torch.autograd.grad(value, among, create_graph=True)
    second = torch.autograd.grad(sum((g**3).sum() for g in first), among)
    return [*outputs, *first, *second]


def stepped(cell, x, h, c):
    out = cell(x, (h, c)) if isinstance(cell, (LSTMCell, nn.LSTMCell)) else (cell(x, h), c)
    return list(out)


@pytest.mark.parametrize(("own", "torchs"), PAIRS)
@given(seed=SEEDS, n_in=integers(1, 4), n_hidden=integers(1, 6), n_rows=integers(1, 5))
def test_a_cell_is_torchs_forward_backward_and_twice_backward(
    own, torchs, seed, n_in, n_hidden, n_rows
):
    ours = reseed(own(n_in, n_hidden).double(), seed)
    theirs = torchs(n_in, n_hidden).double()
    theirs.load_state_dict(ours.state_dict())
    found = []
    for cell in (ours, theirs):
        sizes = (n_in, n_hidden, n_hidden)
        inputs = [normal(n_rows, n, seed=seed + i).requires_grad_() for i, n in enumerate(sizes)]
        weights = dict(cell.named_parameters())
        among = [*inputs, *(weights[name] for name in sorted(weights))]
        found.append(derivatives(stepped(cell, *inputs), among))
    assert max(map(distance, *found)) < 1e-10


@pytest.mark.parametrize("layer", LAYERS)
@given(seed=SEEDS, n_steps=integers(1, 6), n_tasks=integers(1, 3))
def test_unrolled_cells_are_torchs_fused_layer_forward_backward_and_twice_backward(
    layer, seed, n_steps, n_tasks
):
    rnn = reseed(layer(3, 4, batch_first=True).double(), seed)
    n_parts = 2 if layer is nn.LSTM else 1
    found = []
    for fused in (True, False):
        x = normal(n_tasks, n_steps, 3, seed=seed).requires_grad_()
        start = [normal(n_tasks, 4, seed=seed + i + 1).requires_grad_() for i in range(n_parts)]
        if fused:
            before = tuple(part[None] for part in start)
            out, after = rnn(x, before if n_parts == 2 else before[0])
            last = [part[0] for part in (after if n_parts == 2 else (after,))]
        else:
            states = unrolled(rnn, x, tuple(start))
            out, last = torch.stack([s[0] for s in states[1:]], 1), list(states[-1])
        found.append(derivatives([out, *last], [x, *start, *rnn.parameters()]))
    assert max(map(distance, *found)) < 1e-10


@pytest.mark.parametrize("cell", [GRUCell, LSTMCell])
def test_first_and_second_derivatives_are_those_of_finite_differences(cell):
    torch.manual_seed(0)  # the checks draw directions
    cell = reseed(cell(2, 3).double())
    names = [name for name, _ in cell.named_parameters()]

    def three_steps(x, h, c, *values):
        state = (h, c)
        for each in x:
            called = (each, state if isinstance(cell, LSTMCell) else state[0])
            out = torch.func.functional_call(cell, dict(zip(names, values)), called)
            state = out if isinstance(cell, LSTMCell) else (out, c)
        return state[0] + state[1]

    inputs = [normal(3, 1, 2), normal(1, 3, seed=1), normal(1, 3, seed=2)]
    inputs += [p.detach() for p in cell.parameters()]
    inputs = tuple(t.clone().requires_grad_() for t in inputs)
    assert torch.autograd.gradcheck(three_steps, inputs)
    assert torch.autograd.gradgradcheck(three_steps, inputs)


@pytest.mark.parametrize("cell", [GRUCell, LSTMCell])
@given(seed=SEEDS, axes=sampled_from([(), (2,), (2, 3)]))
def test_rows_do_not_meet_and_vmap_maps_them(cell, seed, axes):
    cell = reseed(cell(2, 3).double(), seed)
    x, h, c = (normal(*axes, n, seed=seed + n) for n in (2, 3, 4))
    whole = stepped(cell, x, h, c[..., :3])[0]
    fn = lambda *each: stepped(cell, *each)[0]  # noqa: E731
    for _ in axes:
        fn = torch.func.vmap(fn)
    assert distance(fn(x, h, c[..., :3]), whole) < 1e-12


@pytest.mark.parametrize("cell", [GRUCell, LSTMCell])
def test_weights_begin_within_torchs_bounds(cell):
    entries = torch.cat([p.detach().flatten() for p in cell(3, 25).parameters()])
    assert entries.abs().max() <= 0.2
    assert float(entries.std()) == pytest.approx(0.2 / math.sqrt(3), rel=0.05)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("cell", [GRUCell, LSTMCell])
def test_a_cell_without_input_or_state_is_refused(cell):
    with pytest.raises(ValueError, match="n_in must be at least 1; got 0"):
        cell(0, 3)
    with pytest.raises(ValueError, match="n_hidden must be at least 1; got 0"):
        cell(3, 0)
    with pytest.raises(TypeError, match="n_hidden must be an integer"):
        cell(3, 2.0)
