import pytest
import torch
from torch import nn

from mlcode import MLP


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
