"""What a long training run needs beside the training: checkpoints, records, many processes."""

from reidblocks._files import atomic_path, write_file
from reidblocks.training.averaging import WeightAverage
from reidblocks.training.batch_norm import SyncBatchNorm, synchronize_batch_norm
from reidblocks.training.checkpoints import Checkpoints, load_checkpoint, save_checkpoint
from reidblocks.training.depthwise import Float32Conv2d, spare_strided_depthwise
from reidblocks.training.interruption import StopRequest
from reidblocks.training.means import RunningMeans
from reidblocks.training.processes import World, join_world
from reidblocks.training.records import (
    Recorder,
    append_record,
    describe_environment,
    read_records,
    trim_records,
)
from reidblocks.training.seeds import seed_step
from reidblocks.training.shares import gradient_shares

__all__ = [
    "Checkpoints",
    "Float32Conv2d",
    "Recorder",
    "RunningMeans",
    "StopRequest",
    "SyncBatchNorm",
    "WeightAverage",
    "World",
    "append_record",
    "atomic_path",
    "describe_environment",
    "gradient_shares",
    "join_world",
    "load_checkpoint",
    "read_records",
    "save_checkpoint",
    "seed_step",
    "spare_strided_depthwise",
    "synchronize_batch_norm",
    "trim_records",
    "write_file",
]
