"""torch.compile, of a learner and of the whole meta-gradient, computes what eager code does."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.optim import SGD, Adam

from mlcode import MAML, MLP, train
from mlcode.engine import compiled_gradient
from tests.helpers import (
    compiles,
    distance,
    gradients,
    random_tasks,
    reseed,
    seeded,
    smooth_net,
    snapshot,
)
from tests.test_training import SOURCE

pytestmark = [compiles, pytest.mark.usefixtures("unchecked")]


@pytest.fixture
def traced(monkeypatch):
    """Compile as far as the graph and run that: all but the C++, which takes the time."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))


def mlp(n_in=2, n_out=1):
    return reseed(MLP(n_in, 10, n_out).double())


def test_a_compiled_learner_has_the_loss_and_gradient_of_the_eager_one():
    learner = MAML(mlp(), n_inner_steps=2)
    compiled, tasks = torch.compile(learner), random_tasks(4, 5, 6, (2,), (1,))
    assert distance(compiled(tasks), learner(tasks)) < 1e-12
    compiled(tasks).backward()
    found = {name: p.grad for name, p in learner.named_parameters()}
    assert distance(found, gradients(learner, tasks)) < 1e-12


@pytest.mark.usefixtures("traced")
def test_the_compiled_gradient_is_the_eager_one_for_labels_and_frozen_parameters_too():
    model = mlp(2, 3)
    model[0].bias.requires_grad_(False)
    learner = MAML(model, inner_lr=0.3, loss_fn=F.cross_entropy, adapted="*.weight")
    tasks = random_tasks(4, 5, 6, (2,), (), classes=3)
    loss = compiled_gradient(learner)(tasks)
    found = {name: p.grad for name, p in learner.named_parameters() if p.requires_grad}
    assert model[0].bias.grad is None
    model[0].bias.requires_grad_(True)
    expected = gradients(learner, tasks)
    del expected["model.0.bias"]
    assert distance(loss, learner(tasks)) < 1e-12
    assert distance(found, expected) < 1e-12


def test_training_compiled_is_training_eagerly():
    histories, weights = [], []
    for compiled in (False, True):
        learner = MAML(smooth_net(), n_inner_steps=2)
        history = train(
            learner,
            SOURCE,
            n_iterations=8,
            n_tasks=3,
            optimizer=Adam(learner.parameters(), 0.01),
            clip_grad_norm=1.0,
            generator=seeded(0),
            compiled=compiled,
        )
        histories.append(history.loss)
        weights.append(snapshot(learner))
    assert histories[1] == pytest.approx(histories[0], rel=1e-10)
    assert distance(weights[1], weights[0]) < 1e-10


@pytest.mark.usefixtures("traced")
def test_a_compiled_run_stops_and_goes_on_bit_for_bit(tmp_path):
    def part(*stops, file):
        for stop in stops:
            learner = MAML(smooth_net())
            optimizer = SGD(learner.parameters(), 0.01, momentum=0.9)
            train(
                learner,
                SOURCE,
                n_iterations=stop,
                n_tasks=3,
                optimizer=optimizer,
                generator=seeded(0),
                compiled=True,
                checkpoint=tmp_path / file,
            )
        return torch.nn.utils.parameters_to_vector(learner.parameters())

    assert torch.equal(part(2, 5, file="a"), part(5, file="b"))


@pytest.mark.usefixtures("traced")
def test_a_compiled_learner_trains_as_the_eager_one_does():
    learner, eager = MAML(smooth_net()), MAML(smooth_net())
    losses = [
        train(
            wrap(m),
            SOURCE,
            n_iterations=5,
            n_tasks=3,
            optimizer=Adam(m.parameters(), fused=True),
            generator=seeded(0),
        ).loss
        for wrap, m in ((torch.compile, learner), (lambda m: m, eager))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-10)
    assert distance(snapshot(learner), snapshot(eager)) < 1e-10
