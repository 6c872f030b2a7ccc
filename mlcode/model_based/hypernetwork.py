"""A hypernetwork: read the support set and write down the weights of the task's model."""

import torch.nn.functional as F
from jaxtyping import Shaped
from torch import Tensor, nn

from mlcode.batch_norm import call_on_queries, check_statistics
from mlcode.learner import LossFn, Mapping, MetaLearner
from mlcode.model_based.task_features import TaskFeatures
from mlcode.model_based.weight_generator import WeightGenerator
from mlcode.optimization.inner_loop import Parameters
from mlcode.tasks import Examples


class HyperNetwork(MetaLearner):
    """Task features in, weights out, trained by how well the model with these weights does.

    One network generates the weights of another (Ha, Dai and Le, 2017, from whom the name comes;
    there it generates those of the layers of one network, here those of a task's model). Nothing is
    optimised within a task: to learn is one pass through the generator. What meta-training lowers
    is the query loss of the generated model, whose gradient reaches the generator through the
    weights. Conditional neural processes (Garnelo et al., 2018) are the next of kin: their mean
    over the support set goes to the predictor as an input instead of as its weights.

    Args:
        model: The task's model. Its own parameters are what the weights of all tasks have in
            common, learned with the rest; those with `requires_grad=False` are not generated.
        features: Reads the support set.
        n_hidden: Width of the generator's hidden layers.
        loss_fn: None: cross-entropy for classification, else the mean squared error.
        statistics: As in `mlcode.optimization.maml.MAML`, for models with batch norm.
        mapping: See `MetaLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: If `model` is no module, `features` no `TaskFeatures` or a number no integer.
        ValueError: If a number is below 1, the model has nothing to generate or keeps running
            statistics, or `statistics` is unknown or beyond the model.
    """

    def __init__(
        self,
        model: nn.Module,
        features: TaskFeatures,
        *,
        n_hidden: int = 64,
        loss_fn: LossFn | None = None,
        statistics: str = "query",
        mapping: Mapping = "auto",
        chunk_size: int | None = None,
    ) -> None:
        generator = WeightGenerator(model, features, n_hidden=n_hidden)
        usual = F.cross_entropy if features.classification else F.mse_loss
        super().__init__(loss_fn=loss_fn or usual, mapping=mapping, chunk_size=chunk_size)
        check_statistics(model, statistics)
        self.generator = generator
        self.statistics = statistics

    @property
    def n_way(self) -> int | None:
        """How many classes it can name; None for regression."""
        features = self.generator.features
        return features.n_out if features.classification else None

    def predict(
        self, support: Examples, query_x: Shaped[Tensor, "example *feature"]
    ) -> Shaped[Tensor, "example *target"]:
        """Generate the weights for one task and answer its queries with them.

        Without support examples the weights are those of a task about which nothing is known.
        """
        return self.outputs(self.weights(support), support, query_x)

    def weights(self, support: Examples) -> Parameters:
        """The weights of one task's model, by name; their graph leads to the generator."""
        return self.generator(support)

    def outputs(
        self, weights: Parameters, support: Examples, query_x: Shaped[Tensor, "example *feature"]
    ) -> Shaped[Tensor, "example *target"]:
        """What the model answers to the queries with these weights."""
        return call_on_queries(self.generator.model, weights, support.x, query_x, self.statistics)

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        return f"statistics={self.statistics}"
