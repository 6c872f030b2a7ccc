"""Several tasks at once, and meta-learning where tasks are unlike one another."""

from mlcode.multitask.batch_sources import BatchSource, ExampleBatches, TaskBatches
from mlcode.multitask.batches import by_name, with_shared_inputs
from mlcode.multitask.conditioned import ConditionedMAML, TaskEmbedding
from mlcode.multitask.families import Families
from mlcode.multitask.hard_sharing import HardSharing, TrunkAndHead
from mlcode.multitask.hard_tasks import HardTasks
from mlcode.multitask.joint import JointLearner
from mlcode.multitask.meta_transfer import MetaTransfer, ScaleAndShift
from mlcode.multitask.proto_maml import ProtoMAML
from mlcode.multitask.surgery import gradient_cosines, project_conflicts
from mlcode.multitask.training import (
    JointHistory,
    fill_gradients,
    shared_gradients,
    train_jointly,
)
from mlcode.multitask.weighting import FixedWeights, UncertaintyWeights, Weighting

__all__ = [
    "BatchSource",
    "ConditionedMAML",
    "ExampleBatches",
    "Families",
    "FixedWeights",
    "HardSharing",
    "HardTasks",
    "JointHistory",
    "JointLearner",
    "MetaTransfer",
    "ProtoMAML",
    "ScaleAndShift",
    "TaskBatches",
    "TaskEmbedding",
    "TrunkAndHead",
    "UncertaintyWeights",
    "Weighting",
    "by_name",
    "fill_gradients",
    "gradient_cosines",
    "project_conflicts",
    "shared_gradients",
    "train_jointly",
    "with_shared_inputs",
]
