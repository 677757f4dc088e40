"""The processes that train one model together."""

import os
from typing import NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from reidblocks._distributed import leave_group, sum_over_ranks, world_size

Value = TypeVar("Value")


class DistributedContext(NamedTuple):
    """The rank of this process and the number of processes.

    Its methods are collective: all processes must call them. Alone, they change nothing.
    """

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes and prints."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of a tensor over the processes, the same on each."""
        return sum_over_ranks(values) / world_size()

    def broadcast(self, value: Value) -> Value:
        """Return the value of rank 0, which pickle must know, on each process."""
        if self.world_size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, device=self.device)
        return values[0]

    def broadcast_buffers(self, module: nn.Module) -> None:
        """Copy the buffers of rank 0 to every process: running means differ between processes."""
        if self.world_size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, 0)

    def destroy(self) -> None:
        """End the process group."""
        if self.world_size > 1:
            leave_group()


def init_distributed(device: torch.device) -> DistributedContext:
    """Join the process group of ``torchrun``, on one machine or several, or run alone.

    Args:
        device: what this process computes on. Processes on GPUs communicate by NCCL, those on
            CPUs by gloo, as do all where torch has no NCCL, as on Windows.

    >>> init_distributed(torch.device("cpu"))
    DistributedContext(rank=0, world_size=1, device=device(type='cpu'))
    """
    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if processes > 1:
        on_gpus = device.type == "cuda" and dist.is_nccl_available()
        dist.init_process_group("nccl" if on_gpus else "gloo")
    return DistributedContext(rank, processes, device)
