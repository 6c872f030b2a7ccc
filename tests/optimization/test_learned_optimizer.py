import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis.strategies import booleans, integers, none, one_of, sampled_from
from torch import nn
from torch.func import functional_call

from mlcode import MLP, Examples, LearnedOptimizer, MetaLearner, Tasks, evaluate, train
from mlcode.optimization.learned_rules import InterpretableRule, LSTMRule
from mlcode.optimization.rules import Adam, GradientDescent
from mlcode.sources.problems import Quadratics
from tests.helpers import (
    SEEDS,
    conv_net,
    distance,
    random_tasks,
    reseed,
    same,
    seeded,
    smooth_net,
    snapshot,
)

RULES = {
    "LSTM": lambda seed: reseed(LSTMRule(4).double(), seed),
    "LSTM on raw gradients": lambda seed: reseed(LSTMRule(4, p=None).double(), seed),
    "interpretable": lambda seed: InterpretableRule(0.05).double(),
}
rules = sampled_from(sorted(RULES))


def by_autograd(learner, tasks, starts):
    """The objective and its gradient from scratch: loops, `detach`, no torch.func.grad."""
    total = torch.zeros((), dtype=torch.float64)
    for (support, query), start in zip(map(tasks.select, range(tasks.n_tasks)), starts):
        theta = {n: p.requires_grad_() for n, p in learner.start.named(start.clone()).items()}
        state, seen = learner.rule.init(theta), []
        for step in range(learner.n_inner_steps):
            if learner.truncation is not None and step % learner.truncation == 0:
                theta = {name: p.detach().requires_grad_() for name, p in theta.items()}
                state = torch.utils._pytree.tree_map(lambda t: t.detach(), state)
            loss = F.mse_loss(functional_call(learner.model, theta, (support.x,)), support.y)
            slopes = torch.autograd.grad(
                loss, list(theta.values()), create_graph=not learner.first_order, retain_graph=True
            )
            theta, state = learner.rule(theta, dict(zip(theta, slopes)), state)
            seen.append(F.mse_loss(functional_call(learner.model, theta, (query.x,)), query.y))
        total = total + sum(seen) / len(seen) / tasks.n_tasks
    named = dict(learner.rule.named_parameters())
    found = torch.autograd.grad(total, list(named.values()), materialize_grads=True)
    return total, {f"rule.{name}": g for name, g in zip(named, found)}


