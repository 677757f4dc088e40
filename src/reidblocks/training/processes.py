"""The processes that train one model together."""

import os
from typing import NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

Value = TypeVar("Value")


class World(NamedTuple):
    """This process among those that train together."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes and prints."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a tensor over the processes, the same on each."""
        if self.size == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.size

    def first(self, value: Value) -> Value:
        """The first process's value, on each."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, device=self.device)
        return values[0]

    def share_buffers(self, module: nn.Module) -> None:
        """Give every process the first one's buffers, as running means differ between them."""
        if self.size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, 0)

    def leave(self) -> None:
        """Take leave of the others."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()


def join_world(device: torch.device) -> World:
    """Join the processes that ``torchrun`` started, on this machine and others, or be alone.

    Args:
        device: what this process computes on: a GPU's processes talk by NCCL, a CPU's by gloo.

    >>> join_world(torch.device("cpu"))
    World(rank=0, size=1, device=device(type='cpu'))
    """
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if size > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return World(rank, size, device)
