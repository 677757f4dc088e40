"""Batch normalisation over the images of all processes."""

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from reidblocks._checks import at_least_float32

Module = TypeVar("Module", bound=nn.Module)


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Normalise by the mean and variance of all processes' batches, on any device.

    ``torch.nn.SyncBatchNorm`` is the quicker one on GPUs and refuses the CPU. This one is written
    in plain operations, with the gradient through the gathered sums, and in training gives what
    one process with the whole batch would. In eval, or alone, it is ``nn.BatchNorm2d``, and it is
    built with the same arguments.

    Shape:
        (B, C, ...) → (B, C, ...); B may differ between the processes

    >>> SyncBatchNorm(3)(torch.rand(4, 3, 2, 2)).shape
    torch.Size([4, 3, 2, 2])
    """

    def forward(self, images: Tensor) -> Tensor:
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(images)
        values = at_least_float32(images)
        others = [dim for dim in range(values.dim()) if dim != 1]
        broadcast = [1, -1] + [1] * (values.dim() - 2)
        here = values.numel() / max(1, values.shape[1])
        count: Tensor = _Sum.apply(values.new_tensor(here))
        mean: Tensor = _Sum.apply(values.sum(others)) / count
        centred = values - mean.view(broadcast)
        variance: Tensor = _Sum.apply(centred.square().sum(others)) / count
        if self.track_running_stats:
            self._track(mean.detach(), variance.detach() * count / (count - 1))
        result = centred * (variance + self.eps).rsqrt().view(broadcast)
        if self.affine:
            result = result * self.weight.view(broadcast) + self.bias.view(broadcast)
        return result.to(images.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"SyncBatchNorm expects (B, C, ...), got {tuple(input.shape)}")


def synchronize_batch_norm(module: Module, device: torch.device) -> Module:
    """Have every batch normalisation within a module see the batches of all processes.

    On a GPU with torch's own ``SyncBatchNorm``, elsewhere with ours. Parameters and buffers stay
    the same tensors under the same names, so checkpoints fit as before.

    Args:
        module: its batch normalisations are replaced, where it holds them.
        device: where it will run.

    Returns:
        The module.
    """
    if device.type == "cuda":
        converted: Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return converted
    for name, child in list(module.named_children()):
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(module, name, _like(child))
        else:
            synchronize_batch_norm(child, device)
    return module


def _like(norm: nn.modules.batchnorm._BatchNorm) -> SyncBatchNorm:
    """A norm of ours that holds the other's parameters and buffers."""
    own = SyncBatchNorm(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
    )
    for name in [*own._parameters, *own._buffers]:
        setattr(own, name, getattr(norm, name))
    return own.train(norm.training)


class _Sum(torch.autograd.Function):
    """The sum over all processes; the gradient is the sum of what all of them want of it."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total
