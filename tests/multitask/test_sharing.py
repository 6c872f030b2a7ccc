"""What a shared trunk is for: it helps tasks that have something in common, and hurts others."""

import pytest
import torch
from torch import nn

from mlcode import Estimate, RelatedFunctions
from mlcode.multitask import ExampleBatches, HardSharing, by_name, train_jointly
from tests.helpers import seeded


def trained(data, seed):
    """A narrow trunk: two features of twelve inputs."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        learner = HardSharing(
            nn.Linear(12, 2, bias=False), {name: nn.Linear(2, 1, bias=False) for name in data}
        )
    optimizer = torch.optim.Adam(learner.parameters(), 0.05)
    train_jointly(learner, ExampleBatches(data), n_iterations=90, optimizer=optimizer)
    return learner


def loss_on(learner, data):
    with torch.no_grad():
        return float(torch.stack(list(learner.losses(data).values())).mean())


@pytest.mark.parametrize(("relatedness", "helps"), [(1.0, True), (0.0, False)])
def test_one_trunk_helps_related_tasks_and_hurts_unrelated_ones_beyond_the_interval(
    relatedness, helps
):
    """Five tasks of fifteen noisy examples; alone, each has a trunk of the same width to itself."""
    gains = []
    for world in range(6):
        source = RelatedFunctions(relatedness, n_shot=15, noise=0.3, world=world)
        tasks = source.sample(5, generator=seeded(world))
        train, test = by_name(tasks.support), by_name(tasks.query)
        together = loss_on(trained(train, world), test)
        alone = [loss_on(trained({n: train[n]}, world), {n: test[n]}) for n in train]
        gains.append(sum(alone) / len(alone) - together)
    gain = Estimate.of(torch.tensor(gains).numpy())
    assert (gain.mean - gain.interval > 0) if helps else (gain.mean + gain.interval < 0)
