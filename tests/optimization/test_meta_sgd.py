"""Meta-SGD: MAML where all rates are equal, learn2learn's where they are not. All in float64."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import booleans, floats, integers
from torch import nn
from torch.func import functional_call

from mlcode import (
    MAML,
    MLP,
    ConvNet,
    Examples,
    LinearFunctions,
    MetaSGD,
    Tasks,
    evaluate,
    train,
)
from mlcode.peers import learn2learn
from tests.helpers import (
    SEEDS,
    distance,
    gradients,
    network,
    random_tasks,
    same,
    seeded,
    smooth_net,
)

steps = integers(0, 4)


def with_random_rates(learner, seed):
    """Its rates drawn anew, some of them negative."""
    draw = seeded(seed)
    with torch.no_grad():
        for rate in learner.rule.parameters():
            rate.copy_(0.1 * torch.randn(rate.shape, generator=draw, dtype=rate.dtype))
    return learner


def of_model(found):
    return {n.removeprefix("model."): g for n, g in found.items() if n.startswith("model.")}


def of_rates(learner, found):
    return dict(zip(learner.rates(), (g for n, g in found.items() if n.startswith("rule."))))


@given(seed=SEEDS, n_steps=steps, first_order=booleans(), lr=floats(0.001, 0.2))
def test_with_equal_rates_it_is_maml(seed, n_steps, first_order, lr):
    tasks = random_tasks(3, 4, 5, (2,), (1,), seed=seed)
    settings = {"inner_lr": lr, "n_inner_steps": n_steps, "first_order": first_order}
    ours = MetaSGD(smooth_net(2, seed=seed), **settings)
    maml = MAML(smooth_net(2, seed=seed), **settings)
    assert distance(ours(tasks), maml(tasks)) < 1e-12
    assert distance(of_model(gradients(ours, tasks)), of_model(gradients(maml, tasks))) < 1e-12


@given(seed=SEEDS, n_steps=integers(1, 4), lr=floats(0.001, 0.2))
def test_with_equal_rates_their_gradients_sum_to_the_slope_in_mamls_one_rate(seed, n_steps, lr):
    tasks, h = random_tasks(3, 4, 5, (2,), (1,), seed=seed), 1e-5
    ours = MetaSGD(smooth_net(2, seed=seed), inner_lr=lr, n_inner_steps=n_steps)
    total = sum(float(g.sum()) for g in of_rates(ours, gradients(ours, tasks)).values())
    above, below = (
        float(MAML(smooth_net(2, seed=seed), inner_lr=rate, n_inner_steps=n_steps)(tasks).detach())
        for rate in (lr + h, lr - h)
    )
    assert total == pytest.approx((above - below) / (2 * h), rel=1e-6, abs=1e-7)


@given(seed=SEEDS, n_steps=steps, first_order=booleans())
def test_loss_and_gradients_are_learn2learns(seed, n_steps, first_order):
    tasks = random_tasks(3, 4, 5, (2,), (3,), seed=seed)
    ours = with_random_rates(
        MetaSGD(smooth_net(2, 3, seed=seed), n_inner_steps=n_steps, first_order=first_order), seed
    )
    rates = nn.ParameterList(rate.detach().clone() for rate in ours.rates().values())
    model = smooth_net(2, 3, seed=seed)
    theirs = learn2learn.algorithms.MetaSGD(model, first_order=first_order, lrs=rates)
    losses = []
    for support, query in map(tasks.select, range(3)):
        clone = theirs.clone()
        for _ in range(n_steps):
            clone.adapt(F.mse_loss(clone(support.x), support.y))
        losses.append(F.mse_loss(clone(query.x), query.y))
    loss = torch.stack(losses).mean()
    parameters = [*model.parameters(), *rates]
    expected = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    found = gradients(ours, tasks)
    names = ours.rates()
    assert distance(ours(tasks), loss) < 1e-10
    assert distance(of_model(found), dict(zip(names, expected))) < 1e-10
    assert distance(of_rates(ours, found), dict(zip(names, expected[len(names) :]))) < 1e-10


@given(seed=SEEDS, first_order=booleans())
def test_after_one_step_a_rates_gradient_is_minus_the_product_of_two_slopes(seed, first_order):
    """∂L_query(θ − α ∘ g)/∂α = −g ∘ ∇L_query(θ′): where the two slopes agree, rates grow."""
    tasks = random_tasks(1, 4, 5, (2,), (1,), seed=seed)
    support, query = tasks.select(0)
    model = smooth_net(2, seed=seed)
    learner = with_random_rates(MetaSGD(model, first_order=first_order), seed)

    def slopes(theta, examples):
        theta = {n: p.detach().requires_grad_() for n, p in theta.items()}
        loss = F.mse_loss(functional_call(model, theta, (examples.x,)), examples.y)
        return dict(zip(theta, torch.autograd.grad(loss, list(theta.values()))))

    inner = slopes(dict(model.named_parameters()), support)
    outer = slopes(learner.adapt(support), query)
    expected = {name: -inner[name] * outer[name] for name in inner}
    assert distance(of_rates(learner, gradients(learner, tasks)), expected) < 1e-12


@pytest.mark.parametrize("n_steps", [4, 5])
def test_checkpoints_change_no_gradient(n_steps):
    tasks = random_tasks(2, 4, 5, (2,), (1,))
    plain, checked = (
        with_random_rates(
            MetaSGD(smooth_net(2), n_inner_steps=n_steps, checkpoint_every=every), seed=1
        )
        for every in (None, 2)
    )
    assert distance(gradients(checked, tasks), gradients(plain, tasks)) < 1e-12


@given(seed=SEEDS)
def test_vmap_and_loop_agree(seed):
    tasks = random_tasks(3, 5, 4, (2,), (1,), seed=seed)
    vmap, loop = (
        with_random_rates(MetaSGD(smooth_net(2, seed=seed), n_inner_steps=2, mapping=way), seed)
        for way in ("vmap", "loop")
    )
    assert distance(gradients(vmap, tasks), gradients(loop, tasks)) < 1e-12


def test_only_parameters_that_adapt_have_rates():
    model = network(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    model[0].bias.requires_grad_(False)
    assert set(MetaSGD(model).rates()) == {"0.weight", "2.weight", "2.bias"}
    assert set(MetaSGD(model, adapted="2.*").rates()) == {"2.weight", "2.bias"}


def test_the_rates_are_parameters_of_the_learner_of_the_models_kind():
    learner = MetaSGD(smooth_net(2), inner_lr=0.3)
    assert len(list(learner.parameters())) == 2 * len(list(learner.model.parameters()))
    for name, p in learner.model.named_parameters():
        assert torch.equal(learner.rates()[name], torch.full_like(p, 0.3))


def test_rates_survive_saving_and_loading():
    learner, other = with_random_rates(MetaSGD(smooth_net(2)), 1), MetaSGD(smooth_net(2, seed=9))
    other.load_state_dict(learner.state_dict())
    assert same(dict(other.rates()), dict(learner.rates()))
    tasks = random_tasks(2, 4, 5, (2,), (1,))
    assert torch.equal(other(tasks), learner(tasks))


class UnevenLines:
    """y = w₁x₁ + w₂x₂, where x₁ is nine times as large as x₂ and w₂ as w₁."""

    def sample(self, n_tasks, *, generator=None, device=None):
        source = LinearFunctions(2, n_shot=20, dtype=torch.float64)
        scale = torch.tensor([3.0, 1 / 3], dtype=torch.float64)
        tasks = source.sample(n_tasks, generator=generator, device=device)
        return Tasks(*(Examples(part.x * scale, part.y) for part in tasks))


def test_uneven_features_get_uneven_rates_and_a_loss_that_no_single_rate_reaches():
    """The curvatures are 2 · 3² and 2/3²: a rate fit for one is 81 times off for the other."""

    def trained(learner):
        optimizer = torch.optim.Adam(learner.parameters(), 0.1)
        train(
            learner,
            UnevenLines(),
            n_iterations=150,
            n_tasks=10,
            optimizer=optimizer,
            generator=seeded(0),
            progress=False,
        )
        return float(evaluate(learner, UnevenLines(), n_tasks=200).mean)

    def linear():
        return network(nn.Linear(2, 1, bias=False))

    meta_sgd = MetaSGD(linear(), inner_lr=0.01)
    maml = min(trained(MAML(linear(), inner_lr=lr)) for lr in (0.02, 0.04, 0.08))
    assert trained(meta_sgd) < 0.5 * maml
    small, large = meta_sgd.rates()["0.weight"][0].tolist()
    assert large > 10 * small > 0


def test_it_runs_on_images_with_batch_norm():
    tasks = random_tasks(2, 3, 6, (1, 8, 8), (), classes=3)
    model = ConvNet(3, n_filters=3, image_size=8, n_blocks=2).double()
    learner = MetaSGD(model, inner_lr=0.1, loss_fn=F.cross_entropy)
    learner(tasks).backward()
    assert all(p.grad.isfinite().all() for p in learner.parameters())


@pytest.mark.parametrize("bad", [0.0, -0.01, float("nan")])
def test_a_first_rate_is_positive_and_finite(bad):
    with pytest.raises(ValueError, match=f"inner_lr must be positive and finite; got {bad}"):
        MetaSGD(MLP(1, 1), inner_lr=bad)
