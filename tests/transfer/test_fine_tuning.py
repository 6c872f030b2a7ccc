import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import integers
from torch import nn

from mlcode import ConvNet, Examples
from mlcode.transfer import FineTuning
from tests.helpers import SEEDS, distance, random_tasks


@given(seed=SEEDS, n_steps=integers(0, 5))
def test_it_is_what_torchs_optimizer_does_to_a_copy(seed, n_steps):
    (x, y), (query_x, _) = random_tasks(1, 6, 4, (1, 8, 8), (), seed=seed, classes=3).select(0)
    pretrained = ConvNet(7, n_filters=3, image_size=8, n_blocks=2).double()
    learner = FineTuning(pretrained.with_head(3), lr=0.1, n_steps=n_steps)
    ours = learner.predict(Examples(x, y), query_x)
    copy = pretrained.with_head(3)
    optimizer = torch.optim.SGD(copy.parameters(), 0.1)
    for _ in range(n_steps):
        optimizer.zero_grad()
        F.cross_entropy(copy(x), y).backward()
        optimizer.step()
    assert torch.allclose(ours, copy(query_x), atol=1e-10)


def test_only_what_is_tuned_moves_and_each_task_starts_afresh():
    support, query = random_tasks(1, 6, 4, (1, 8, 8), (), classes=3).select(0)
    model = ConvNet(3, n_filters=3, image_size=8, n_blocks=2).double()
    learner = FineTuning(model, tuned="head.*", n_steps=3)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    assert set(learner.adapt(support)) == {"head.weight", "head.bias"}
    first = learner.predict(support, query.x)
    assert torch.equal(first, learner.predict(support, query.x))
    assert distance(before, dict(model.named_parameters())) == 0


def test_zero_steps_from_a_head_of_zeros_know_nothing():
    (x, y), (query_x, query_y) = random_tasks(1, 6, 4, (5,), (), classes=3).select(0)
    model = nn.Sequential(nn.Linear(5, 3)).double()
    nn.init.zeros_(model[0].weight)
    nn.init.zeros_(model[0].bias)
    learner = FineTuning(model, n_steps=0)
    loss = learner.task_loss(Examples(x, y), Examples(query_x, query_y))
    assert torch.allclose(loss, torch.tensor(3.0).double().log())