def gradients(learner, tasks):
    """The meta-gradient, of the rule alone: the model's weights are not learned."""
    named = {name: p for name, p in learner.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(learner(tasks), list(named.values()), materialize_grads=True)
    return dict(zip(named, found))


@settings(max_examples=6)
@given(
    seed=SEEDS,
    rule=rules,
    n_steps=integers(1, 6),
    truncation=one_of(none(), integers(1, 4)),
    first_order=booleans(),
    mapping=sampled_from(["vmap", "loop"]),
)
def test_objective_and_gradient_are_those_of_plain_autograd(
    seed, rule, n_steps, truncation, first_order, mapping
):
    tasks = random_tasks(2, 5, 4, (2,), (1,), seed=seed)
    learner = LearnedOptimizer(
        smooth_net(2, seed=seed),
        RULES[rule](seed),
        n_inner_steps=n_steps,
        truncation=truncation,
        first_order=first_order,
        mapping=mapping,
    )
    torch.manual_seed(seed)
    loss, expected = by_autograd(learner, tasks, learner.starts(2))
    torch.manual_seed(seed)
    assert distance(learner(tasks), loss) < 1e-12
    torch.manual_seed(seed)
    assert distance(gradients(learner, tasks), expected) < 1e-11


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_meta_gradient_is_the_slope_that_finite_differences_find(rule, seed):
    """With second derivatives and without a cut it is the whole gradient."""
    tasks = random_tasks(2, 5, 4, (2,), (1,), seed=seed)
    learner = LearnedOptimizer(
        smooth_net(2, seed=seed),
        RULES[rule](seed),
        n_inner_steps=5,
        truncation=None,
        first_order=False,
    )
    torch.manual_seed(seed)
    found = gradients(learner, tasks)
    draw = seeded(seed)
    way = {name: torch.randn(g.shape, generator=draw, dtype=g.dtype) for name, g in found.items()}
    named = dict(learner.named_parameters())

    def loss_at(h):
        torch.manual_seed(seed)
        moved = {name: named[name].detach() + h * d for name, d in way.items()}
        with torch.no_grad():
            return float(functional_call(learner, moved, (tasks,)))

    measured = (8 * (loss_at(1e-4) - loss_at(-1e-4)) - loss_at(2e-4) + loss_at(-2e-4)) / 12e-4
    predicted = sum(float((g * way[name]).sum()) for name, g in found.items())
    assert predicted == pytest.approx(measured, rel=1e-6, abs=1e-9)


@given(seed=SEEDS, n_steps=integers(1, 5), more=integers(0, 3))
def test_truncation_after_the_last_step_is_none(seed, n_steps, more):
    tasks = random_tasks(2, 5, 4, (2,), (1,), seed=seed)

    def gradient(truncation):
        learner = LearnedOptimizer(
            smooth_net(2, seed=seed),
            RULES["LSTM"](seed),
            n_inner_steps=n_steps,
            truncation=truncation,
        )
        torch.manual_seed(seed)
        return gradients(learner, tasks)

    assert same(gradient(n_steps + more), gradient(None))


def test_truncation_cuts_the_gradient_and_leaves_the_path():
    tasks = random_tasks(2, 5, 4, (2,), (1,))

    def both(truncation):
        learner = LearnedOptimizer(
            smooth_net(2), RULES["LSTM"](0), n_inner_steps=6, truncation=truncation
        )
        torch.manual_seed(0)
        loss = learner(tasks)
        torch.manual_seed(0)
        return loss, gradients(learner, tasks)

    cut, whole = both(2), both(None)
    assert torch.equal(cut[0], whole[0])
    assert distance(cut[1], whole[1]) > 1e-3


@pytest.mark.parametrize("mapping", ["vmap", "loop"])
def test_in_training_every_problem_starts_afresh_and_in_evaluation_where_the_model_is(mapping):
    learner = LearnedOptimizer(MLP(1, 5, 1), GradientDescent(0.1), mapping=mapping)
    one = Quadratics(1).sample(1, generator=seeded(0))
    tasks = one.select(torch.zeros(4, dtype=torch.long))  # four times the same problem
    values = torch.cat([learner.losses(tasks), learner.losses(tasks)])
    assert len(values.unique()) == 8
    learner.eval()
    values = torch.cat([learner.losses(tasks), learner.losses(tasks)])
    assert torch.allclose(values, values[0])


def test_predict_adapt_and_trajectory_tell_of_one_run():
    (support, query) = random_tasks(1, 5, 4, (2,), (1,)).select(0)
    learner = LearnedOptimizer(smooth_net(2), RULES["LSTM"](0), n_inner_steps=7).eval()
    theta = learner.adapt(support)
    prediction = functional_call(learner.model, theta, (query.x,))
    assert torch.equal(learner.predict(support, query.x), prediction)
    path = learner.trajectory(support)
    assert path.shape == (8,)
    assert distance(path[0], F.mse_loss(smooth_net(2)(support.x), support.y)) < 1e-14
    last = F.mse_loss(functional_call(learner.model, theta, (support.x,)), support.y)
    assert distance(path[-1], last) < 1e-14
    assert torch.equal(learner.trajectory(support, 12)[:8], path)


def test_trajectories_of_many_tasks_are_those_of_each():
    tasks = random_tasks(3, 5, 4, (2,), (1,))
    learner = LearnedOptimizer(smooth_net(2), RULES["LSTM"](0))
    starts = learner.starts(3, generator=seeded(1))
    together = learner.trajectories(tasks, 6, starts)
    for i in range(3):
        alone = learner.trajectory(tasks.select(i).support, 6, starts[i])
        assert distance(together[i], alone) < 1e-12
    own = learner.trajectory(tasks.select(0).support, 6)
    assert distance(learner.trajectories(tasks, 6)[0], own) < 1e-12


@pytest.mark.parametrize("model", [MLP(3, 40, 40, 2), nn.Conv2d(2, 30, 3), nn.Linear(9, 80)])
def test_starts_are_spread_as_torch_spreads_them(model):
    """Against weights that torch drew: the same bounds and standard deviations, layer by layer."""
    learner = LearnedOptimizer(model)
    draws = [learner.start.named(s) for s in learner.starts(200, generator=seeded(0))]
    theirs = []
    for i in range(200):
        torch.manual_seed(i)
        fresh = copy.deepcopy(model)
        fresh.apply(lambda m: m.reset_parameters() if hasattr(m, "reset_parameters") else None)
        theirs.append({name: p.detach() for name, p in fresh.named_parameters()})
    for name in theirs[0]:
        a, b = (torch.stack([draw[name] for draw in group]) for group in (draws, theirs))
        assert float(a.std()) == pytest.approx(float(b.std()), rel=0.06)
        assert float(a.abs().max()) == pytest.approx(float(b.abs().max()), rel=0.05)


def test_what_torch_does_not_draw_starts_where_the_model_has_it():
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.PReLU(init=0.3))
    for start in LearnedOptimizer(model).starts(3, generator=seeded(0)):
        theta = LearnedOptimizer(model).start.named(start)
        assert torch.equal(theta["1.weight"], torch.ones(3))
        assert torch.equal(theta["1.bias"], torch.zeros(3))
        assert float(theta["2.weight"]) == pytest.approx(0.3)


