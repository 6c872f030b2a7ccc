"""Reptile against loops written with torch's own optimizers. All in float64."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import integers
from torch import nn

from mlcode import MAML, MLP, Examples, Reptile, Sinusoids, evaluate, train
from mlcode.optimization.reptile import mini_batches
from mlcode.optimization.rules import Adam
from tests.helpers import SEEDS, distance, gradients, network, random_tasks, seeded, smooth_net

INNER = {
    "sgd": (lambda: None, lambda p: torch.optim.SGD(p, lr=0.05)),
    "adam": (
        lambda: Adam(0.05, betas=(0.0, 0.999)),
        lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.0, 0.999)),
    ),
}


def ends_by_torch(model, tasks, optimizer, *, n_steps, loss_fn=F.mse_loss):
    """The weights θ′ of each task, by a plain training loop on a copy of the network."""
    ends = []
    for i in range(tasks.n_tasks):
        x, y = (torch.cat(parts) for parts in zip(*tasks.select(i)))
        copied = copy.deepcopy(model)
        stepper = optimizer(copied.parameters())
        for _ in range(n_steps):
            stepper.zero_grad()
            loss_fn(copied(x), y).backward()
            stepper.step()
        ends.append(dict(copied.named_parameters()))
    return ends


@pytest.mark.parametrize("inner", INNER)
@given(seed=SEEDS, n_steps=integers(0, 5))
def test_sgd_on_the_surrogate_moves_the_start_towards_the_mean_end(inner, seed, n_steps):
    model, tasks = smooth_net(2, 3, seed=seed), random_tasks(3, 4, 5, (2,), (3,), seed=seed)
    rule, optimizer = INNER[inner]
    ends = ends_by_torch(model, tasks, optimizer, n_steps=n_steps)
    expected = {
        name: p + 0.7 * (torch.stack([end[name] for end in ends]).mean(0) - p)
        for name, p in model.named_parameters()
    }
    learner = Reptile(model, inner_lr=0.05, n_inner_steps=n_steps, rule=rule())
    outer = torch.optim.SGD(learner.parameters(), lr=0.7)
    learner(tasks).backward()
    outer.step()
    assert distance(dict(model.named_parameters()), expected) < 1e-12


@given(seed=SEEDS)
def test_one_inner_step_is_joint_training(seed):
    model, tasks = smooth_net(2, 3, seed=seed), random_tasks(4, 3, 3, (2,), (3,), seed=seed)
    found = gradients(Reptile(model, inner_lr=0.03, n_inner_steps=1), tasks)
    x, y = (torch.cat(parts, 1).flatten(0, 1) for parts in zip(*tasks))
    joint = torch.autograd.grad(F.mse_loss(model(x), y), list(model.parameters()))
    assert distance(found, dict(zip(found, (0.03 * g for g in joint)))) < 1e-12


def test_several_inner_steps_are_not_joint_training():
    model, tasks = smooth_net(2, 3), random_tasks(4, 3, 3, (2,), (3,))
    one = gradients(Reptile(model, inner_lr=0.3, n_inner_steps=1), tasks)
    three = gradients(Reptile(model, inner_lr=0.1, n_inner_steps=3), tasks)
    assert distance(one, three) > 1e-3


def test_the_update_is_the_mean_over_tasks_not_the_sum():
    model, tasks = smooth_net(2, 3), random_tasks(1, 3, 3, (2,), (3,))
    twice = tasks.select(torch.tensor([0, 0]))
    learner = Reptile(model, n_inner_steps=3)
    assert distance(gradients(learner, tasks), gradients(learner, twice)) < 1e-14


def test_support_alone_can_be_the_task():
    model, tasks = smooth_net(2, 3), random_tasks(2, 3, 4, (2,), (3,))
    other = tasks._replace(query=random_tasks(2, 3, 4, (2,), (3,), seed=1).query)
    learner = Reptile(model, n_inner_steps=3, examples="support")
    assert distance(gradients(learner, tasks), gradients(learner, other)) == 0
    learner = Reptile(model, n_inner_steps=3)
    assert distance(gradients(learner, tasks), gradients(learner, other)) > 1e-3


def test_in_evaluation_it_predicts_as_maml_from_the_same_weights_does():
    model, tasks = smooth_net(2, 3), random_tasks(3, 4, 5, (2,), (3,))
    settings = {"inner_lr": 0.1, "n_inner_steps": 1, "n_test_steps": 4}
    reptile, maml = Reptile(model, **settings).eval(), MAML(model, **settings).eval()
    assert distance(reptile.losses(tasks), maml.losses(tasks)) < 1e-14


@pytest.mark.parametrize("inner", INNER)
def test_mapped_by_vmap_or_by_a_loop_it_is_the_same(inner):
    model = network(nn.Conv2d(1, 3, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3))
    tasks = random_tasks(3, 4, 5, (1, 6, 6), (), classes=3)
    made = [
        Reptile(
            model, n_inner_steps=4, loss_fn=F.cross_entropy, rule=INNER[inner][0](), mapping=mapping
        )
        for mapping in ("vmap", "loop")
    ]
    assert distance(*(gradients(learner, tasks) for learner in made)) < 1e-12


@given(seed=SEEDS, n=integers(1, 7), size=integers(1, 9), n_batches=integers(0, 6))
def test_no_example_comes_again_before_all_have_come(seed, n, size, n_batches):
    x = torch.arange(n)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        batches = list(mini_batches(Examples(x[:, None], 10 * x), size, n_batches))
    assert all(torch.equal(10 * b.x[:, 0], b.y) for b in batches)
    assert [len(b.y) for b in batches] == [size] * n_batches
    seen = torch.cat([b.x[:, 0] for b in batches]).tolist() if batches else []
    for start in range(0, len(seen), n):
        whole = seen[start : start + n]
        assert len(set(whole)) == len(whole)


def test_mini_batches_follow_torchs_seed_and_differ_between_tasks():
    model, one = smooth_net(2, 3), random_tasks(1, 6, 2, (2,), (3,))
    learner = Reptile(model, n_inner_steps=2, batch_size=3, inner_lr=0.1)

    def drawn(seed, tasks):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return learner.losses(tasks)

    assert torch.equal(drawn(0, one), drawn(0, one))
    assert not torch.equal(drawn(0, one), drawn(1, one))
    twins = drawn(0, one.select(torch.tensor([0, 0])))
    assert twins[0] != twins[1]


def test_steps_on_mini_batches_are_those_of_a_plain_loop():
    model, tasks = smooth_net(2, 3), random_tasks(1, 6, 4, (2,), (3,))
    learner = Reptile(model, n_inner_steps=5, batch_size=4, inner_lr=0.1, mapping="loop")
    x, y = (torch.cat(parts) for parts in zip(*tasks.select(0)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        found = learner.adapt(Examples(x, y))
        torch.manual_seed(3)
        order = torch.rand(2, 10).argsort(-1).flatten()
    stepper = torch.optim.SGD(model.parameters(), lr=0.1)
    for batch in order.split(4):
        stepper.zero_grad()
        F.mse_loss(model(x[batch]), y[batch]).backward()
        stepper.step()
    assert distance(found, dict(model.named_parameters())) < 1e-12


@pytest.mark.slow
def test_a_thousand_iterations_on_sinusoids_find_a_start_from_which_steps_help():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        learner = Reptile(MLP(1, 40, 40, 1), batch_size=10, n_inner_steps=8)
        source = Sinusoids(n_shot=10, n_query=40)
        random_start = evaluate(learner, Sinusoids(), 100).mean
        train(
            learner,
            source,
            n_iterations=1000,
            n_tasks=5,
            optimizer=torch.optim.SGD(learner.parameters(), lr=0.5),
            generator=seeded(0),
        )
    learner.n_test_steps = 32
    trained = evaluate(learner, Sinusoids(), 100).mean
    assert trained < 0.5 * random_start
    learner.n_test_steps = 0
    assert trained < 0.5 * evaluate(learner, Sinusoids(), 100).mean


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"test_batch_size": -1}, "test_batch_size"),
        ({"examples": "query"}, "'all', 'support'"),
        ({"n_inner_steps": -1}, "n_inner_steps"),
        ({"inner_lr": 0}, "inner_lr"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Reptile(smooth_net(), **settings)


def test_a_batch_size_that_is_no_integer_is_refused():
    with pytest.raises(TypeError, match="batch_size"):
        Reptile(smooth_net(), batch_size=2.5)
