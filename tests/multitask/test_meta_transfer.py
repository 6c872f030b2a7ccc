"""Meta-transfer learning: what moves, what stays, and which tasks are hard."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import integers, sampled_from
from torch import nn

from mlcode import MAML, ConvNet, Episodes, Examples, Glyphs, PrototypicalNetwork, Tasks
from mlcode.multitask import HardTasks, MetaTransfer, ScaleAndShift
from tests.helpers import (
    SEEDS,
    distance,
    network,
    random_tasks,
    reseed,
    same,
    seeded,
    snapshot,
)

SETTINGS = {"n_way": 3, "n_features": 5, "inner_lr": 0.1, "n_inner_steps": 2}


def encoder(seed=0):
    return network(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), seed=seed)


def images(n_tasks=1, seed=0):
    return random_tasks(n_tasks, 3, 4, (1, 28, 28), (), seed=seed, classes=3)


def conv_net():
    return reseed(ConvNet(None, n_filters=4, downsampling="pool").double())


@given(seed=SEEDS)
def test_before_training_scaling_and_shifting_change_nothing(seed):
    x = torch.randn(3, 4, generator=seeded(seed), dtype=torch.float64)
    assert distance(ScaleAndShift(encoder(seed))(x), encoder(seed)(x)) == 0


def test_a_kernel_has_one_scale_for_each_pair_of_channels_and_a_shift_for_each_output():
    """Nine weights of a 3 × 3 kernel move as one: Sun et al. (2019), where their image is of a
    kernel times a number."""
    wrapped = ScaleAndShift(conv_net())
    draw = seeded(1)
    with torch.no_grad():
        for p in wrapped.parameters():
            if p.requires_grad:
                p.copy_(torch.randn(p.shape, generator=draw))
    weights, own = wrapped.weights(), dict(conv_net().named_parameters())
    ratio = weights["body.1.conv.weight"] / own["body.1.conv.weight"]
    assert distance(ratio, ratio[..., :1, :1].expand_as(ratio)) < 1e-12
    assert [tuple(p.shape) for p in wrapped.scales] == [(4, 1, 1, 1), *[(4, 4, 1, 1)] * 3]
    assert [tuple(p.shape) for p in wrapped.shifts] == [(4,)] * 4
    difference = weights["body.1.conv.bias"] - own["body.1.conv.bias"]
    assert distance(difference, wrapped.shifts[1]) < 1e-12
    assert set(weights) == {f"body.{i}.conv.{n}" for i in range(4) for n in ("weight", "bias")}


@pytest.mark.parametrize(
    ("body", "moving"),
    [
        ("scale and shift", {"scales", "shifts"}),
        ("scale", {"scales"}),
        ("shift", {"shifts"}),
        ("weights", {"0", "2"}),
        ("frozen", set()),
    ],
)
def test_meta_learned_are_the_head_and_of_the_body_what_the_name_says(body, moving):
    tasks = random_tasks(2, 6, 4, (4,), (), classes=3)
    learner = MetaTransfer(encoder(), body=body, **SETTINGS)
    with torch.no_grad():  # from a head of zeros no gradient reaches the body but by its steps
        learner.model.head.weight.copy_(torch.randn(3, 5, generator=seeded(0)))
    before = snapshot(learner)
    torch.optim.SGD([p for p in learner.parameters() if p.requires_grad], 0.1).zero_grad()
    for name, p in learner.named_parameters():
        assert p.requires_grad == (name.startswith("model.head") or name.split(".")[2] in moving), (
            name
        )
    found = gradients_of_trainable(learner, tasks)
    assert all(float(g.abs().max()) > 0 for g in found.values())
    assert same(snapshot(learner), before)


def gradients_of_trainable(learner, tasks):
    named = {n: p for n, p in learner.named_parameters() if p.requires_grad}
    return dict(zip(named, torch.autograd.grad(learner(tasks), list(named.values()))))


@given(seed=SEEDS, body=sampled_from(["scale and shift", "scale", "shift", "frozen"]))
def test_within_a_task_only_the_head_moves_so_that_at_first_all_bodies_answer_alike(seed, body):
    """Before meta-training each is MAML that adapts a head of zeros on fixed features."""
    support, query = random_tasks(1, 6, 4, (4,), (), seed=seed, classes=3).select(0)
    learner = MetaTransfer(encoder(seed), body=body, **SETTINGS)
    assert set(learner.adapt(support)) == {"head.weight", "head.bias"}
    head = nn.Linear(5, 3).double()
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    features = encoder(seed)
    maml = MAML(head, inner_lr=0.1, n_inner_steps=2, loss_fn=F.cross_entropy)
    expected = maml.predict(Examples(features(support.x), support.y), features(query.x))
    assert distance(learner.predict(support, query.x), expected) < 1e-12


def test_the_body_reads_the_support_set_once_however_many_steps_the_head_takes():
    tasks = random_tasks(2, 6, 4, (4,), (), classes=3)
    learner = MetaTransfer(encoder(), **SETTINGS | {"n_inner_steps": 7, "mapping": "loop"})
    read = []
    learner.model.body.register_forward_hook(lambda _, inputs, __: read.append(len(inputs[0])))
    gradients = gradients_of_trainable(learner, tasks)
    assert sorted(read) == [4, 4, 6, 6]
    slow = MetaTransfer(encoder(), **SETTINGS | {"n_inner_steps": 7, "mapping": "loop"})
    slow.adapt = lambda support: MAML.adapt(slow, support)  # the whole network at every step
    assert distance(gradients, gradients_of_trainable(slow, tasks)) < 1e-12


@pytest.mark.parametrize("statistics", ["query", "support"])
def test_it_runs_on_images_with_batch_norm_and_vmap_agrees_with_the_loop(statistics):
    results = []
    for mapping in ("loop", "vmap"):
        learner = MetaTransfer(
            conv_net(), n_way=3, n_inner_steps=2, statistics=statistics, mapping=mapping
        )
        tasks = images(2)
        results.append(gradients_of_trainable(learner, tasks))
        support, query = tasks.select(0)
        alone = learner.predict(support, query.x[:1])
        together = learner.predict(support, query.x)[:1]
        assert (distance(alone, together) < 1e-12) == (statistics == "support")
    assert distance(*results) < 1e-11


def test_frozen_statistics_stay_frozen():
    net = conv_net()
    support, query = images().select(0)
    net.freeze_statistics(support.x)
    learner = MetaTransfer(net, n_way=3, n_inner_steps=1)
    alone = learner.predict(support, query.x[:1])
    assert distance(alone, learner.predict(support, query.x)[:1]) < 1e-12


GLYPHS = Episodes(Glyphs("validation"), n_way=3, n_shot=1, n_query=2)


def prototypes():
    return PrototypicalNetwork(reseed(ConvNet(None, n_filters=2).float(), 3))


@given(seed=SEEDS, n_tasks=integers(1, 6), share=sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_a_batch_has_as_many_tasks_as_asked_for_and_the_seed_settles_them(seed, n_tasks, share):
    source = HardTasks(GLYPHS, prototypes(), share)
    tasks = source.sample(n_tasks, generator=seeded(seed))
    assert tasks.n_tasks == n_tasks
    assert tasks.query.y.sort(-1).values.tolist() == [[0, 0, 1, 1, 2, 2]] * n_tasks
    assert same(tasks, source.sample(n_tasks, generator=seeded(seed)))


def test_the_worst_class_is_the_one_with_the_fewest_right_and_then_the_largest_loss():
    """A learner that answers what the query says: class 2 twice wrong, then class 1 less surely."""

    class Parrot(PrototypicalNetwork):
        def predict(self, support, query_x):
            return query_x

    def tasks(*rows):
        x, y = torch.tensor([rows]), torch.tensor([[0, 0, 1, 1, 2, 2]])
        return Tasks(Examples(x, y), Examples(x, y))

    source = HardTasks(GLYPHS, Parrot(nn.Linear(3, 3)))
    sure, unsure = 5.0, 0.1
    right = [[sure, 0, 0], [sure, 0, 0], [0, sure, 0], [0, sure, 0], [0, 0, sure], [0, 0, sure]]
    wrong = [*right[:4], [sure, 0, 0], [0, 0, sure]]
    assert source.worst(tasks(*wrong)).tolist() == [2]
    hesitant = [*right[:2], [0, unsure, 0], *right[3:]]
    assert source.worst(tasks(*hesitant)).tolist() == [1]


def test_hard_tasks_are_made_of_the_classes_that_were_answered_worst(monkeypatch):
    """Of four ordinary tasks, class number 0 is called the worst in each; the hard ones hold these
    and, three being needed and four found, nothing else."""
    source = HardTasks(GLYPHS, prototypes())
    asked = []
    original = Episodes.tasks_of

    def remembered(self, classes, **options):
        asked.append(classes)
        return original(self, classes, **options)

    monkeypatch.setattr(Episodes, "tasks_of", remembered)
    tasks = source.sample(8, generator=seeded(0))
    plain, hard = asked
    worst = source.worst(tasks.select(slice(0, 4)))
    found = set(plain.gather(1, worst[:, None])[:, 0].tolist())
    assert hard.shape == (4, 3)
    for row in hard.tolist():
        assert len(set(row)) == 3
        assert len(set(row) & found) == min(3, len(found))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: MetaTransfer(encoder(), n_way=3), ValueError, "pass n_features"),
        (lambda: MetaTransfer(conv_net(), n_way=1), ValueError, "n_way must be at least 2"),
        (lambda: MetaTransfer(conv_net(), n_way=3, body="scales"), ValueError, "mean 'scale'"),
        (
            lambda: MetaTransfer(encoder(), n_way=3, n_features=5, statistics="support"),
            ValueError,
            "takes n_reference",
        ),
        (lambda: ScaleAndShift(nn.Tanh()), ValueError, "no convolution and no linear layer"),
        (lambda: HardTasks(Glyphs("test"), prototypes()), TypeError, "episodes must be Episodes"),
        (lambda: HardTasks(GLYPHS, nn.Linear(1, 1)), TypeError, "must be a MetaLearner"),
        (lambda: HardTasks(GLYPHS, prototypes(), 1.0), ValueError, "share must be at least 0"),
        (
            lambda: MetaTransfer(conv_net(), n_way=2)(images()),
            ValueError,
            "labels must lie in 0 … 1",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
