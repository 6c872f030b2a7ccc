"""On images the step is the peers' step too, with our batch norm against torch's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import booleans, integers, sampled_from

from mlcode import MAML, ConvNet, Examples, Tasks
from mlcode.peers import maml
from mlcode.peers.cross_check import cross_check
from mlcode.peers.images import ImageSetting, image_problem
from mlcode.peers.meta_step import difference, meta_step
from mlcode.peers.networks import TorchConvNet
from tests.helpers import SEEDS, random_tasks

PEERS = {
    "learn2learn": maml.by_learn2learn,
    "higher": maml.by_higher,
    "torchopt": maml.by_torchopt,
}


@pytest.mark.parametrize("peer", PEERS)
@settings(max_examples=6)
@given(
    seed=SEEDS,
    n_inner_steps=integers(1, 3),
    first_order=booleans(),
    downsampling=sampled_from(["stride", "pool"]),
)
def test_the_step_is_the_peers_step(peer, seed, n_inner_steps, first_order, downsampling):
    torch.manual_seed(seed % 1000)
    model = TorchConvNet(3, 4, downsampling, image_size=8, n_blocks=2).double()
    tasks = random_tasks(2, 4, 5, (1, 8, 8), (), seed=seed, classes=3)
    setting = ImageSetting(n_inner_steps, first_order)
    ours = meta_step(maml.by_mlcode, model, tasks, setting)
    theirs = meta_step(PEERS[peer], model, tasks, setting)
    apart = difference(ours, theirs)
    assert max(apart.loss, apart.gradient) < 1e-10
    assert apart.parameters < 1e-10  # Adam makes steps of rounding error: see ImageSetting


@pytest.mark.parametrize("downsampling", ["stride", "pool"])
def test_both_networks_are_one_function(downsampling):
    model, tasks = image_problem(0, downsampling)
    ours = ConvNet(5, **model.options).double()
    ours.load_state_dict(model.state_dict(), strict=False)
    x = tasks.query.x[0]
    assert torch.allclose(ours(x), model(x), rtol=0, atol=1e-13)


def test_the_ledgers_reports_hold_their_tolerance():
    for algorithm in ("maml-images", "maml-images-pool"):
        cross_check(algorithm, n_inner_steps=1).check()


def test_a_batch_norm_with_another_epsilon_would_be_noticed():
    model, tasks = image_problem(0, "stride")
    setting = ImageSetting()
    ours = meta_step(maml.by_mlcode, model, tasks, setting)
    for block in model.body:
        block.norm.eps = 1e-4
    theirs = meta_step(maml.by_learn2learn, model, tasks, setting)
    assert difference(ours, theirs).gradient > 1e-6


def test_with_the_norms_parameters_left_out_of_the_inner_step_it_is_torchs_autograd():
    """The published code's way: only weights and biases of convolutions and head are adapted."""
    model, tasks = image_problem(0, "stride")
    network = ConvNet(5, **model.options).double()
    network.load_state_dict(model.state_dict(), strict=False)
    loss_fn = torch.nn.functional.cross_entropy
    learner = MAML(network, inner_lr=0.4, loss_fn=loss_fn, adapted=("body.*.conv.*", "head.*"))
    learner(tasks).backward()
    ours = {name: p.grad for name, p in network.named_parameters()}
    names = [n for n, _ in model.named_parameters() if ".norm." not in n]
    total = 0.0
    for i in range(tasks.n_tasks):
        (x, y), (query_x, query_y) = tasks.select(i)
        weights = dict(model.named_parameters())
        loss = loss_fn(torch.func.functional_call(model, weights, (x,)), y)
        step = torch.autograd.grad(loss, [weights[n] for n in names], create_graph=True)
        weights |= {n: weights[n] - 0.4 * g for n, g in zip(names, step)}
        output = torch.func.functional_call(model, weights, (query_x,))
        total = total + loss_fn(output, query_y) / tasks.n_tasks
    total.backward()
    scale = max(float(p.grad.abs().max()) for p in model.parameters())
    for name, p in model.named_parameters():
        assert (ours[name] - p.grad).abs().max() < 1e-12 * scale


def test_labels_and_images_of_the_problem_belong_together():
    _, tasks = image_problem(0, "stride")
    assert isinstance(tasks, Tasks)
    assert isinstance(tasks.support, Examples)
    assert tasks.support.y.tolist() == [[0, 1, 2, 3, 4]] * 3
