"""Model-based learners: they read the support set, and what they learned is a state or a text."""

from mlcode.model_based.in_context import InContextLearner
from mlcode.model_based.memory import MemoryLearner
from mlcode.model_based.recurrent import RecurrentLearner
from mlcode.model_based.recurrent_policy import RecurrentPolicy
from mlcode.model_based.regression import RidgeRegression

__all__ = [
    "InContextLearner",
    "MemoryLearner",
    "RecurrentLearner",
    "RecurrentPolicy",
    "RidgeRegression",
]
