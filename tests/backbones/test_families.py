"""Networks by name: cut in the right place, the same function, the same names, any image size."""

import copy
import sys
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision import models

from reidblocks.backbones import load_backbone_weights, timm_backbone, torchvision_backbone
from reidblocks.backbones.cut import cut_where_halved
from reidblocks.backbones.tokens import TokenStage

TORCHVISION = {  # name: the channels at a 16th and at the end
    "mobilenet_v2": (96, 1280),
    "mobilenet_v3_small": (48, 576),
    "efficientnet_b0": (112, 1280),
    "regnet_y_400mf": (208, 440),
    "resnet18": (256, 512),
    "convnext_tiny": (384, 768),
    "swin_t": (384, 768),
}
KEEPS_ITS_STRIDE = {"swin_t"}


def last_map(network: nn.Module, images: Tensor) -> Tensor:
    """What a torchvision network pools."""
    if isinstance(network, models.MobileNetV2):  # it pools by a function
        return network.features(images)
    seen: list[Tensor] = []
    network.avgpool.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(images)
    return seen[0]


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_function_names_and_sizes(name: str) -> None:
    network = models.get_model(name).double().eval()
    backbone = torchvision_backbone(name, last_stride=2).double().eval()
    report = load_backbone_weights(backbone, network.state_dict())
    assert report.complete
    images = torch.rand(2, 3, 96, 64, dtype=torch.float64)
    with torch.no_grad():
        features = backbone(images)
        torch.testing.assert_close(features.c5, last_map(network, images))
    channels = TORCHVISION[name]
    assert (backbone.stage4_channels, backbone.stage5_channels) == channels
    assert features.c4.shape == (2, channels[0], 6, 4)
    assert features.c5.shape == (2, channels[1], 3, 2)


@pytest.mark.parametrize("name", TORCHVISION)
def test_the_last_stride_goes_where_convolutions_have_it(name: str) -> None:
    backbone = torchvision_backbone(name)
    assert all(module.training for module in backbone.modules())
    with torch.no_grad():
        features = backbone.eval()(torch.rand(1, 3, 96, 64))
    size = (3, 2) if name in KEEPS_ITS_STRIDE else (6, 4)
    assert features.c5.shape[2:] == size


def test_a_2_by_2_convolution_without_its_stride_agrees_at_every_other_place() -> None:
    one = torchvision_backbone("convnext_tiny").double().eval()
    two = torchvision_backbone("convnext_tiny", last_stride=2).double().eval()
    two.load_state_dict(one.state_dict())
    images = torch.rand(1, 3, 64, 32, dtype=torch.float64)
    with torch.no_grad():
        maps = two.stage4(two.stem(images))
        halving = [backbone.stage5.get_submodule("features.6") for backbone in (one, two)]
        unstrided, strided = (layer(maps) for layer in halving)
    assert unstrided.shape[2:] == maps.shape[2:]
    torch.testing.assert_close(unstrided[..., ::2, ::2], strided)


@pytest.mark.parametrize(
    ("name", "near"), [("resnet5o", "; near it: .*resnet50"), ("ResNet-18", "; near it: resnet18")]
)
def test_torchvisions_names_are_checked(name: str, near: str) -> None:
    message = f"expects the name of one of torchvision's .*, got '{name}'{near}"
    with pytest.raises(ValueError, match=message):
        torchvision_backbone(name)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnet5o", "; near it: resnet50"),
        ("resnet50.a1_in1", "; near it: .*resnet50.a1_in1k"),
        ("", "$"),
    ],
)
def test_timms_names_are_checked(name: str, near: str) -> None:
    pytest.importorskip("timm", reason="needs timm (extra timm)")
    message = f"timm_backbone expects the name of one of timm's networks, got '{name}'{near}"
    with pytest.raises(ValueError, match=message):
        timm_backbone(name)


def test_a_family_that_is_no_sequence_is_refused() -> None:
    message = r"torchvision_backbone cuts ConvNeXt, .* and squeezenet1_1 is a SqueezeNet: put"
    with pytest.raises(ValueError, match=message):
        torchvision_backbone("squeezenet1_1")


def test_errors() -> None:
    with pytest.raises(ValueError, match="torchvision_backbone expects last_stride 1 or 2, got 3"):
        torchvision_backbone("resnet18", last_stride=3)
    layers = {"a": nn.Conv2d(3, 4, 3, stride=4), "b": nn.Conv2d(4, 4, 1)}
    message = r"somebody looks for layers .* heights of \[32, 32\] for 128: put the parts"
    with pytest.raises(ValueError, match=message):
        cut_where_halved("somebody", layers, last_stride=1)


def test_a_shortcut_that_pools_keeps_its_stride() -> None:
    """As in ResNet-D: with the convolution's stride gone, the two paths would not add up."""

    class Pooling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, stride=2, padding=1)

        def forward(self, maps: Tensor) -> Tensor:
            return self.conv(maps) + nn.functional.avg_pool2d(maps, 2)

    layers = {"a.0": nn.Conv2d(3, 4, 8, stride=8), "a.1": Pooling(), "b": Pooling()}
    backbone = cut_where_halved("test", layers, last_stride=1)
    assert backbone.stage5.b.conv.stride == (2, 2)
    assert backbone(torch.rand(1, 3, 64, 32)).c5.shape == (1, 4, 2, 1)
    assert [name for name, _ in backbone.named_parameters()][::2] == [
        "stem.a.0.weight",
        "stage4.a.1.conv.weight",
        "stage5.b.conv.weight",
    ]


