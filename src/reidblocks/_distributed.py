"""The process group, asked and used the same way everywhere; without one a process is alone."""

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Return how many processes there are; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes; alone, the tensor itself.

    All processes must call it, with one shape and dtype. The tensor given is not changed, and no
    gradient flows through the sum.
    """
    if world_size() == 1:
        return tensor
    total = tensor.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total
