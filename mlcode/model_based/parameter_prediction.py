"""Parameter prediction: fit a model to each task, then learn to guess what a fit would give."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from mlcode.checks import check_choice, check_int, check_support, check_tasks
from mlcode.learner import LossFn, Mapping
from mlcode.model_based.hypernetwork import HyperNetwork
from mlcode.model_based.task_features import TaskFeatures
from mlcode.optimization.inner_loop import Parameters, UpdateRule, unroll
from mlcode.optimization.rules import Adam, GradientDescent
from mlcode.tasks import Examples, Tasks


class ParameterPrediction(HyperNetwork):
    """The generator of a `HyperNetwork`, taught by example: here is the task, there its weights.

    Five steps: collect tasks; fit a model to each; learn from the features of a task what weights
    its fit has, by regression; predict the weights of a new task; refine them by a few gradient
    steps on its support set. Every fit begins at the model's own parameters θ₀, which stay as they
    are: from starts of their own, two fits of one task would already lie far apart, since the units
    of a layer can trade places.

    In training mode the loss of a task is the mean squared distance between predicted and fitted
    weights, in units of `WeightGenerator`'s scale. It says little about how well the task is
    solved, which is this method's weakness; in evaluation mode the loss is that of the queries, as
    for every learner. `train` fits every task that it draws anew. To fit a fixed set of tasks once
    and regress many times, use `fits` and `regression`.

    Args:
        model: As in `HyperNetwork`, but θ₀ is frozen.
        features: Reads the support set.
        n_hidden: Width of the generator's hidden layers.
        rule: How a fit steps. None: Adam at 0.01.
        n_fit_steps: Steps of a fit.
        examples: What is fitted: "all", support and queries together, or "support".
        refine_lr: Rate of the gradient descent that refines.
        n_refine_steps: How many such steps; 0 for none.
        loss_fn: Of the fits, of the refinement and in evaluation. None: as in `HyperNetwork`.
        statistics: As in `HyperNetwork`.
        mapping: See `MetaLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: If a number is of the wrong type; see also `HyperNetwork`.
        ValueError: If a count is negative, a rate not positive, or `examples` unknown; on call, if
            the support set is empty and a fit or a refinement needs it. See also `HyperNetwork`.
    """

    def __init__(
        self,
        model: nn.Module,
        features: TaskFeatures,
        *,
        n_hidden: int = 64,
        rule: UpdateRule | None = None,
        n_fit_steps: int = 100,
        examples: str = "all",
        refine_lr: float = 0.01,
        n_refine_steps: int = 0,
        loss_fn: LossFn | None = None,
        statistics: str = "query",
        mapping: Mapping = "auto",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(
            model,
            features,
            n_hidden=n_hidden,
            loss_fn=loss_fn,
            statistics=statistics,
            mapping=mapping,
            chunk_size=chunk_size,
        )
        check_int("n_fit_steps", n_fit_steps, minimum=0)
        check_choice("examples", examples, ("all", "support"))
        check_int("n_refine_steps", n_refine_steps, minimum=0)
        self.rule = Adam(0.01) if rule is None else rule
        self.n_fit_steps, self.examples = n_fit_steps, examples
        self.refine_rule, self.n_refine_steps = GradientDescent(refine_lr), n_refine_steps
        model.requires_grad_(False)

    def weights(self, support: Examples) -> Parameters:
        """Predicted weights of one task's model, refined on its support set if asked for."""
        predicted = self.generator(support)
        if self.n_refine_steps == 0:
            return predicted
        return self._descended(predicted, support, self.refine_rule, self.n_refine_steps)

    def task_loss(self, support: Examples, query: Examples) -> Float[Tensor, ""]:
        """In training the squared distance of weights; in evaluation the query loss."""
        if not self.training:
            return super().task_loss(support, query)
        return self.regression(support, self.fit(self._fitted_on(support, query)))

    def fit(self, examples: Examples) -> Float[Tensor, "n_weights"]:
        """Fit the model to the examples of one task: the offset from θ₀, without a graph."""
        start = {name: p.detach() for name, p in self.generator.start().items()}
        fitted = self._descended(start, examples, self.rule, self.n_fit_steps)
        return self.generator.flat(fitted).detach()

    def fits(self, tasks: Tasks) -> Float[Tensor, "task n_weights"]:
        """Fit a model to each task, side by side: the second of the five steps."""
        check_tasks(tasks, like=next(self.parameters()), n_way=self.n_way)
        return self.map(lambda s, q: self.fit(self._fitted_on(s, q)), *tasks)

    def regression(
        self, support: Examples, fitted: Float[Tensor, "n_weights"]
    ) -> Float[Tensor, ""]:
        """The mean squared distance of one task's predicted weights from fitted ones."""
        return (self.generator.offset(support) - fitted).square().mean()

    def regressions(
        self, tasks: Tasks, fitted: Float[Tensor, "task n_weights"]
    ) -> Float[Tensor, "task"]:
        """The same for each task of a batch: the third of the five steps lowers its mean."""
        return self.map(self.regression, tasks.support, fitted)

    def _fitted_on(self, support: Examples, query: Examples) -> Examples:
        if self.examples == "support":
            return support
        return Examples(*(torch.cat(parts) for parts in zip(support, query)))

    def _descended(
        self, start: Parameters, examples: Examples, rule: UpdateRule, n_steps: int
    ) -> Parameters:
        """Weights after steps on the loss of `examples`, whose gradients count as constants."""
        check_support(examples, like=self.generator.scale)
        loss = partial(self._loss_at, examples=examples)
        return unroll(loss, start, rule, n_steps, first_order=True)[0]

    def _loss_at(self, weights: Parameters, examples: Examples) -> Float[Tensor, ""]:
        outputs = functional_call(self.generator.model, weights, (examples.x,))
        return self.loss(outputs, examples.y)

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        names = ("n_fit_steps", "examples", "n_refine_steps")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)
