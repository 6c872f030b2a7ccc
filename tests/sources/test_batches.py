import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import integers, sampled_from

from mlcode import MAML, MLP, train
from mlcode.sources.batches import Batches
from mlcode.sources.characters import Characters
from tests.helpers import SEEDS, seeded


def numbered(n_classes=3, n_drawings=4, side=2):
    """Every image is full of its own number, so that it says which it is."""
    n = n_classes * n_drawings
    images = torch.arange(n, dtype=torch.uint8).view(n_classes, n_drawings, 1, 1)
    names = tuple(f"A/{i}" for i in range(n_classes))
    return Characters(images.expand(-1, -1, side, side).contiguous(), names, "train")


@given(seed=SEEDS, n_tasks=integers(1, 3), batch_size=integers(1, 9))
def test_every_image_carries_the_label_of_its_class(seed, n_tasks, batch_size):
    support, query = Batches(numbered(), batch_size).sample(n_tasks, generator=seeded(seed))
    assert support.x.shape == (n_tasks, 0, 1, 2, 2)
    assert query.x.shape == (n_tasks, batch_size, 1, 2, 2)
    number = (query.x[..., 0, 0, 0] * 255).round().long()
    assert torch.equal(number // 4, query.y)


@given(seed=SEEDS, rotations=sampled_from([True, (0, 180), (90,)]))
def test_each_angle_is_a_class_of_its_own(seed, rotations):
    characters = numbered()
    images = characters.images.clone()
    images[..., 0, 0] = 255  # a corner that a turn moves
    marked = Characters(images, characters.names, "train")
    batches = Batches(marked, 20, rotations=rotations)
    angles = (0, 90, 180, 270) if rotations is True else rotations
    assert batches.n_classes == 3 * len(angles)
    _, query = batches.sample(1, generator=seeded(seed))
    for x, label in zip(query.x[0, :, 0], query.y[0].tolist()):
        upright = x.rot90(-angles[label // 3] // 90)
        assert upright[0, 0] == 1
        assert round(float(upright[1, 1]) * 255) // 4 == label % 3


def test_every_class_comes_up_equally_often():
    _, query = Batches(numbered(), 3000).sample(1, generator=seeded(0))
    counts = query.y.flatten().bincount(minlength=3)
    assert (counts - 1000).abs().max() < 100  # four standard deviations


def test_the_training_loop_pre_trains_on_it():
    batches = Batches(numbered(), 32)
    network = torch.nn.Sequential(torch.nn.Flatten(), MLP(4, 16, 3))
    learner = MAML(network, n_inner_steps=0, loss_fn=F.cross_entropy)
    history = train(
        learner,
        batches,
        n_iterations=150,
        n_tasks=1,
        optimizer=torch.optim.Adam(learner.parameters(), 0.05),
        generator=seeded(0),
    )
    assert history.loss[-10:].mean() < 0.5 * history.loss[0]


@pytest.mark.usefixtures("unchecked")
def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        Batches(numbered(), 0)
    with pytest.raises(TypeError, match="must be Characters"):
        Batches(torch.zeros(3, 4, 2, 2))
    with pytest.raises(ValueError, match="rotations must be"):
        Batches(numbered(), 4, rotations=(45,))
