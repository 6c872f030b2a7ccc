"""ProtoMAML: between a Prototypical network, which it is without steps, and MAML, whose step it
takes."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import booleans, integers, permutations, sampled_from
from torch import nn
from torch.func import functional_call

from mlcode import MAML, MLP, ConvNet, Episodes, Examples, Glyphs, Tasks
from mlcode.metric import PrototypicalNetwork
from mlcode.multitask import ProtoMAML, TrunkAndHead
from mlcode.multitask.proto_maml import prototype_head
from tests.helpers import SEEDS, distance, gradients, network, reseed, seeded


def episodes(n_tasks, n_way, n_shot=2, n_query=2, *, seed=0) -> Tasks:
    draw = seeded(seed)

    def examples(each):
        y = torch.arange(n_way).repeat(n_tasks, each)
        x = torch.randn(*y.shape, 4, generator=draw, dtype=torch.float64)
        return Examples(x, y)

    return Tasks(examples(n_shot), examples(n_query))


def encoder(seed=0):
    return network(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), seed=seed)


@given(seed=SEEDS, n_tasks=integers(1, 3), n_way=integers(2, 6), n_shot=integers(1, 3))
def test_without_steps_it_is_the_prototypical_network(seed, n_tasks, n_way, n_shot):
    tasks = episodes(n_tasks, n_way, n_shot, seed=seed)
    ours = ProtoMAML(encoder(seed), n_inner_steps=0)
    theirs = PrototypicalNetwork(encoder(seed))
    assert distance(ours(tasks), theirs(tasks)) < 1e-10
    assert distance(gradients(ours, tasks), gradients(theirs, tasks)) < 1e-10
    support, query = tasks.select(0)
    probabilities = [learner.predict(support, query.x).softmax(-1) for learner in (ours, theirs)]
    assert distance(*probabilities) < 1e-10


@pytest.mark.parametrize("statistics", ["query", "support"])
def test_without_steps_it_is_the_prototypical_network_on_images_with_batch_norm(statistics):
    source = Episodes(Glyphs("validation"), n_way=3, n_shot=1, n_query=2, dtype=torch.float64)
    tasks = source.sample(2, generator=seeded(0))

    def net():
        return reseed(ConvNet(None, n_filters=3, downsampling="pool").double())

    ours = ProtoMAML(net(), n_inner_steps=0, statistics=statistics)
    theirs = PrototypicalNetwork(net(), statistics=statistics)
    assert distance(ours(tasks), theirs(tasks)) < 1e-10
    assert distance(gradients(ours, tasks), gradients(theirs, tasks)) < 1e-10


@given(seed=SEEDS, n_steps=integers(0, 3))
def test_from_the_same_head_it_steps_as_maml_does(seed, n_steps):
    """MAML is given the head that the prototypes of this very task write."""
    support, query = episodes(1, 3, seed=seed).select(0)
    body = encoder(seed)
    head = nn.Linear(5, 3).double()
    with torch.no_grad():
        for p, value in zip(head.parameters(), prototype_head(body(support.x), support.y, 3)):
            p.copy_(value)
    settings = {"inner_lr": 0.05, "n_inner_steps": n_steps, "loss_fn": F.cross_entropy}
    maml = MAML(TrunkAndHead(body, head), **settings)
    ours = ProtoMAML(body, **settings).predict(support, query.x)
    assert distance(ours, maml.predict(support, query.x)) < 1e-12


@given(seed=SEEDS, first_order=booleans())
def test_its_meta_gradient_reaches_the_encoder_through_the_prototypes(seed, first_order):
    """One step written out with the head as a function of θ; autograd does the rest."""
    support, query = episodes(1, 3, seed=seed).select(0)
    body, lr = encoder(seed), 0.1
    theta = dict(body.named_parameters())

    head = prototype_head(body(support.x), support.y, 3)
    loss = F.cross_entropy(F.linear(body(support.x), *head), support.y)
    at = [*theta.values(), *head]

    def of_step(theta, w, b):
        return F.cross_entropy(
            F.linear(functional_call(body, theta, (support.x,)), w, b), support.y
        )

    inner = torch.func.grad(of_step, argnums=(0, 1, 2))(theta, *head)
    inner = [*inner[0].values(), *inner[1:]]
    if first_order:
        inner = [g.detach() for g in inner]
    moved = [p - lr * g for p, g in zip(at, inner)]
    z = functional_call(body, dict(zip(theta, moved)), (query.x,))
    expected = torch.autograd.grad(
        F.cross_entropy(F.linear(z, *moved[-2:]), query.y), list(theta.values())
    )
    assert loss.isfinite()
    learner = ProtoMAML(body, inner_lr=lr, first_order=first_order)
    found = gradients(learner, Tasks(*(Examples(p.x[None], p.y[None]) for p in (support, query))))
    assert (
        distance(
            dict(zip(found, found.values())),
            {f"encoder.{name}": g for name, g in zip(theta, expected)},
        )
        < 1e-12
    )


@given(seed=SEEDS, n_steps=integers(0, 2))
def test_loop_and_vmap_agree(seed, n_steps):
    tasks = episodes(3, 4, seed=seed)
    results = []
    for mapping in ("loop", "vmap"):
        learner = ProtoMAML(encoder(seed), n_inner_steps=n_steps, mapping=mapping)
        results.append((learner.losses(tasks).detach(), gradients(learner, tasks)))
    assert distance(results[0][0], results[1][0]) < 1e-12
    assert distance(results[0][1], results[1][1]) < 1e-12


@given(seed=SEEDS, order=permutations(range(4)))
def test_renaming_the_classes_renames_the_predictions(seed, order):
    """MAML's depend on the names: its head has a row for each. Here a row is written anew."""
    support, query = episodes(1, 4, seed=seed).select(0)
    learner, order = ProtoMAML(encoder(seed), n_inner_steps=2), torch.tensor(order)
    after = learner.predict(Examples(support.x, order[support.y]), query.x)
    assert distance(after[:, order], learner.predict(support, query.x)) < 1e-11


@given(n_way=sampled_from([2, 5, 20]))
def test_one_learner_serves_any_number_of_ways(n_way):
    learner = ProtoMAML(MLP(4, 8, 6).double(), n_inner_steps=1)
    support, query = episodes(1, n_way).select(0)
    assert learner.predict(support, query.x).shape == (2 * n_way, n_way)


def test_a_step_lowers_the_support_loss_and_evaluation_has_steps_of_its_own():
    support, _ = episodes(1, 3).select(0)
    learner = ProtoMAML(encoder(), inner_lr=0.05, n_inner_steps=0, n_test_steps=20)
    before = learner.predict(support, support.x)
    after = learner.eval().predict(support, support.x)
    assert F.cross_entropy(after, support.y) < F.cross_entropy(before, support.y)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ProtoMAML(encoder(), statistics="together"), ValueError, "statistics must be one"),
        (lambda: ProtoMAML(encoder(), inner_lr=0.0), ValueError, "inner_lr must be positive"),
        (lambda: ProtoMAML(encoder(), n_inner_steps=-1), ValueError, "n_inner_steps must be at"),
        (lambda: ProtoMAML(F.relu), TypeError, r"must be a torch\.nn\.Module"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_task_without_one_of_its_classes_is_refused():
    support = Examples(torch.zeros(2, 4).double(), torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="no support example of class 1"):
        ProtoMAML(encoder()).predict(support, torch.zeros(1, 4).double())
