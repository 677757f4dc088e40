"""The ResNets against torchvision's own, IBN-Net's layout and the paper's map sizes."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torchvision import models

from reidblocks.backbones import StagedBackbone, mobilenet_v2, resnet
from reidblocks.backbones._ibn import IBN


def bare(key: str) -> str:
    """A backbone's key without the stage in front: the name it has in torchvision."""
    return key.split(".", 1)[1]


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_keys_and_shapes_are_torchvisions_without_the_classifier(depth: int) -> None:
    ours = {bare(key): value.shape for key, value in resnet(depth).state_dict().items()}
    theirs = {k: v.shape for k, v in getattr(models, f"resnet{depth}")().state_dict().items()}
    del theirs["fc.weight"], theirs["fc.bias"]
    assert ours == theirs


@pytest.mark.parametrize("depth", [18, 50])
def test_last_stride_2_is_torchvisions_function(depth: int) -> None:
    net = getattr(models, f"resnet{depth}")().double().eval()
    backbone = resnet(depth, last_stride=2).double().eval()
    state = net.state_dict()
    backbone.load_state_dict({key: state[bare(key)] for key in backbone.state_dict()})
    images = torch.rand(2, 3, 64, 48, dtype=torch.float64)
    pooled = backbone(images).c5.mean((2, 3))
    torch.testing.assert_close(F.linear(pooled, net.fc.weight, net.fc.bias), net(images))


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("ibn", [True, False])
def test_last_stride_1_keeps_the_map_of_stage4(depth: int, ibn: bool) -> None:
    backbone = resnet(depth, ibn=ibn).eval()
    features = backbone(torch.rand(1, 3, 384, 192))
    assert features.c4.shape == (1, backbone.stage4_channels, 24, 12)  # as in the paper
    assert features.c5.shape == (1, backbone.stage5_channels, 24, 12)


def test_last_stride_1_gives_stride_2_at_every_other_place_of_the_first_convolution() -> None:
    """Strides carry no weights: the strided map is the unstrided one, sampled."""
    one, two = resnet(18).double().eval(), resnet(18, last_stride=2).double().eval()
    two.load_state_dict(one.state_dict())
    maps = one.stem(torch.rand(1, 3, 96, 64, dtype=torch.float64))
    first, strided = one.stage5[0][0].conv1, two.stage5[0][0].conv1
    maps = one.stage4(maps)
    torch.testing.assert_close(first(maps)[..., ::2, ::2], strided(maps))


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_ibn_stands_first_in_each_block_of_res_conv_2_to_4_and_nowhere_else(depth: int) -> None:
    backbone = resnet(depth, ibn=True)
    found = {name for name, module in backbone.named_modules() if isinstance(module, IBN)}
    layers = {"stem.layer1": backbone.stem.layer1, "stem.layer2": backbone.stem.layer2}
    layers["stage4.layer3"] = backbone.stage4.layer3
    assert found == {f"{at}.{i}.bn1" for at, layer in layers.items() for i in range(len(layer))}


@pytest.mark.parametrize(("depth", "channels"), [(18, (256, 512)), (50, (1024, 2048))])
def test_declared_channels_are_the_maps_own(depth: int, channels: tuple[int, int]) -> None:
    backbone = resnet(depth)
    assert (backbone.stage4_channels, backbone.stage5_channels) == channels
    measured = StagedBackbone.measured(backbone.stem, backbone.stage4, backbone.stage5)
    assert (measured.stage4_channels, measured.stage5_channels) == channels


