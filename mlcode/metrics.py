"""What is measured: a value of one task's predictions, with a name and a better end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mlcode.checks import check_choice, check_prediction
from mlcode.evaluation import accuracy
from mlcode.tasks import Tasks


def squared_error(
    prediction: Float[Tensor, "*example_target"], y: Float[Tensor, "*example_target"]
) -> Float[Tensor, ""]:
    """The mean squared error of one task; a `metric` for `evaluate`.

    Raises:
        ValueError: If the shapes differ, which torch would broadcast.
    """
    check_prediction(prediction, y, F.mse_loss)
    return F.mse_loss(prediction, y)


@dataclass(frozen=True)
class Metric:
    """What is compared.

    Args:
        name: As tables call it.
        of: `of(prediction, target)`, a scalar for one task.
        better: Whether "higher" or "lower" values are better.
        percent: Whether tables show it in per cent.

    Raises:
        ValueError: If `better` is neither.
    """

    name: str
    of: Callable[[Tensor, Tensor], Tensor]
    better: Literal["higher", "lower"]
    percent: bool = False

    def __post_init__(self) -> None:
        check_choice("better", self.better, ("higher", "lower"))


ACCURACY = Metric("accuracy", accuracy, "higher", percent=True)
SQUARED_ERROR = Metric("mean squared error", squared_error, "lower")


def metric_for(tasks: Tasks) -> Metric:
    """Accuracy where targets are labels, else the mean squared error.

    The same for every learner, unlike a learner's own loss.
    """
    return SQUARED_ERROR if tasks.query.y.is_floating_point() else ACCURACY
