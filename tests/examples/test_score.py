"""A checkpoint scores as the run that wrote it did."""

from types import SimpleNamespace

import pytest
import torch
from tiny import TINY
from torch import nn

from evaluate import score
from model import MDPR
from reidblocks.backbones import StagedBackbone
from reidblocks.training import Float32Conv2d


def network() -> MDPR:
    torch.manual_seed(0)
    strided = nn.Conv2d(8, 8, 3, 2, 1, groups=8)
    return MDPR(
        StagedBackbone(
            nn.Conv2d(3, 8, 3, 2, 1), nn.Sequential(strided, nn.ReLU()), nn.Conv2d(8, 10, 1),
            stage4_channels=8, stage5_channels=10,
        ),
        TINY,
    )  # fmt: skip


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32])
def test_a_network_is_prepared_as_for_training(precision: torch.dtype) -> None:
    model = network()
    batch = SimpleNamespace(
        image=torch.rand(4, 3, 32, 16),
        label=torch.tensor([0, 0, 1, 1]),
        camera=torch.arange(4) % 2,
        position=torch.arange(4),
    )
    scored = score(model, [batch], [batch], torch.device("cpu"), precision)
    assert scored.query.values.dtype == torch.float32
    spared = any(isinstance(part, Float32Conv2d) for part in model.modules())
    assert spared == (precision is torch.bfloat16)
    assert model.training
