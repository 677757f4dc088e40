"""Depthwise convolutions that low precision slows down on a CPU."""

import torch
from torch import Tensor, nn


class Float32Conv2d(nn.Conv2d):
    """A convolution that computes in float32 under a CPU's autocast, and gives its input's type.

    With the parameters, the names and the result (but for rounding, which is finer) of
    ``nn.Conv2d``.

    Shape:
        (B, C, H, W) → (B, C', H', W')
    """

    def forward(self, input: Tensor) -> Tensor:
        quick = input.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if not quick or self.weight.dtype != torch.float32:
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float()).to(input.dtype)


def spare_strided_depthwise(module: nn.Module) -> int:
    """Let every depthwise convolution with a stride compute in float32 under a CPU's autocast.

    For the way back through one oneDNN has no fast bfloat16 kernel, so that it takes several times
    as long as in float32: a good part of a training step with MobileNetV2. Parameters and their
    names stay as they are; elsewhere than on a CPU, and without autocast, nothing changes.

    Args:
        module: changed in place.

    Returns:
        How many convolutions there were.
    """
    found = 0
    for part in module.modules():
        if type(part) is nn.Conv2d and part.groups == part.in_channels > 1 < max(part.stride):
            part.__class__ = Float32Conv2d
            found += 1
    return found
