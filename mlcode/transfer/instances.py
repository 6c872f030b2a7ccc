"""Transfer by instances: learn from source examples too, those most that look like the target's."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mlcode.checks import check_choice, check_positive, check_support
from mlcode.learner import LossFn, Mapping, MetaLearner
from mlcode.tasks import Examples
from mlcode.transfer.heads import as_targets, ridge, squared_distances


class InstanceTransfer(MetaLearner):
    """A linear fit to the support set and to re-weighted source examples.

    The source follows the same rule y | x as the target but shows other inputs. An average over
    source examples weighted by w(x) = p_target(x) / p_source(x) is an average over the target
    (Shimodaira, 2000), and so the weighted fit is right where the target is, even if no linear map
    is right everywhere. The ratio w is estimated from the inputs alone by `density_ratio`.

    Args:
        source: Labelled examples to learn from in every task.
        feature_map: From inputs to the features of the linear fit. None: the inputs, flattened.
        n_way: Number of classes, which source and target then share; None for regression.
        weighting: "ratio", the estimated density ratio; "none", all source examples count alike;
            "target only", none of them counts.
        width: Of the Gaussian kernels of the ratio, in units of the flattened inputs.
        kernel_penalty: Of the ratio's coefficients.
        penalty: Of the linear fit.
        loss_fn: As in `MetaLearner`.
        mapping: See `MetaLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: If a number is of the wrong type.
        ValueError: If `weighting` is unknown, a number is not positive, or the source is empty or
            has no target for each input.
    """

    source_x: Tensor
    source_y: Tensor

    def __init__(
        self,
        source: Examples,
        *,
        feature_map: nn.Module | None = None,
        n_way: int | None = None,
        weighting: str = "ratio",
        width: float = 1.0,
        kernel_penalty: float = 0.1,
        penalty: float = 1e-3,
        loss_fn: LossFn = F.mse_loss,
        mapping: Mapping = "auto",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(loss_fn=loss_fn, mapping=mapping, chunk_size=chunk_size)
        check_choice("weighting", weighting, ("ratio", "none", "target only"))
        numbers = {"width": width, "kernel_penalty": kernel_penalty, "penalty": penalty}
        for name, number in numbers.items():
            check_positive(name, number)
        check_support(source, like=source.x)
        self.register_buffer("source_x", source.x)
        self.register_buffer("source_y", source.y)
        self.feature_map = nn.Flatten() if feature_map is None else feature_map
        self.weighting, self.width = weighting, width
        self.kernel_penalty, self.penalty = kernel_penalty, penalty
        self._n_way = n_way

    @property
    def n_way(self) -> int | None:
        """Number of classes, None for regression."""
        return self._n_way

    def predict(
        self, support: Examples, query_x: Shaped[Tensor, "example *feature"]
    ) -> Shaped[Tensor, "example *target"]:
        """Weight the source by the support's inputs, fit both sets, predict the queries."""
        check_support(support, like=self.source_x)
        x = torch.cat([self.source_x, support.x])
        y = torch.cat([self.source_y, support.y])
        targets = as_targets(y, self.n_way, x.dtype)
        z, query_z = self.feature_map(x).detach(), self.feature_map(query_x).detach()
        weight = torch.cat([self.source_weights(support.x), support.x.new_ones(len(support.x))])
        return ridge(z, targets, query_z, penalty=self.penalty, weight=weight)

    def source_weights(
        self, target_x: Shaped[Tensor, "target *feature"]
    ) -> Float[Tensor, "source"]:
        """How much each source example counts; a target example counts 1."""
        ones = self.source_x.new_ones(len(self.source_x))
        if self.weighting == "none":
            return ones
        if self.weighting == "target only":
            return 0 * ones
        return density_ratio(
            self.source_x.flatten(1),
            target_x.flatten(1),
            width=self.width,
            penalty=self.kernel_penalty,
        )


def density_ratio(
    source_x: Float[Tensor, "source feature"],
    target_x: Float[Tensor, "target feature"],
    *,
    width: float,
    penalty: float,
) -> Float[Tensor, "source"]:
    """p_target / p_source at each source input, by least squares (uLSIF).

    The ratio is modelled as a sum of Gaussian kernels, one at every target input, whose
    coefficients minimise the mean squared error of the ratio over the source. That needs no density
    and has a closed form (Kanamori, Hido and Sugiyama, 2009). Negative values become 0.

    Args:
        source_x: Inputs of the source.
        target_x: Inputs of the target.
        width: Standard deviation of the kernels; they choose it by cross-validation.
        penalty: Of the squared coefficients, which makes the system solvable.
    """

    def kernels(x: Tensor) -> Tensor:
        return torch.exp(-squared_distances(x, target_x) / (2 * width**2))

    at_source, at_target = kernels(source_x), kernels(target_x)
    second_moment = at_source.T @ at_source / len(source_x)
    identity = torch.eye(len(target_x), dtype=source_x.dtype, device=source_x.device)
    coefficients = torch.linalg.solve(second_moment + penalty * identity, at_target.mean(0))
    return (at_source @ coefficients).clamp(min=0)
