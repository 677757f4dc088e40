"""The norm of IBN-Net: half of the channels by instance, half by batch."""

import torch
from torch import Tensor, nn


class IBN(nn.Module):
    """Normalize the first half of the channels by instance and the rest by batch.

    Instance normalization removes what differs from camera to camera (light, color cast); the
    batch half keeps what tells people apart.

    Args:
        num_features: channels of the map, 2 or more; of an odd number the larger half goes to
            the batch norm.

    Shape:
        (B, C, H, W) → (B, C, H, W)

    Raises:
        ValueError: num_features is below 2.

    Source: Pan et al., IBN-Net, arXiv 1807.09441, the IBN-a block.

    >>> IBN(8)(torch.rand(2, 8, 4, 2)).shape
    torch.Size([2, 8, 4, 2])
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        if num_features < 2:
            raise ValueError(f"IBN expects num_features of 2 or more, got {num_features}")
        half = num_features // 2
        # These two names are the ones in IBN-Net's checkpoints.
        self.IN = nn.InstanceNorm2d(half, affine=True)
        self.BN = nn.BatchNorm2d(num_features - half)

    def forward(self, maps: Tensor) -> Tensor:
        half = self.IN.num_features
        first, rest = maps[:, :half], maps[:, half:]
        return torch.cat((self.IN(first), self.BN(rest)), dim=1)
