"""The batch of all processes, for losses that compare its members with each other."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather_batch(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the embeddings and labels of all processes, in the order of their ranks.

    $$y = \mathrm{concat}(x_0, \ldots, x_{W-1}), \qquad
      \frac{\partial L}{\partial x_r} = \sum_{s=0}^{W-1} \frac{\partial L_s}{\partial y_r}$$

    for W processes, of which that of rank r has the part $x_r$, in the place $y_r$, and the loss
    $L_r$. The gradient is the true one, and so are derivatives of it: each process gets the sum
    of what all of them want of its part. So where every process computes the same loss of the
    whole batch, or each that of its own anchors, `DistributedDataParallel`, which averages, gives
    the gradient of one process with the whole batch (for own anchors: if each has as many).

    Batches may differ in size. All processes must call it, and, if the embeddings need a
    gradient, all must take it. Without a process group it returns what it was given.

    Args:
        embeddings: this process's, or any tensor with a row for each image.
        labels: this process's.

    Shape:
        (B, ...), (B,) → (sum of all B, ...), (sum of all B,)

    Raises:
        ValueError: there are not as many labels as embeddings.

    >>> embeddings, labels = gather_batch(torch.randn(2, 8), torch.tensor([0, 1]))
    >>> embeddings.shape
    torch.Size([2, 8])
    """
    if labels.dim() != 1 or labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"gather_batch expects a label for each embedding, got labels {tuple(labels.shape)} "
            f"and embeddings {tuple(embeddings.shape)}"
        )
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return embeddings, labels
    return _Gather.apply(embeddings), _Gather.apply(labels)


class _Gather(torch.autograd.Function):
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
        own: Tensor = _SumOwn.apply(gradient, ctx.own)
        return own


class _SumOwn(torch.autograd.Function):
    """The sum over all processes of this one's rows; its gradient is gathered in turn."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, own: slice) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[own]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Gather.apply(gradient), None
