"""Weights that are generated: by what they are for, and by what a fit would have found."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import integers, sampled_from
from torch import nn
from torch.func import functional_call
from torch.optim import Adam

from mlcode import MAML, MLP, ConvNet, Examples, HyperNetwork, Sinusoids, Tasks, evaluate, train
from mlcode.model_based import ParameterPrediction, TaskFeatures, WeightGenerator
from mlcode.model_based.task_features import deviation
from mlcode.optimization.rules import GradientDescent
from tests.helpers import (
    SEEDS,
    distance,
    gradients,
    random_tasks,
    reseed,
    same,
    seeded,
    smooth_net,
    snapshot,
)

CLASSIFICATION = sampled_from([True, False])
KINDS = (HyperNetwork, ParameterPrediction)


def made(kind=HyperNetwork, classification=False, seed=0, **settings):
    """A learner with 2 inputs and 3 outputs, in float64."""
    features = TaskFeatures(2, 3, width=4, n_hidden=5, classification=classification)
    if kind is ParameterPrediction:
        settings = {"n_fit_steps": 3} | settings
    learner = kind(smooth_net(2, 3, seed=seed), features, n_hidden=6, **settings).double()
    return reseed(learner, seed)


def tasks_of(n_tasks, n_shot, n_query=2, classification=False, seed=0) -> Tasks:
    return random_tasks(
        n_tasks, n_shot, n_query, (2,), (3,), seed=seed, classes=3 if classification else None
    )


@given(
    kind=sampled_from(KINDS),
    classification=CLASSIFICATION,
    seed=SEEDS,
    n_shot=integers(1, 4),
)
def test_its_meta_gradient_is_the_slope_of_its_loss(kind, classification, seed, n_shot):
    tasks = tasks_of(2, n_shot, classification=classification, seed=seed)
    learner = made(kind, classification, seed)
    trained = {n: p for n, p in learner.named_parameters() if p.requires_grad}
    found = dict(zip(trained, torch.autograd.grad(learner(tasks), list(trained.values()))))
    draw = seeded(seed)
    steps = {n: torch.randn(p.shape, generator=draw, dtype=p.dtype) for n, p in trained.items()}

    def loss_at(size):
        moved = {n: p.detach() + size * steps[n] for n, p in trained.items()}
        return functional_call(learner, moved, (tasks,)).item()

    slope = (loss_at(1e-6) - loss_at(-1e-6)) / 2e-6
    along = sum(float((found[n] * steps[n]).sum()) for n in found)
    assert abs(along - slope) < 1e-5 * max(1.0, abs(slope))  # ReLU has kinks, rarely met


@given(kind=sampled_from(KINDS), classification=CLASSIFICATION, seed=SEEDS, n_shot=integers(1, 3))
def test_loop_and_vmap_agree(kind, classification, seed, n_shot):
    tasks = tasks_of(3, n_shot, classification=classification, seed=seed)
    loop, vmap = (made(kind, classification, seed, mapping=mapping) for mapping in ("loop", "vmap"))
    assert distance(vmap.losses(tasks), loop.losses(tasks)) < 1e-11
    for learner in (loop, vmap):
        learner.eval()
    assert distance(vmap.losses(tasks), loop.losses(tasks)) < 1e-12


@given(classification=CLASSIFICATION, seed=SEEDS, n_shot=integers(1, 6))
def test_the_order_of_a_support_set_is_without_effect(classification, seed, n_shot):
    support, query = tasks_of(1, n_shot, classification=classification, seed=seed).select(0)
    learner = made(classification=classification, seed=seed)
    order = torch.randperm(n_shot, generator=seeded(seed))
    shuffled = Examples(support.x[order], support.y[order])
    features = learner.generator.features
    assert distance(features(shuffled), features(support)) < 1e-12
    assert distance(learner.predict(shuffled, query.x), learner.predict(support, query.x)) < 1e-12


@given(kind=sampled_from(KINDS), seed=SEEDS, n_shot=integers(0, 3))
def test_if_the_generator_gives_a_constant_it_is_the_plain_network(kind, seed, n_shot):
    support, query = tasks_of(1, n_shot, seed=seed).select(0)
    learner = made(kind, seed=seed)
    nn.init.zeros_(learner.generator.last.weight)
    assert distance(learner.predict(support, query.x), learner.generator.model(query.x)) == 0


@given(seed=SEEDS)
def test_flat_is_the_inverse_of_named(seed):
    generator = made(seed=seed).generator
    offset = torch.randn(generator.n_weights, generator=seeded(seed), dtype=torch.float64)
    assert distance(generator.flat(generator.named(offset)), offset) < 1e-12


def test_the_scale_of_a_weight_is_one_over_the_root_of_its_layers_inputs():
    model = nn.Sequential(nn.Linear(4, 2), nn.LayerNorm(2), nn.Linear(2, 1))
    scale = WeightGenerator(model, TaskFeatures(4)).scale
    expected = [1 / 2] * 10 + [1.0] * 4 + [1 / math.sqrt(2)] * 3
    assert scale.tolist() == pytest.approx(expected)


@given(classification=CLASSIFICATION, seed=SEEDS)
def test_generated_weights_reach_every_parameter_of_the_generator(classification, seed):
    tasks = tasks_of(3, 4, classification=classification, seed=seed)
    learner = made(classification=classification, seed=seed)
    for name, gradient in gradients(learner, tasks).items():
        assert gradient.abs().max() > 0, name


def test_weights_copied_into_parameters_leave_the_generator_without_gradient():
    """The fault of document 001, section 5.1, if its undefined model keeps what it is given."""
    support, query = tasks_of(1, 4).select(0)
    learner = made()
    model = smooth_net(2, 3)
    for name, weight in learner.weights(support).items():
        layer, _, kind = name.rpartition(".")
        setattr(model.get_submodule(layer), kind, nn.Parameter(weight))
    F.mse_loss(model(query.x), query.y).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert all(p.grad is None for p in learner.parameters())
    learner.task_loss(support, query).backward()
    assert all(p.grad is not None for p in learner.parameters())


def test_frozen_parameters_are_not_generated():
    model = smooth_net(2, 3)
    model[0].requires_grad_(False)
    generator = WeightGenerator(model, TaskFeatures(2, 3))
    assert list(generator.shapes) == ["2.weight", "2.bias"]


def test_the_features_that_need_no_learning_by_hand():
    features = TaskFeatures(1, 1, width=2)
    support = Examples(torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [2.0]]))
    found = features(support)[: features.n_fixed].tolist()
    assert found == pytest.approx([math.log(3), 2.0, 2.0, 1.0, 0.0])


def test_repeating_every_example_changes_the_size_alone():
    support, _ = tasks_of(1, 3).select(0)
    features = made().generator.features
    twice = Examples(*(t.repeat(2, 1) for t in support))
    one, two = features(support), features(twice)
    assert distance(two[1:], one[1:]) < 1e-12
    assert (two - one)[0].item() == pytest.approx(math.log(7 / 4))


@given(kind=sampled_from(KINDS), classification=CLASSIFICATION, seed=SEEDS)
def test_one_example_is_enough_and_its_gradient_is_finite(kind, classification, seed):
    tasks = tasks_of(2, 1, classification=classification, seed=seed)
    learner = made(kind, classification, seed)
    loss = learner(tasks)
    loss.backward()
    gradient = [p.grad for p in learner.parameters() if p.requires_grad]
    assert all(g.isfinite().all() for g in [loss, *gradient])


def test_no_deviation_has_no_slope():
    centred = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    deviation(centred).sum().backward()
    assert centred.grad.abs().max() == 0


def test_without_examples_it_says_the_same_of_every_task():
    support, query = tasks_of(1, 0).select(0)
    learner = made()
    assert learner.generator.features(support).abs().max() == 0
    expected = functional_call(
        learner.generator.model, learner.generator.named(learner.generator.offset(support)), query.x
    )
    assert distance(learner.predict(support, query.x), expected) == 0


def test_a_fit_or_a_refinement_without_examples_is_refused():
    support, query = tasks_of(1, 0).select(0)
    with pytest.raises(ValueError, match="the support set is empty"):
        made(ParameterPrediction).fit(support)
    with pytest.raises(ValueError, match="the support set is empty"):
        made(ParameterPrediction, n_refine_steps=1).predict(support, query.x)


@given(seed=SEEDS, n_steps=integers(0, 4))
def test_a_fit_is_gradient_descent_from_the_shared_start(seed, n_steps):
    support, _ = tasks_of(1, 4, seed=seed).select(0)
    learner = made(ParameterPrediction, seed=seed, rule=GradientDescent(0.1), n_fit_steps=n_steps)
    fitted = learner.generator.named(learner.fit(support))
    peer = smooth_net(2, 3)
    peer.load_state_dict(learner.generator.model.state_dict())
    optimizer = torch.optim.SGD(peer.parameters(), 0.1)
    for _ in range(n_steps):
        optimizer.zero_grad()
        F.mse_loss(peer(support.x), support.y).backward()
        optimizer.step()
    assert distance(fitted, dict(peer.named_parameters())) < 1e-12


@given(seed=SEEDS, classification=CLASSIFICATION)
def test_the_training_loss_is_the_distance_from_the_fits_and_leaves_the_start_alone(
    seed, classification
):
    tasks = tasks_of(3, 2, classification=classification, seed=seed)
    learner = made(ParameterPrediction, classification, seed)
    fits = learner.fits(tasks)
    assert not fits.requires_grad
    assert distance(learner.losses(tasks), learner.regressions(tasks, fits)) < 1e-12
    before = snapshot(learner.generator.model)
    learner(tasks).backward()
    assert all(p.grad is None for p in learner.generator.model.parameters())
    assert same(snapshot(learner.generator.model), before)


@given(seed=SEEDS, n_steps=integers(0, 3))
def test_refinement_is_the_inner_loop_of_maml_from_the_predicted_weights(seed, n_steps):
    support, query = tasks_of(1, 4, seed=seed).select(0)
    learner = made(ParameterPrediction, seed=seed, refine_lr=0.1, n_refine_steps=n_steps)
    peer = MAML(smooth_net(2, 3), inner_lr=0.1, n_inner_steps=n_steps)
    with torch.no_grad():
        predicted = learner.generator(support)
        for name, parameter in peer.model.named_parameters():
            parameter.copy_(predicted[name])
    assert distance(learner.predict(support, query.x), peer.predict(support, query.x)) < 1e-12


def test_it_generates_the_weights_of_a_convolutional_network():
    learner = HyperNetwork(
        ConvNet(3, n_filters=2), TaskFeatures(784, 3, width=4, classification=True), n_hidden=4
    )
    x = torch.rand(2, 3, 1, 28, 28, generator=seeded(0))
    y = torch.arange(3).expand(2, 3)
    assert learner(Tasks(Examples(x, y), Examples(x, y))).isfinite()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("x", "y", "match"),
    [
        ((4, 3), (4, 3), "made for 2 number"),
        ((4, 2), (4, 1), "made for 3 real target"),
        ((4, 2), (3, 3), "one target per input"),
    ],
)
def test_wrong_widths_are_refused(x, y, match):
    with pytest.raises(ValueError, match=match):
        made().predict(
            Examples(torch.zeros(x).double(), torch.zeros(y).double()), torch.zeros(1, 2).double()
        )


@pytest.mark.usefixtures("unchecked")
def test_labels_that_are_no_classes_and_the_wrong_kind_of_target_are_refused():
    x, learner = torch.zeros(2, 2).double(), made(classification=True)
    with pytest.raises(ValueError, match="labels must lie in 0 … 2"):
        learner.predict(Examples(x, torch.tensor([0, 3])), x)
    with pytest.raises(ValueError, match="one integer label"):
        learner.predict(Examples(x, torch.zeros(2, 3).double()), x)
    with pytest.raises(ValueError, match="3 real target"):
        made().predict(Examples(x, torch.tensor([0, 1])), x)


@pytest.mark.usefixtures("unchecked")
def test_settings_that_make_no_sense_are_refused():
    model, features = smooth_net(2, 3), TaskFeatures(2, 3)
    with pytest.raises(TypeError, match="features must be TaskFeatures; got int"):
        HyperNetwork(model, 3)
    with pytest.raises(ValueError, match="n_hidden must be at least 1"):
        HyperNetwork(model, features, n_hidden=0)
    with pytest.raises(ValueError, match="nothing to generate"):
        HyperNetwork(nn.ReLU(), features)
    with pytest.raises(ValueError, match="examples must be one of"):
        ParameterPrediction(model, features, examples="queries")
    with pytest.raises(ValueError, match="width must be at least 1"):
        TaskFeatures(2, 3, width=0)


def test_it_learns_waves_better_than_a_network_trained_on_all_of_them():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        learner = HyperNetwork(MLP(1, 20, 20, 1), TaskFeatures(1, width=16, n_hidden=32))
        train(
            learner,
            Sinusoids(),
            n_iterations=300,
            n_tasks=25,
            optimizer=Adam(learner.parameters(), 3e-3),
            generator=seeded(0),
            progress=False,
        )
    # Without a look at the task nothing does better than the mean of all waves, 3.3 or so.
    assert evaluate(learner, Sinusoids(), 200).mean < 2.0
