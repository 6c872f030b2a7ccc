import math
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD, Adam, lr_scheduler

from mlcode import MAML, MLP, History, Sinusoids, evaluate, train
from tests.helpers import network, same, seeded, smooth_net, snapshot

SOURCE = Sinusoids(n_shot=4, n_query=5, dtype=torch.float64)


def run(learner, optimizer, *, n_iterations=6, n_tasks=3, seed=0, source=SOURCE, **settings):
    return train(
        learner,
        source,
        n_iterations=n_iterations,
        n_tasks=n_tasks,
        optimizer=optimizer,
        generator=seeded(seed),
        **settings,
    )


def by_hand(learner, optimizer, *, scheduler=None, n_iterations=6, n_tasks=3, seed=0, clip=None):
    """The loop that a reader would write."""
    generator, losses, rates = seeded(seed), [], []
    for _ in range(n_iterations):
        optimizer.zero_grad()
        loss = learner(SOURCE.sample(n_tasks, generator=generator))
        loss.backward()
        if clip is not None:
            clip(learner.parameters())
        losses.append(loss.item())
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
            scheduler.step(losses[-1])
        elif scheduler is not None:
            scheduler.step()
    return History(np.array(losses), np.array(rates))


OPTIMIZERS = {
    "SGD": lambda p: SGD(p, 0.01, momentum=0.9, nesterov=True),
    "Adam": lambda p: Adam(p, 0.01),
    "Adam, fused": lambda p: Adam(p, 0.01, fused=True),
    "Adam, a NumPy rate": lambda p: Adam(p, np.float64(0.01)),
    "AdamW": lambda p: torch.optim.AdamW(p, 0.01),
    "Adagrad": lambda p: torch.optim.Adagrad(p, 0.01),
    "Adadelta": lambda p: torch.optim.Adadelta(p, 0.5),
    "Adamax": lambda p: torch.optim.Adamax(p, 0.01),
    "ASGD": lambda p: torch.optim.ASGD(p, 0.01),
    "NAdam": lambda p: torch.optim.NAdam(p, 0.01),
    "RAdam": lambda p: torch.optim.RAdam(p, 0.01),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 0.01),
    "Rprop": lambda p: torch.optim.Rprop(p, 0.01),
}
SCHEDULERS = {
    "none": lambda o: None,
    "step": lambda o: lr_scheduler.StepLR(o, 2, 0.5),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 8),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda i: 1 / (1 + i)),
    "warm-up": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=3), lr_scheduler.ExponentialLR(o, 0.9)], [3]
    ),
    "plateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, factor=0.5),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=20),
}
ends_early = pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimizer_steps_as_in_a_loop_written_by_hand(name):
    learner, other = MAML(smooth_net()), MAML(smooth_net())
    history = run(learner, OPTIMIZERS[name](learner.parameters()))
    expected = by_hand(other, OPTIMIZERS[name](other.parameters()))
    assert same(snapshot(learner), snapshot(other))
    assert list(history.loss) == list(expected.loss)


@ends_early
@pytest.mark.parametrize("name", SCHEDULERS)
def test_any_scheduler_sets_the_rate_as_in_a_loop_written_by_hand(name):
    learner, other = MAML(smooth_net()), MAML(smooth_net())
    optimizer, twin = (SGD(m.parameters(), 0.01, momentum=0.9) for m in (learner, other))
    history = run(learner, optimizer, scheduler=SCHEDULERS[name](optimizer), n_iterations=9)
    expected = by_hand(other, twin, scheduler=SCHEDULERS[name](twin), n_iterations=9)
    assert list(history.lr) == list(expected.lr)
    assert same(snapshot(learner), snapshot(other))
    assert (len(set(history.lr)) > 1) == (name != "none")


def test_history_has_one_loss_and_one_rate_an_iteration_as_they_were_before_the_step():
    learner = MAML(smooth_net())
    optimizer = SGD(learner.parameters(), 0.02)
    first = learner(SOURCE.sample(3, generator=seeded(0))).item()
    history = run(
        learner, optimizer, scheduler=lr_scheduler.StepLR(optimizer, 1, 0.5), n_iterations=4
    )
    assert len(history) == len(history.loss) == len(history.lr) == 4
    assert history.loss[0] == first
    assert list(history.lr) == [0.02, 0.01, 0.005, 0.0025]


