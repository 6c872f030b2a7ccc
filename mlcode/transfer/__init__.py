"""Transfer learning: what one source of data teaches is used on another."""

from mlcode.transfer.features import FeatureTransfer
from mlcode.transfer.fine_tuning import FineTuning
from mlcode.transfer.instances import InstanceTransfer
from mlcode.transfer.relations import RelationalTransfer

__all__ = ["FeatureTransfer", "FineTuning", "InstanceTransfer", "RelationalTransfer"]
