"""Small networks and images for the tests of files."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidblocks.blocks import BNNeckHead
from reidblocks.deploy import Embedder


class Own(nn.Module):
    """A user's network with a head of ours, and norms away from where they start."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU())
        self.head = BNNeckHead(8)
        for norm in (self.layers[1], self.head.neck.bn):
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.normal_(norm.running_mean)

    def forward(self, images: Tensor) -> Tensor:
        embedding: Tensor = self.head(self.layers(images)).embedding
        return embedding


def own_embedder(normalize: bool = True) -> Embedder:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    return Embedder(
        Own(), (16, 8), mean=mean, std=std, channel_order="BGR", normalize=normalize, name="own"
    ).eval()


def pixels(batch: int, height: int, width: int) -> Tensor:
    """Smooth noise, uint8."""
    coarse = torch.rand(batch, 3, 6, 4)
    images = F.interpolate(coarse, (height, width), mode="bilinear")
    return images.mul(255).to(torch.uint8)
