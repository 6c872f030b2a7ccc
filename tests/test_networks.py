import pytest
import torch
from torch import nn

from mlcode import MLP, ConvNet


def test_an_mlp_is_its_linear_layers_with_relu_between():
    net = MLP(2, 5, 4, 3)
    x = torch.randn(7, 2)
    h = x
    for layer in (0, 2):
        h = torch.relu(h @ net[layer].weight.T + net[layer].bias)
    assert torch.allclose(net(x), h @ net[4].weight.T + net[4].bias, atol=1e-6)
    assert [type(layer) for layer in net][1::2] == [nn.ReLU, nn.ReLU]


def test_the_papers_regressor_has_1761_parameters():
    assert sum(p.numel() for p in MLP(1, 40, 40, 1).parameters()) == 1761


def test_two_sizes_make_a_linear_map():
    net = MLP(3, 2)
    x, z = torch.randn(2, 4, 3)
    assert torch.allclose(net(x + z) + net(torch.zeros(4, 3)), net(x) + net(z), atol=1e-6)


def test_inputs_of_another_width_are_refused_with_their_shape():
    with pytest.raises(ValueError, match=r"MLP\(2, 3\) takes 2 feature.* got inputs of .*\(4, 1\)"):
        MLP(2, 3)(torch.zeros(4, 1))


@pytest.mark.parametrize("sizes", [(), (1,)])
def test_an_mlp_needs_an_input_and_an_output(sizes):
    with pytest.raises(ValueError, match="needs the sizes of its input and output"):
        MLP(*sizes)


def test_sizes_are_positive():
    with pytest.raises(ValueError, match="a layer size must be at least 1; got 0"):
        MLP(1, 0, 1)


@pytest.mark.usefixtures("unchecked")
def test_sizes_are_integers():
    with pytest.raises(TypeError, match=r"a layer size must be an integer; got \[40, 40\]"):
        MLP(1, [40, 40], 1)


def images(n=2, channels=1, side=28):
    return torch.rand(n, channels, side, side)


@pytest.mark.parametrize(
    ("options", "n_parameters"),
    [
        # Four convolutions with bias, two numbers a channel of batch norm, and the linear head.
        ({}, (9 + 1 + 2) * 64 + 3 * (64 * 9 + 1 + 2) * 64 + 64 * 5 + 5),
        (
            {"downsampling": "pool", "n_filters": 32, "in_channels": 3, "image_size": 84},
            (27 + 1 + 2) * 32 + 3 * (32 * 9 + 1 + 2) * 32 + 32 * 25 * 5 + 5,
        ),
    ],
)
def test_the_published_shapes_have_their_parameters(options, n_parameters):
    assert sum(p.numel() for p in ConvNet(5, **options).parameters()) == n_parameters


def test_both_shapes_give_64_features_of_a_drawing():
    for downsampling in ("stride", "pool"):
        net = ConvNet(None, downsampling=downsampling)
        assert net.n_features == 64
        assert net(images()).shape == (2, 64)


def test_the_pooling_shape_is_torchs_own_layers_in_that_order():
    net = ConvNet(None, downsampling="pool").double()
    layers = []
    for block in net.body:
        norm = nn.BatchNorm2d(64, track_running_stats=False)
        layers += [block.conv, norm.double(), nn.ReLU(), nn.MaxPool2d(2)]
    theirs = nn.Sequential(*layers, nn.Flatten())
    x = images(3).double()
    assert torch.allclose(net(x), theirs(x), atol=1e-12)


def test_the_stride_shape_averages_the_last_image():
    net = ConvNet(None).double()
    layers = []
    for block in net.body:
        norm = nn.BatchNorm2d(64, track_running_stats=False)
        layers += [block.conv, norm.double(), nn.ReLU()]
    theirs = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x = images(3).double()
    assert [block.conv.stride for block in net.body] == [(2, 2)] * 4
    assert torch.allclose(net(x), theirs(x), atol=1e-12)


def test_a_new_head_starts_at_zero_on_the_same_body_and_leaves_the_old_net_alone():
    net = ConvNet(5).double()
    other = net.with_head(7)
    x = images().double()
    assert torch.equal(other(x), torch.zeros(2, 7, dtype=torch.float64))
    assert torch.equal(net.with_head(None)(x), other.with_head(None)(x))
    assert (net.n_out, other.n_out, net(x).shape) == (5, 7, (2, 5))


def test_frozen_statistics_are_those_of_the_images_at_every_depth():
    net = ConvNet(5, downsampling="pool").double()
    x = images(8).double()
    before = net(x)
    net.freeze_statistics(x)
    assert torch.allclose(net(x), before, atol=1e-12)
    assert torch.allclose(net(x[:1]), before[:1], atol=1e-12)
    net.thaw_statistics()
    assert not torch.allclose(net(x[:2]), before[:2], atol=1e-3)


def test_channels_last_changes_no_number():
    net = ConvNet(5, downsampling="pool").double()
    x = images(3).double()
    before = net(x)
    net.to(memory_format=torch.channels_last)
    assert torch.allclose(net(x), before, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 28, 28), (2, 3, 28, 28), (2, 1, 32, 32)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"images of the shape \(example, \*\(1, 28, 28\)\); got"):
        ConvNet(5)(torch.zeros(shape))


def test_images_as_bytes_are_refused_with_what_to_do():
    with pytest.raises(TypeError, match=r"floating-point images .*got torch.uint8.*x / 255"):
        ConvNet(5)(torch.zeros(2, 1, 28, 28, dtype=torch.uint8))


def test_pooling_away_the_last_pixel_is_refused():
    with pytest.raises(ValueError, match="needs images of 16 pixels a side at least; got image_si"):
        ConvNet(5, downsampling="pool", image_size=12)


def test_an_unknown_shape_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'stride'"):
        ConvNet(5, downsampling="strides")
