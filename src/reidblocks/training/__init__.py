"""What a long training run needs besides the training: checkpoints, records, many processes."""

from reidblocks._files import atomic_path, write_file
from reidblocks.training.averaging import averaged_model, ema_with_warmup
from reidblocks.training.checkpoints import Checkpoints, load_checkpoint, save_checkpoint
from reidblocks.training.devices import autocast_dtype, pick_device
from reidblocks.training.distributed import DistributedContext, init_distributed
from reidblocks.training.environment import describe_environment
from reidblocks.training.interruption import StopRequest
from reidblocks.training.recompute import recompute
from reidblocks.training.records import Recorder, read_records
from reidblocks.training.schedules import warmup_cosine
from reidblocks.training.scripts import message_of, run_script
from reidblocks.training.seeds import seed_step
from reidblocks.training.shares import gradient_shares

__all__ = [
    "Checkpoints",
    "DistributedContext",
    "Recorder",
    "StopRequest",
    "atomic_path",
    "autocast_dtype",
    "averaged_model",
    "describe_environment",
    "ema_with_warmup",
    "gradient_shares",
    "init_distributed",
    "load_checkpoint",
    "message_of",
    "pick_device",
    "read_records",
    "recompute",
    "run_script",
    "save_checkpoint",
    "seed_step",
    "warmup_cosine",
    "write_file",
]