def test_neither_the_model_nor_its_copy_changes_and_constants_stay():
    model = smooth_net(2)
    model[0].bias.requires_grad_(False)
    before = snapshot(model)
    learner = LearnedOptimizer(model, RULES["LSTM"](0), n_inner_steps=3)
    learner(random_tasks(2, 5, 4, (2,), (1,))).backward()
    assert same(snapshot(model), before)
    assert same(snapshot(learner.model), before)
    assert [p.requires_grad for p in model.parameters()] == [True, False, True, True]
    assert all(p.grad is None for p in learner.model.parameters())
    assert all(p.grad is not None for p in learner.rule.parameters())
    assert set(learner.adapt(random_tasks(1, 5, 4, (2,), (1,)).select(0).support)) == {
        "0.weight",
        "2.weight",
        "2.bias",
    }


class InnerAdam(nn.Module):
    """The fault of a text: an inner optimizer of torch, whose step writes into the weights."""

    def __init__(self, model):
        super().__init__()
        self.model = copy.deepcopy(model)
        self.lr = nn.Parameter(torch.tensor(0.1))

    def forward(self, support, query, n_steps=3):
        optimizer = torch.optim.Adam(self.model.parameters(), lr=self.lr.detach().item())
        for _ in range(n_steps):
            optimizer.zero_grad()
            F.mse_loss(self.model(support.x), support.y).backward()
            optimizer.step()
        return F.mse_loss(self.model(query.x), query.y)


def test_an_inner_adam_that_steps_in_place_has_no_meta_gradient():
    (support, query) = random_tasks(1, 5, 4, (2,), (1,)).select(0)
    start = smooth_net(2)
    faulty = InnerAdam(start)
    faulty(support, query).backward()
    assert faulty.lr.grad is None
    assert all(p.grad is None for p in start.parameters())

    rule = InterpretableRule(0.1).double()
    LearnedOptimizer(start, rule, n_inner_steps=3)(Tasks(*_one(support, query))).backward()
    assert all(float(p.grad.abs()) > 0 for p in rule.parameters())


def _one(*parts):
    return (Examples(part.x[None], part.y[None]) for part in parts)


@pytest.mark.usefixtures("unchecked")
def test_a_short_meta_training_beats_gradient_descent_at_its_best_rate():
    """On unseen problems from fresh starts, over the horizon that it was trained for."""
    torch.manual_seed(0)
    problems = Quadratics(5)
    learner = LearnedOptimizer(
        nn.Linear(5, 1, bias=False), LSTMRule(p=None), n_inner_steps=20, truncation=None
    )
    optimizer = torch.optim.Adam(learner.rule.parameters(), 0.01)
    draw = seeded(0)
    train(learner, problems, n_iterations=100, n_tasks=32, optimizer=optimizer, generator=draw)
    test = problems.sample(300, generator=seeded(1))
    starts = learner.starts(300, generator=seeded(2))

    def loss(rule):
        with torch.no_grad():
            return float(learner.with_rule(rule).trajectories(test, 20, starts)[:, 1:].mean())

    best = min(loss(GradientDescent(lr)) for lr in (0.05, 0.1, 0.15, 0.2, 0.3))
    assert loss(learner.rule) < 0.9 * best


