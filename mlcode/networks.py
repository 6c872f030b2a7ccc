"""The networks that the learners train. Any `nn.Module` would do; these are the published ones."""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from mlcode.checks import check_int


class MLP(nn.Sequential):
    """A multilayer perceptron: linear layers of the given sizes with ReLU between them.

    `MLP(1, 40, 40, 1)` is the regressor of the MAML paper (Finn et al., 2017, section 5.1).

    Args:
        sizes: Features of the input, of each hidden layer, and of the output.

    Raises:
        TypeError: If a size is not an integer.
        ValueError: If there are fewer than two sizes or one is below 1; on call, if the input's
            last axis is not `sizes[0]`.
    """

    def __init__(self, *sizes: int) -> None:
        if len(sizes) < 2:
            raise ValueError(f"MLP needs the sizes of its input and output at least; got {sizes}.")
        for size in sizes:
            check_int("a layer size", size, minimum=1)
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        super().__init__(*layers[:-1])
        self.sizes = sizes

    def forward(self, x: Float[Tensor, "*example feature"]) -> Float[Tensor, "*example target"]:
        """Map features to outputs along the last axis."""
        if x.shape[-1] != self.sizes[0]:
            raise ValueError(
                f"MLP{self.sizes} takes {self.sizes[0]} feature(s) on the last axis; "
                f"got inputs of shape {tuple(x.shape)}."
            )
        return super().forward(x)