def test_without_timm_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match="timm_backbone needs timm: pip install timm"):
        timm_backbone("resnet18")


SEQUENCES = {  # name: size of stage5's map when stage4's is 6 × 4
    "resnet18": (6, 4),  # its last block starts as an identity, and is still taken
    "resnet18d": (3, 2),
    "mobilenetv3_small_050": (6, 4),
    "tf_efficientnet_b0": (6, 4),
    "regnety_002": (6, 4),
    "convnext_atto": (6, 4),
    "swin_tiny_patch4_window7_224": (3, 2),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_timms_function_names_and_sizes(name: str) -> None:
    timm = pytest.importorskip("timm", reason="needs timm (extra timm)")
    options = {"strict_img_size": False} if "swin" in name else {}
    network = timm.create_model(name, **options).double().eval()
    images = torch.rand(2, 3, 96, 64, dtype=torch.float64)
    with torch.no_grad():
        backbone = timm_backbone(name, last_stride=2).double().eval()
        assert load_backbone_weights(backbone, network.state_dict()).complete
        features = backbone(images)
        expected = network.forward_features(images)
        expected = expected.permute(0, 3, 1, 2) if "swin" in name else expected
        torch.testing.assert_close(features.c5, expected)
        assert features.c4.shape[2:] == (6, 4)
        assert features.c5.shape[2:] == (3, 2)
        assert timm_backbone(name).eval()(images.float()).c5.shape[2:] == SEQUENCES[name]


TRANSFORMERS = {  # name: class and register tokens, the map of a 112 × 84 image
    "test_vit": (1, (7, 6)),
    "test_vit2": (1, (7, 6)),  # no class token, one register
    "vit_small_patch14_reg4_dinov2": (5, (8, 6)),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_transformers_patches_are_timms_own(name: str) -> None:
    timm = pytest.importorskip("timm", reason="needs timm (extra timm)")
    prefix, size = TRANSFORMERS[name]
    network = timm.create_model(name, dynamic_img_size=True, dynamic_img_pad=True)
    network = network.double().eval()
    backbone = timm_backbone(name).double().eval()
    assert load_backbone_weights(backbone, network.state_dict()).complete
    images = torch.rand(2, 3, 112, 84, dtype=torch.float64)
    dim = network.embed_dim
    with torch.no_grad():
        features = backbone(images)
        tokens = network.forward_features(images)
        last = len(network.blocks) - len(network.blocks) // 4
        between = network.forward_intermediates(images, [last - 1], intermediates_only=True)[0]
    patches = tokens[:, prefix:].transpose(1, 2).reshape(2, dim, *size)
    torch.testing.assert_close(features.c5, patches)
    torch.testing.assert_close(features.c4[:, :dim], between)
    assert (backbone.stage4_channels, backbone.stage5_channels) == (dim * (1 + prefix), dim)
    further = features.c4[:, dim:]
    torch.testing.assert_close(further, further[..., :1, :1].expand_as(further))


@given(st.integers(0, 3), st.integers(1, 4), st.integers(1, 4))
def test_a_token_stage_unpacks_and_packs_its_tokens(prefix: int, height: int, width: int) -> None:
    tokens = torch.randn(2, prefix + height * width, 5)
    maps = torch.empty(2, 5 * (1 + prefix), height, width)
    for y in range(height):
        for x in range(width):
            maps[:, :5, y, x] = tokens[:, prefix + y * width + x]
            maps[:, 5:, y, x] = tokens[:, :prefix].reshape(2, -1)
    seen: list[Tensor] = []
    blocks = nn.Identity()
    blocks.register_forward_hook(lambda _, inputs, output: seen.append(output))
    stage = TokenStage(blocks, nn.Identity(), 5, keep_prefix=True)
    torch.testing.assert_close(stage(maps), maps)
    torch.testing.assert_close(seen[0], tokens)
    stage = TokenStage(blocks, nn.Identity(), 5, keep_prefix=False)
    torch.testing.assert_close(stage(maps), maps[:, :5])


def test_a_transformer_can_be_copied_trained_and_compiled() -> None:
    pytest.importorskip("timm", reason="needs timm (extra timm)")
    backbone = timm_backbone("test_vit").double()
    twin: Any = copy.deepcopy(nn.Sequential(backbone.stage4, backbone.stage5))
    images = torch.rand(2, 3, 64, 32, dtype=torch.float64)
    maps = backbone(images).c5
    torch.testing.assert_close(twin(backbone.stem(images)), maps)
    maps.square().sum().backward()
    unused = {name for name, p in backbone.named_parameters() if p.grad is None}
    assert unused == set()
    compiled = torch.compile(backbone.eval(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images).c5, backbone(images).c5)


@pytest.mark.parametrize(
    "name", ["hrnet_w18_small", "maxvit_nano_rw_256", "eva02_tiny_patch14_224"]
)
def test_what_cannot_be_cut_is_refused(name: str) -> None:
    pytest.importorskip("timm", reason="needs timm (extra timm)")
    with pytest.raises(ValueError, match=rf"any size, and {name} \(\w+\) is none: put its parts"):
        timm_backbone(name)
