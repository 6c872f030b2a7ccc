"""mlcode: the package that the chapters of *Learning to Learn* import."""

from mlcode.learner import MetaLearner
from mlcode.networks import MLP
from mlcode.optimization.maml import MAML
from mlcode.sources.sinusoids import Sinusoids
from mlcode.tasks import Examples, Tasks, TaskSource

__all__ = ["MAML", "MLP", "Examples", "MetaLearner", "Sinusoids", "TaskSource", "Tasks"]
