"""The process group, asked and used the same way everywhere; without one a process is alone."""

import time
from typing import Any

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


def leave_group() -> None:
    """End the process group, if there is one.

    Gloo's threads may still hold the last tensors, and need the interpreter to let go of them;
    torch 2.7 keeps it while it waits for these threads to end. So they get it first.
    """
    if dist.is_available() and dist.is_initialized():
        time.sleep(0.1)
        dist.destroy_process_group()


def gather_rows(tensor: Tensor) -> Tensor:
    """Return the rows of all processes in the order of their ranks; alone, the tensor itself.

    There may be more rows in one process than in another. The gradient of a process's rows is
    the sum of what all processes want of them, and has such a gradient itself.
    """
    if world_size() == 1:
        return tensor
    rows: Tensor = _GatherRows.apply(tensor)
    return rows


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        size = torch.tensor([tensor.shape[0]], device=tensor.device)
        sizes = [torch.empty_like(size) for _ in range(dist.get_world_size())]
        dist.all_gather(sizes, size)
        counts = torch.cat(sizes).tolist()
        padded = tensor.new_zeros((max(counts), *tensor.shape[1:]))
        padded[: tensor.shape[0]] = tensor
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        start = sum(counts[: dist.get_rank()])
        ctx.own = slice(start, start + tensor.shape[0])
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        own: Tensor = _SumOwnRows.apply(gradient, ctx.own)
        return own


class _SumOwnRows(torch.autograd.Function):
    """The sum over all processes of this one's rows; its gradient is gathered in turn."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, own: slice) -> Tensor:
        return sum_over_ranks(gradient)[own]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gather_rows(gradient), None
