"""Batch normalization over the images of all processes on a CPU, which torch's refuses.

In plain operations, so that two gloo processes can be held to one (ranks_worker.py). In eval, or
alone, it is ``nn.BatchNorm2d``.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class CPUSyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    def forward(self, images: Tensor) -> Tensor:
        if not self.training or not dist.is_initialized():
            return super().forward(images)
        others = [dim for dim in range(images.dim()) if dim != 1]
        channels = [1, -1] + [1] * (images.dim() - 2)
        count = _Sum.apply(images.new_tensor(images.numel() / images.shape[1]))
        mean = _Sum.apply(images.sum(others)) / count
        centered = images - mean.view(channels)
        variance = _Sum.apply(centered.square().sum(others)) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        result = centered * (variance + self.eps).rsqrt().view(channels)
        return result * self.weight.view(channels) + self.bias.view(channels)

    def _check_input_dim(self, _: Tensor) -> None:
        pass


class _Sum(torch.autograd.Function):
    """The sum over all processes, in both directions."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient)


def convert(module: nn.Module) -> nn.Module:
    """Replace every batch normalization, as ``nn.SyncBatchNorm.convert_sync_batchnorm`` does."""
    for name, child in list(module.named_children()):
        setattr(module, name, convert(child))
    if not isinstance(module, nn.modules.batchnorm._BatchNorm):
        return module
    own = CPUSyncBatchNorm(module.num_features, module.eps, module.momentum)
    for name in [*own._parameters, *own._buffers]:
        setattr(own, name, getattr(module, name))
    return own.train(module.training)
