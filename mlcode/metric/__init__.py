"""Metric-based learners: they compare queries with the support set in a learned space."""

from mlcode.metric.matching import MatchingNetwork
from mlcode.metric.metric_learner import MetricLearner
from mlcode.metric.prototypical import PrototypicalNetwork
from mlcode.metric.siamese import Siamese

__all__ = ["MatchingNetwork", "MetricLearner", "PrototypicalNetwork", "Siamese"]
