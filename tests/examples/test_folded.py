"""MDPR folded for inference is MDPR."""

import dataclasses

import pytest
import torch
from tiny import TINY, tiny_backbone
from torch import nn

from build import build_backbone
from config import MDPRConfig
from model import MDPR
from reidblocks.deploy import fold_for_inference


def random_statistics(model: nn.Module) -> None:
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif name.endswith("running_mean"):
                tensor.normal_(0, 0.3)
            elif name.endswith("pool.p"):
                tensor.uniform_(1.5, 4)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"refine4": "block", "attention4": "raw", "shared_pool": True},
        {"guidance": False, "num_parts": 3, "height": 96},
        {"branches": "hard"},
        {"branches": "soft"},
        {"separate_networks": True},
        {"backbone": "resnet18"},
        {"backbone": "resnet50_ibn"},
        {"backbone": "mobilenet_v2"},
        {"backbone": "small_resnet"},
    ],
    ids=str,
)
def test_the_folded_network_gives_the_same_features(changes: dict[str, object]) -> None:
    config = dataclasses.replace(TINY, **changes)
    named = "backbone" in changes
    backbone = build_backbone(config) if named else tiny_backbone()
    model = MDPR(backbone, config).double().eval()
    random_statistics(model)
    folded = fold_for_inference(model)
    images = torch.rand(2, 3, 96, 32, dtype=torch.float64)
    with torch.no_grad():
        expected, got = model(images, everything=True), folded(images, everything=True)
    for one, other in zip(got, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=1e-10, atol=1e-10)


def test_what_is_left_to_fold_is_what_follows_a_pooling() -> None:
    config = MDPRConfig(backbone="mobilenet_v2", embed_dim=6)
    folded = fold_for_inference(MDPR(build_backbone(config), config).eval())
    norms = [n for n, m in folded.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(name.endswith("neck.bn") for name in norms)