def test_no_iterations_are_an_empty_history_and_change_nothing():
    learner = MAML(smooth_net())
    before = snapshot(learner)
    assert len(run(learner, Adam(learner.parameters()), n_iterations=0)) == 0
    assert same(snapshot(learner), before)


@pytest.mark.parametrize("limit", [1e-3, 0.1, 1e6])
def test_clipping_by_norm_bounds_the_norm_of_the_whole_step_and_keeps_its_direction(limit):
    free, clipped = MAML(smooth_net()), MAML(smooth_net())
    start = nn.utils.parameters_to_vector(free.parameters()).detach().clone()
    run(free, SGD(free.parameters(), 1.0), n_iterations=1)
    run(clipped, SGD(clipped.parameters(), 1.0), n_iterations=1, clip_grad_norm=limit)
    whole, step = (
        nn.utils.parameters_to_vector(m.parameters()).detach() - start for m in (free, clipped)
    )
    assert float(step.norm()) == pytest.approx(min(limit, float(whole.norm())), rel=1e-3)
    assert float(F.cosine_similarity(step, whole, dim=0)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("limit", [1e-3, 0.1, 1e6])
def test_clipping_by_value_bounds_each_entry_of_the_step(limit):
    free, clipped = MAML(smooth_net()), MAML(smooth_net())
    start = nn.utils.parameters_to_vector(free.parameters()).detach().clone()
    run(free, SGD(free.parameters(), 1.0), n_iterations=1)
    run(clipped, SGD(clipped.parameters(), 1.0), n_iterations=1, clip_grad_value=limit)
    whole, step = (
        nn.utils.parameters_to_vector(m.parameters()).detach() - start for m in (free, clipped)
    )
    assert torch.allclose(step, whole.clamp(-limit, limit), rtol=0, atol=1e-12)


def global_states():
    return (
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        random.getstate(),
    )


@pytest.mark.usefixtures("unchecked")  # beartype draws from `random`
def test_training_touches_no_global_random_state():
    learner = MAML(smooth_net())
    before = global_states()
    run(learner, Adam(learner.parameters()))
    assert global_states() == before


def test_without_a_generator_torchs_global_seed_decides_the_tasks():
    histories = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        learner = MAML(smooth_net())
        optimizer = Adam(learner.parameters())
        histories.append(train(learner, SOURCE, n_iterations=3, n_tasks=2, optimizer=optimizer))
    assert list(histories[0].loss) == list(histories[1].loss)
    assert list(histories[0].loss) != list(histories[2].loss)


def test_training_switches_to_training_mode():
    learner = MAML(network(nn.Linear(1, 9), nn.Dropout(), nn.Linear(9, 1)), n_test_steps=5).eval()
    run(learner, Adam(learner.parameters()), n_iterations=1)
    assert learner.training
    assert learner.model[1].training


def test_parameters_that_the_optimizer_does_not_hold_stay():
    learner = MAML(smooth_net())
    before = snapshot(learner)
    run(learner, SGD(learner.model[2].parameters(), 0.1))
    changed = {name for name, t in snapshot(learner).items() if not torch.equal(t, before[name])}
    assert changed == {"model.2.weight", "model.2.bias"}


def test_meta_training_beats_the_start_and_the_answer_zero():
    """The one test that it learns: 400 iterations on sinusoids, about two seconds."""
    torch.manual_seed(0)
    source = Sinusoids()
    learner = MAML(MLP(1, 40, 40, 1), inner_lr=0.01)
    untrained = evaluate(learner, source, 200)
    train(
        learner,
        source,
        n_iterations=400,
        n_tasks=25,
        optimizer=Adam(learner.parameters(), 3e-3),
        generator=seeded(0),
    )
    trained = evaluate(learner, source, 200)
    zero = evaluate(learner, source, 200, metric=lambda prediction, y: (y**2).mean())
    assert trained.mean + trained.interval < untrained.mean - untrained.interval
    assert trained.mean + trained.interval < zero.mean - zero.interval


# What is refused, and how.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_iterations": -1}, "n_iterations must be at least 0; got -1"),
        ({"n_tasks": 0}, "n_tasks must be at least 1; got 0"),
        ({"checkpoint_every": 0}, "checkpoint_every must be at least 1; got 0"),
        ({"clip_grad_norm": 0.0}, "clip_grad_norm must be positive and finite; got 0.0"),
        ({"clip_grad_value": math.nan}, "clip_grad_value must be positive and finite; got nan"),
    ],
)
def test_impossible_counts_and_limits_are_refused_by_value(settings, message):
    learner = MAML(smooth_net())
    before = snapshot(learner)
    with pytest.raises(ValueError, match=message):
        run(learner, Adam(learner.parameters()), **settings)
    assert same(snapshot(learner), before)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_iterations": 1e3}, r"n_iterations must be an integer; got 1000.0 \(float\)"),
        ({"n_tasks": "4"}, r"n_tasks must be an integer; got '4' \(str\)"),
        ({"checkpoint_every": None}, r"checkpoint_every must be an integer; got None"),
        ({"clip_grad_norm": "1"}, r"clip_grad_norm must be a number; got '1' \(str\)"),
    ],
)
def test_settings_of_a_wrong_type_are_refused_by_type(settings, message):
    learner = MAML(smooth_net())
    with pytest.raises(TypeError, match=message):
        run(learner, Adam(learner.parameters()), **settings)