@pytest.mark.usefixtures("unchecked")
def test_gradients_taken_as_constants_learn_too_small_a_rate():
    """Of the three numbers; the bias that the paper accepts, and what it costs here."""

    def learned(first_order):
        torch.manual_seed(0)
        learner = LearnedOptimizer(
            nn.Linear(5, 1, bias=False),
            InterpretableRule(),
            n_inner_steps=15,
            truncation=None,
            first_order=first_order,
        )
        train(
            learner,
            Quadratics(5),
            n_iterations=60,
            n_tasks=32,
            optimizer=torch.optim.Adam(learner.rule.parameters(), 0.05),
            clip_grad_norm=0.3,
            generator=seeded(0),
        )
        test = Quadratics(5).sample(300, generator=seeded(1))
        starts = learner.starts(300, generator=seeded(2))
        with torch.no_grad():
            losses = learner.trajectories(test, 15, starts)[:, 1:]
        return learner.rule.lr.item(), float(losses.median(dim=0).values.mean())

    (biased, worse), (rate, better) = learned(True), learned(False)
    assert rate > 1.5 * biased
    assert better < 0.8 * worse


def test_training_resumes_bit_for_bit_although_starts_are_random(tmp_path):
    def run(n_iterations, checkpoint):
        torch.manual_seed(0)
        learner = LearnedOptimizer(
            nn.Linear(3, 1, bias=False), LSTMRule(4), n_inner_steps=4, truncation=2
        )
        train(
            learner,
            Quadratics(3),
            n_iterations=n_iterations,
            n_tasks=2,
            optimizer=torch.optim.Adam(learner.rule.parameters(), 0.01),
            checkpoint=checkpoint,
        )
        return learner

    run(3, tmp_path / "a.pt")
    torch.rand(7)  # whatever else was drawn in between
    assert same(snapshot(run(6, tmp_path / "a.pt")), snapshot(run(6, tmp_path / "b.pt")))


def test_evaluation_is_the_loss_at_the_end_and_does_not_depend_on_batches():
    learner = LearnedOptimizer(nn.Linear(3, 1, bias=False), Adam(0.1), n_test_steps=9)
    whole = evaluate(learner, Quadratics(3), n_tasks=10)
    parts = evaluate(learner, Quadratics(3), n_tasks=10, batch_size=3)
    assert whole.values == pytest.approx(parts.values, rel=1e-5)
    first = Quadratics(3).sample(10, generator=seeded(20_170_309)).select(0).support
    assert float(learner.eval().trajectory(first)[-1]) == pytest.approx(whole.values[0], rel=1e-5)


def test_one_rule_serves_many_models():
    rule = RULES["LSTM"](0)
    images = random_tasks(2, 3, 3, (1, 6, 6), (), classes=3)
    learner = LearnedOptimizer(conv_net(stride=2), rule, n_inner_steps=3, loss_fn=F.cross_entropy)
    learner(images).backward()
    assert all(p.grad.isfinite().all() for p in rule.parameters())
    assert isinstance(learner, MetaLearner)
    assert LearnedOptimizer(smooth_net(), rule).rule is learner.rule


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_inner_steps": 0}, "n_inner_steps must be at least 1; got 0"),
        ({"n_test_steps": -1}, "n_test_steps must be at least 0; got -1"),
        ({"truncation": 0}, "truncation must be at least 1; got 0"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LearnedOptimizer(nn.Linear(1, 1), **options)


def test_models_that_cannot_be_optimized_are_refused():
    with pytest.raises(ValueError, match="no trainable parameter"):
        LearnedOptimizer(nn.ReLU())
    with pytest.raises(ValueError, match="keeps running statistics"):
        LearnedOptimizer(nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2)))


def test_an_empty_support_set_is_refused():
    empty = Examples(torch.zeros(0, 1), torch.zeros(0, 1))
    with pytest.raises(ValueError, match="nothing to adapt to"):
        LearnedOptimizer(nn.Linear(1, 1)).predict(empty, torch.zeros(1, 1))