@settings(max_examples=10)
@given(st.integers(17, 80), st.integers(17, 80))
def test_any_image_size_is_rounded_up_to_a_16th(height: int, width: int) -> None:
    size = (-(-height // 16), -(-width // 16))
    for build in (lambda: resnet(18, ibn=True), mobilenet_v2):
        features = build().eval()(torch.rand(1, 3, height, width))
        assert features.c4.shape[2:] == features.c5.shape[2:] == size


def test_ceil_pool_keeps_the_size_of_even_maps_and_moves_the_windows_by_a_pixel() -> None:
    padded, ceiled = resnet(18).stem.maxpool, resnet(18, ceil_pool=True).stem.maxpool
    maps = torch.rand(1, 2, 12, 8)
    assert padded(maps).shape == ceiled(maps).shape == (1, 2, 6, 4)
    assert ceiled(maps)[0, 0, 0, 0] == maps[0, 0, :3, :3].max()
    assert padded(maps)[0, 0, 1, 1] == maps[0, 0, 1:4, 1:4].max()
    assert ceiled(maps)[0, 0, 5, 3] == maps[0, 0, 10:, 6:].max()


def test_every_parameter_gets_a_gradient() -> None:
    backbone = resnet(18, ibn=True)
    backbone(torch.rand(2, 3, 64, 32)).c5.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.parameters())


def test_compiles_and_exports_without_a_break() -> None:
    backbone = resnet(18, ibn=True).double().eval()
    images = torch.rand(2, 3, 64, 32, dtype=torch.float64)
    expected = backbone(images)
    compiled = torch.compile(backbone, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(tuple(compiled(images)), tuple(expected))
    exported = torch.export.export(backbone, (images,)).module()
    torch.testing.assert_close(tuple(exported(images)), tuple(expected))


def test_errors() -> None:
    with pytest.raises(ValueError, match="resnet expects depth 18, 34, 50 or 101, got 51"):
        resnet(51)
    with pytest.raises(ValueError, match="resnet expects last_stride 1 or 2, got 4"):
        resnet(18, last_stride=4)


class TestMobileNetV2:
    def test_last_stride_2_is_torchvisions_function(self) -> None:
        net = models.mobilenet_v2().double().eval()
        backbone = mobilenet_v2(last_stride=2).double().eval()
        state = net.features.state_dict()
        backbone.load_state_dict({key: state[bare(key)] for key in backbone.state_dict()})
        images = torch.rand(2, 3, 64, 48, dtype=torch.float64)
        torch.testing.assert_close(backbone(images).c5, net.features(images))

    def test_channels_and_sizes(self) -> None:
        backbone = mobilenet_v2().eval()
        assert (backbone.stage4_channels, backbone.stage5_channels) == (96, 1280)
        features = backbone(torch.rand(1, 3, 128, 64))
        assert features.c4.shape == (1, 96, 8, 4)
        assert features.c5.shape == (1, 1280, 8, 4)

    def test_keeps_torchvisions_numbers(self) -> None:
        names = {bare(key) for key in mobilenet_v2().state_dict()}
        assert names == set(models.mobilenet_v2().features.state_dict())

    def test_errors(self) -> None:
        with pytest.raises(ValueError, match="mobilenet_v2 expects last_stride 1 or 2, got 0"):
            mobilenet_v2(last_stride=0)


def seeded(key: str, shape: list[int]) -> Tensor:
    """A weight of the reference model, drawn as its README says, before it was made float32."""
    random = np.random.RandomState(zlib.crc32(key.encode()) % 2**32)
    normal = random.standard_normal(shape)
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if key.endswith("running_var"):
        return torch.from_numpy(0.5 + random.random_sample(shape))
    if key.endswith("running_mean"):
        return torch.from_numpy(0.1 * normal)
    if key.endswith("bn3.weight"):
        return torch.from_numpy(0.1 * (0.5 + random.random_sample(shape)))
    if len(shape) == 1:
        weight = key.endswith("weight")
        return torch.from_numpy(0.5 + random.random_sample(shape) if weight else 0.2 * normal)
    return torch.from_numpy(normal * np.sqrt(2 / np.prod(shape[1:])))


def test_the_released_mdpr_stands_on_this_layout(shared: Path) -> None:
    """Its attention maps of res-conv5 come out when our backbone feeds its attention generator."""
    shapes = json.loads((shared / "reference/released_mdpr_r50.keys.json").read_text())
    state = {
        key: seeded(key, shape).float().double()
        for key, shape in shapes.items()
        if key.startswith("generate.")
    }
    names = dict(enumerate(("conv1", "bn1", "relu", "maxpool", "layer1", "layer2")))
    renamed = {}
    for key, value in state.items():
        _, part, *rest = key.split(".", 3)
        if part == "backbone":
            renamed[f"stem.{names[int(rest[0])]}.{rest[1]}"] = value
        elif part == "backbone_attn":
            stage = {"0": "stage4.layer3", "1": "stage5.layer4"}[rest[0]]
            renamed[f"{stage}.{rest[1]}"] = value
    backbone = resnet(50, ibn=True, ceil_pool=True).double().eval()
    backbone.load_state_dict(renamed)

    reference = np.load(shared / "reference/released_mdpr_r50.npz")
    images = torch.from_numpy(reference["images"]).double()
    mean, std = (  # the model keeps them as float32, too
        (255 * torch.tensor(values, dtype=torch.float64)).float().double().view(3, 1, 1)
        for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    with torch.no_grad():
        maps = backbone((images - mean) / std).c5
        generator = {
            key.removeprefix("generate.attention_maker4."): value for key, value in state.items()
        }
        raw = F.conv2d(maps, generator["conv.weight"])
        raw = raw + F.conv2d(maps, generator["conv3.weight"], padding=1)
        norm = [generator[f"bn.{name}"] for name in ("running_mean", "running_var")]
        norm += [generator["bn.weight"], generator["bn.bias"]]
        attention = F.batch_norm(raw, *norm).relu().softmax(dim=1)[:, :2]
    expected = torch.from_numpy(reference["maps5"])
    torch.testing.assert_close(attention, expected, rtol=1e-9, atol=1e-12)
