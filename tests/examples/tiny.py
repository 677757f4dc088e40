"""An MDPR small enough to run in milliseconds."""

import dataclasses

from torch import nn

from config import MDPRConfig
from model import MDPR
from reidblocks.backbones import StagedBackbone

TINY = MDPRConfig(embed_dim=6, num_maps=3, num_parts=2, identities=2, images=2)


def tiny_backbone() -> StagedBackbone:
    def stage(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()
        )

    return StagedBackbone(
        nn.Conv2d(3, 4, 3, 2, 1), stage(4, 8), stage(8, 10), stage4_channels=8, stage5_channels=10
    )


def tiny(**changes: object) -> MDPR:
    return MDPR(tiny_backbone(), dataclasses.replace(TINY, **changes))
