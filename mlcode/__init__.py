"""mlcode: the package that the chapters of *Learning to Learn* import."""

from mlcode.comparison import compare
from mlcode.evaluation import Estimate, accuracy, evaluate
from mlcode.learner import MetaLearner
from mlcode.metric.matching import MatchingNetwork
from mlcode.metric.prototypical import PrototypicalNetwork
from mlcode.metric.siamese import Siamese
from mlcode.model_based.hypernetwork import HyperNetwork
from mlcode.model_based.in_context import InContextLearner
from mlcode.model_based.memory import MemoryLearner
from mlcode.model_based.recurrent import RecurrentLearner
from mlcode.model_based.recurrent_policy import RecurrentPolicy
from mlcode.model_based.regression import RidgeRegression
from mlcode.multitask.conditioned import ConditionedMAML
from mlcode.multitask.families import Families
from mlcode.multitask.hard_sharing import HardSharing
from mlcode.multitask.meta_transfer import MetaTransfer
from mlcode.multitask.proto_maml import ProtoMAML
from mlcode.networks import MLP, ConvNet
from mlcode.optimization.implicit import ImplicitMAML
from mlcode.optimization.learned_optimizer import LearnedOptimizer
from mlcode.optimization.maml import MAML
from mlcode.optimization.meta_sgd import MetaSGD
from mlcode.optimization.reptile import Reptile
from mlcode.sources.bandits import BernoulliBandits
from mlcode.sources.episodes import Episodes
from mlcode.sources.glyphs import Glyphs
from mlcode.sources.linear import LinearFunctions
from mlcode.sources.mixed_functions import MixedFunctions
from mlcode.sources.omniglot import Omniglot
from mlcode.sources.related import RelatedFunctions
from mlcode.sources.sinusoids import Sinusoids
from mlcode.tasks import Examples, Tasks, TaskSource
from mlcode.training import History, train

__all__ = [
    "MAML",
    "MLP",
    "BernoulliBandits",
    "ConditionedMAML",
    "ConvNet",
    "Episodes",
    "Estimate",
    "Examples",
    "Families",
    "Glyphs",
    "HardSharing",
    "History",
    "HyperNetwork",
    "ImplicitMAML",
    "InContextLearner",
    "LearnedOptimizer",
    "LinearFunctions",
    "MatchingNetwork",
    "MemoryLearner",
    "MetaLearner",
    "MetaSGD",
    "MetaTransfer",
    "MixedFunctions",
    "Omniglot",
    "ProtoMAML",
    "PrototypicalNetwork",
    "RecurrentLearner",
    "RecurrentPolicy",
    "RelatedFunctions",
    "Reptile",
    "RidgeRegression",
    "Siamese",
    "Sinusoids",
    "TaskSource",
    "Tasks",
    "accuracy",
    "compare",
    "evaluate",
    "train",
]