@pytest.mark.usefixtures("unchecked")
def test_a_network_without_its_learner_is_refused():
    net = smooth_net()
    with pytest.raises(TypeError, match=r"must be a MetaLearner, .* got Sequential.*MAML\(network"):
        run(net, Adam(net.parameters()))


def test_an_optimizer_of_another_learner_is_refused():
    learner, other = MAML(smooth_net()), MAML(smooth_net())
    with pytest.raises(ValueError, match="holds no parameter of this learner"):
        run(learner, Adam(other.parameters()))


class Spoiled:
    """Gives tasks 1 and 3 of the batch of one iteration a target that is not a number."""

    def __init__(self, iteration):
        self.left = iteration

    def __repr__(self):
        return "Spoiled()"

    def sample(self, n_tasks, *, generator=None, device=None):
        tasks = SOURCE.sample(n_tasks, generator=generator, device=device)
        if self.left == 0:
            tasks.query.y[1, 0] = math.nan
            tasks.query.y[3, 0] = math.inf
        self.left -= 1
        return tasks


def test_a_loss_that_is_not_finite_names_task_and_iteration_and_steps_nothing(tmp_path):
    file, learner = tmp_path / "run.pt", MAML(smooth_net())
    optimizer = Adam(learner.parameters())
    settings = {"checkpoint": file, "checkpoint_every": 4, "n_tasks": 4}
    run(learner, optimizer, source=Spoiled(99), n_iterations=5, **settings)
    good, weights = file.read_bytes(), snapshot(learner)
    message = r"iteration 7: the loss of task\(s\) 1, 3 of the batch is not finite"
    with pytest.raises(ValueError, match=message):
        run(
            learner,
            optimizer,
            source=Spoiled(2),
            n_iterations=9,
            **settings | {"checkpoint_every": 4},
        )
    assert file.read_bytes() == good
    assert not same(snapshot(learner), weights)  # iterations 5 and 6 were good


def test_a_step_that_breaks_a_parameter_is_not_saved(tmp_path):
    file, learner = tmp_path / "run.pt", MAML(smooth_net())
    optimizer = SGD(learner.parameters(), 1e-3)
    run(learner, optimizer, n_iterations=2, checkpoint=file)
    good = file.read_bytes()
    learner.model[0].weight.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(ValueError, match=r"iteration 2 left parameters .*\(model.0"):
        run(learner, optimizer, n_iterations=3, checkpoint=file)
    assert file.read_bytes() == good


def test_a_run_that_ends_with_broken_parameters_says_so_without_a_checkpoint_too():
    learner = MAML(smooth_net())
    learner.model[2].bias.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(ValueError, match=r"iteration 0 left parameters .*\(model.2.bias\)"):
        run(learner, SGD(learner.parameters(), 1e-3), n_iterations=1)
