"""Model-based learners: they read the support set, and what they learned is a state or a text."""

from mlcode.model_based.hypernetwork import HyperNetwork
from mlcode.model_based.in_context import InContextLearner
from mlcode.model_based.memory import MemoryLearner
from mlcode.model_based.parameter_prediction import ParameterPrediction
from mlcode.model_based.recurrent import RecurrentLearner
from mlcode.model_based.recurrent_policy import RecurrentPolicy
from mlcode.model_based.regression import RidgeRegression
from mlcode.model_based.task_features import TaskFeatures
from mlcode.model_based.weight_generator import WeightGenerator

__all__ = [
    "HyperNetwork",
    "InContextLearner",
    "MemoryLearner",
    "ParameterPrediction",
    "RecurrentLearner",
    "RecurrentPolicy",
    "RidgeRegression",
    "TaskFeatures",
    "WeightGenerator",
]
