"""A checkpoint scores as the run that wrote it did."""

from types import SimpleNamespace

import pytest
import torch
from tiny import TINY
from torch import nn

from evaluate import score
from model import MDPR
from reidblocks.backbones import StagedBackbone


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32])
def test_features_are_float32_and_the_network_goes_back_to_training(
    precision: torch.dtype,
) -> None:
    seen = []
    last = nn.Conv2d(8, 10, 1)
    last.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    stages = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1), last
    model = MDPR(StagedBackbone(*stages, stage4_channels=8, stage5_channels=10), TINY)
    batch = SimpleNamespace(
        image=torch.rand(4, 3, 32, 16),
        label=torch.tensor([0, 0, 1, 1]),
        camera=torch.arange(4) % 2,
        position=torch.arange(4),
    )
    scored = score(model, [batch], [batch], torch.device("cpu"), precision)
    assert scored.query.values.dtype == torch.float32
    assert set(seen) == {precision}
    assert model.training
