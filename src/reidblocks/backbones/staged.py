"""A network in three parts: a stem and two stages, as MDPR cuts it."""

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from reidblocks._checks import expect_shape, expect_sizes
from reidblocks._modes import eval_mode


class StageFeatures(NamedTuple):
    """The two maps of a staged backbone, named as in the MDPR paper: C4 and C5."""

    c4: Tensor  # (B, stage4_channels, H4, W4)
    c5: Tensor  # (B, stage5_channels, H5, W5)


class StagedBackbone(nn.Module):
    """Split a network into a stem, which branches can share, and two stages.

    stage4 takes what stem returns, stage5 takes what stage4 returns, and both return a map. Any
    network fits: put the layers of each part into an `nn.Sequential`. If the layers keep their
    original names, `load_backbone_weights` finds them in checkpoints.

    Args:
        stem: from images to what stage4 takes.
        stage4: up to the paper's res-conv4.
        stage5: from stage4's map to the last one.
        stage4_channels: channels of stage4's map.
        stage5_channels: channels of stage5's map.

    Shape:
        (B, 3, H, W) → StageFeatures: (B, stage4_channels, H4, W4), (B, stage5_channels, H5, W5)

    Raises:
        ValueError: a channel count is not above 0; the images are not 4-dimensional.

    Source: MDPR, section III-A (res-conv1..3 are shared, res-conv4 and 5 belong to a branch).

    >>> stem, stage4 = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 16, 1)
    >>> backbone = StagedBackbone(
    ...     stem, stage4, nn.Conv2d(16, 32, 1), stage4_channels=16, stage5_channels=32
    ... )
    >>> backbone(torch.rand(2, 3, 32, 16)).c5.shape
    torch.Size([2, 32, 16, 8])
    """

    def __init__(
        self,
        stem: nn.Module,
        stage4: nn.Module,
        stage5: nn.Module,
        *,
        stage4_channels: int,
        stage5_channels: int,
    ) -> None:
        super().__init__()
        expect_sizes(
            "StagedBackbone", stage4_channels=stage4_channels, stage5_channels=stage5_channels
        )
        self.stem = stem
        self.stage4 = stage4
        self.stage5 = stage5
        self.stage4_channels = stage4_channels
        self.stage5_channels = stage5_channels

    @classmethod
    def measured(
        cls,
        stem: nn.Module,
        stage4: nn.Module,
        stage5: nn.Module,
        *,
        image_size: tuple[int, int] = (64, 64),
    ) -> Self:
        """Build the holder with the channel counts found by running one black image.

        The run is in eval mode and without gradients, and leaves the parts as it found them.

        Args:
            image_size: height and width of the image; enough for the network's strides.

        Raises:
            ValueError: a stage does not return a map (B, C, H, W).

        >>> parts = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 1), nn.Conv2d(16, 32, 1)
        >>> StagedBackbone.measured(*parts).stage4_channels
        16
        """
        like = next(stem.parameters(), torch.empty(()))
        with eval_mode(stem, stage4, stage5), torch.no_grad():
            image = torch.zeros(1, 3, *image_size, dtype=like.dtype, device=like.device)
            map4 = stage4(stem(image))
            map5 = stage5(map4)
        for name, features in (("stage4", map4), ("stage5", map5)):
            expect_shape("StagedBackbone", f"{name} to return a map", features, "B C H W")
        return cls(
            stem,
            stage4,
            stage5,
            stage4_channels=map4.shape[1],
            stage5_channels=map5.shape[1],
        )

    def forward(self, images: Tensor) -> StageFeatures:
        expect_shape("StagedBackbone", "images", images, "B C H W")
        map4: Tensor = self.stage4(self.stem(images))
        map5: Tensor = self.stage5(map4)
        return StageFeatures(map4, map5)

    def extra_repr(self) -> str:
        return f"stage4_channels={self.stage4_channels}, stage5_channels={self.stage5_channels}"


def set_last_stride(caller: str, stage: nn.Module, stride: int) -> None:
    """Set the stride of the convolutions by which ``stage`` halves its map.

    Weights do not depend on a stride, so pretrained ones still fit; stride 1 keeps the map's size.
    """
    if stride not in (1, 2):
        raise ValueError(f"{caller} expects last_stride 1 or 2, got {stride}")
    for module in stage.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (stride, stride)
