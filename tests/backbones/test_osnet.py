"""OSNet against a list of torchreid's names and a forward pass, both written apart from it."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reidblocks.backbones import OSNet, load_backbone_weights, osnet, read_checkpoint
from reidblocks.blocks import BNNeckHead
from reidblocks.deploy import fold_for_inference, folded_norms

Shapes = dict[str, tuple[int, ...]]
VARIANTS = ("", "ibn", "ain")
NORMS = ("weight", "bias", "running_mean", "running_var")


def torchreid_shapes(width: float, variant: str) -> Shapes:
    """Every name in the state_dict of torchreid's OSNet, without its classifier."""
    shapes: Shapes = {}
    widths = [int(width * channels) for channels in (64, 256, 384, 512)]

    def bn(name: str, size: int) -> None:
        shapes.update({f"{name}.{leaf}": (size,) for leaf in NORMS})
        shapes[f"{name}.num_batches_tracked"] = ()

    def instance(name: str, size: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (size,)

    def unit(name: str, outputs: int, inputs: int) -> None:
        shapes[f"{name}.conv.weight"] = (outputs, inputs, 1, 1)
        bn(f"{name}.bn", outputs)

    shapes["conv1.conv.weight"] = (widths[0], 3, 7, 7)
    (instance if variant else bn)("conv1.bn", widths[0])
    inside = {"2.0", "2.1", "3.1", "4.0"}
    for stage in (2, 3, 4):
        outputs = widths[stage - 1]
        middle = outputs // 4
        for block in (0, 1):
            here = f"conv{stage}.{block}"
            inputs = widths[stage - 2] if block == 0 else outputs
            unit(f"{here}.conv1", middle, inputs)
            for depth in (1, 2, 3, 4):
                for layer in range(depth):
                    if variant == "ain":
                        name = f"{here}.conv2.{depth - 1}.layers.{layer}"
                    else:
                        name = f"{here}.conv2{'abcd'[depth - 1]}" + f".{layer}" * (depth > 1)
                    shapes[f"{name}.conv1.weight"] = (middle, middle, 1, 1)
                    shapes[f"{name}.conv2.weight"] = (middle, 1, 3, 3)
                    bn(f"{name}.bn", middle)
            shapes[f"{here}.gate.fc1.weight"] = (middle // 16, middle, 1, 1)
            shapes[f"{here}.gate.fc1.bias"] = (middle // 16,)
            shapes[f"{here}.gate.fc2.weight"] = (middle, middle // 16, 1, 1)
            shapes[f"{here}.gate.fc2.bias"] = (middle,)
            shapes[f"{here}.conv3.conv.weight"] = (outputs, middle, 1, 1)
            within = variant == "ain" and f"{stage}.{block}" in inside
            if not within:
                bn(f"{here}.conv3.bn", outputs)
            if within or (variant == "ibn" and stage == 2):
                instance(f"{here}.IN", outputs)
            if block == 0:
                unit(f"{here}.downsample", outputs, inputs)
        if stage < 4:
            unit(f"pool{stage}.0" if variant == "ain" else f"conv{stage}.2.0", outputs, outputs)
    unit("conv5", widths[3], widths[3])
    shapes["fc.0.weight"], shapes["fc.0.bias"] = (512, widths[3]), (512,)
    bn("fc.1", 512)
    return shapes


def seeded(shapes: Shapes) -> dict[str, Tensor]:
    """Weights that depend on nothing but their name and shape, in float64."""
    weights = {}
    for name, shape in shapes.items():
        random = np.random.RandomState(zlib.crc32(name.encode()) % 2**32)
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(0)
        elif name.endswith(("running_var", "bn.weight", "IN.weight", "fc.1.weight")):
            weights[name] = torch.from_numpy(0.5 + random.random_sample(shape))
        else:
            fan = np.prod(shape[1:]) if len(shape) > 1 else 10
            weights[name] = torch.from_numpy(random.standard_normal(shape) * np.sqrt(2 / fan))
    return weights


def torchreid_forward(w: dict[str, Tensor], images: Tensor) -> Tensor:
    """What torchreid's OSNet gives in eval mode, by the names of its layers alone."""

    def norm(x: Tensor, name: str) -> Tensor:
        if f"{name}.running_mean" in w:
            mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
            return F.batch_norm(x, mean, var, w[f"{name}.weight"], w[f"{name}.bias"])
        var, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
        scale, shift = (w[f"{name}.{leaf}"].view(-1, 1, 1) for leaf in ("weight", "bias"))
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    def unit(x: Tensor, name: str) -> Tensor:
        x = F.conv2d(x, w[f"{name}.conv.weight"])
        return norm(x, f"{name}.bn") if f"{name}.bn.weight" in w else x

    def light(x: Tensor, name: str) -> Tensor:
        x = F.conv2d(x, w[f"{name}.conv1.weight"])
        kernel = w[f"{name}.conv2.weight"]
        return norm(F.conv2d(x, kernel, padding=1, groups=len(kernel)), f"{name}.bn").relu()

    def gate(x: Tensor, name: str) -> Tensor:
        squeezed = x.mean((2, 3), keepdim=True)
        for layer, function in (("fc1", torch.relu), ("fc2", torch.sigmoid)):
            weight, bias = w[f"{name}.{layer}.weight"], w[f"{name}.{layer}.bias"]
            squeezed = function(F.conv2d(squeezed, weight, bias))
        return x * squeezed

    def block(x: Tensor, name: str) -> Tensor:
        reduced, mixed = unit(x, f"{name}.conv1").relu(), torch.zeros(())
        for depth in (1, 2, 3, 4):
            stream = reduced
            for layer in range(depth):
                numbered = f"{name}.conv2.{depth - 1}.layers.{layer}"
                plain = f"{name}.conv2{'abcd'[depth - 1]}" + f".{layer}" * (depth > 1)
                stream = light(stream, numbered if f"{numbered}.bn.weight" in w else plain)
            mixed = mixed + gate(stream, f"{name}.gate")
        mixed = unit(mixed, f"{name}.conv3")
        has_instance, has_batch = f"{name}.IN.weight" in w, f"{name}.conv3.bn.weight" in w
        if has_instance and not has_batch:
            mixed = norm(mixed, f"{name}.IN")
        shortcut = f"{name}.downsample.conv.weight" in w
        mixed = mixed + (unit(x, f"{name}.downsample") if shortcut else x)
        if has_instance and has_batch:
            mixed = norm(mixed, f"{name}.IN")
        return mixed.relu()

    x = norm(F.conv2d(images, w["conv1.conv.weight"], stride=2, padding=3), "conv1.bn").relu()
    x = F.max_pool2d(x, 3, 2, 1)
    for stage in (2, 3, 4):
        x = block(block(x, f"conv{stage}.0"), f"conv{stage}.1")
        if stage < 4:
            numbered = f"pool{stage}.0.conv.weight" in w
            x = unit(x, f"pool{stage}.0" if numbered else f"conv{stage}.2.0").relu()
            x = F.avg_pool2d(x, 2)
    pooled = unit(x, "conv5").relu().mean((2, 3))
    return norm(F.linear(pooled, w["fc.0.weight"], w["fc.0.bias"]), "fc.1").relu()


def built(width: float, variant: str) -> OSNet:
    return OSNet(width, ibn=variant == "ibn", ain=variant == "ain")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("width", [1.0, 0.75, 0.5, 0.25])
def test_names_and_shapes_are_torchreids(width: float, variant: str) -> None:
    ours = {name: tuple(value.shape) for name, value in built(width, variant).state_dict().items()}
    assert ours == torchreid_shapes(width, variant)


@pytest.mark.parametrize("name", ["msmt17", "market1501"])
def test_the_list_is_that_of_a_published_file(shared: Path, name: str) -> None:
    path = shared / "weights" / f"osnet_x0_25_{name}.pth"
    if not path.is_file():
        pytest.skip(f"needs {path.name} in ../shared/weights")
    weights = read_checkpoint(path)
    published = {key: tuple(value.shape) for key, value in weights.items()}
    assert len(published) == 567
    del published["classifier.weight"], published["classifier.bias"]
    assert published == torchreid_shapes(0.25, "")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("width", [1.0, 0.25])
def test_gives_torchreids_embedding(width: float, variant: str) -> None:
    weights = seeded(torchreid_shapes(width, variant))
    network = built(width, variant).double().eval()
    network.load_state_dict(weights)
    images = torch.randn(2, 3, 64, 48, dtype=torch.float64)
    with torch.no_grad():
        found, expected = network(images), torchreid_forward(weights, images)
    assert expected.count_nonzero() > expected.numel() // 4  # the ReLU left something to compare
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.max()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_as_a_backbone(variant: str) -> None:
    weights = seeded(torchreid_shapes(0.25, variant))
    backbone = osnet(0.25, ibn=variant == "ibn", ain=variant == "ain").double().eval()
    saved = {"state_dict": {f"module.{name}": value for name, value in weights.items()}}
    report = load_backbone_weights(backbone, saved)
    assert report.complete
    assert {name.removeprefix("state_dict.module.").split(".")[0] for name in report.unused} == {
        "fc"
    }
    whole = built(0.25, variant).double().eval()
    whole.load_state_dict(weights)
    images = torch.randn(2, 3, 64, 32, dtype=torch.float64)
    features = backbone(images)
    assert features.c4.shape == (2, backbone.stage4_channels, 4, 2)
    assert features.c5.shape == (2, backbone.stage5_channels, 4, 2)
    torch.testing.assert_close(whole.fc(features.c5.mean((2, 3))), whole(images))


def test_a_head_on_it_trains_every_parameter() -> None:
    backbone, head = osnet(0.25, ain=True), BNNeckHead(128)
    head(backbone(torch.rand(4, 3, 64, 32)).c5).pooled.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_traces(variant: str) -> None:
    network = built(0.25, variant).double().eval()
    images = torch.rand(2, 3, 64, 32, dtype=torch.float64)
    torch.testing.assert_close(torch.fx.symbolic_trace(network)(images), network(images))


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_compiles_and_exports_without_a_break(variant: str) -> None:
    network = built(0.25, variant).double().eval()
    images = torch.rand(2, 3, 64, 32, dtype=torch.float64)
    expected = network(images)
    torch.testing.assert_close(torch.export.export(network, (images,)).module()(images), expected)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), expected)


def test_folds_all_its_batch_norms() -> None:
    network = OSNet(0.25).double().eval()
    network.load_state_dict(seeded(torchreid_shapes(0.25, "")))
    assert None not in folded_norms(network).values()
    images = torch.rand(2, 3, 64, 32, dtype=torch.float64)
    torch.testing.assert_close(fold_for_inference(network)(images), network(images))


@pytest.mark.parametrize("build", [OSNet, osnet])
def test_errors(build: type[OSNet]) -> None:
    with pytest.raises(ValueError, match=r"width 1\.0, 0\.75, 0\.5 or 0\.25, got 0\.3"):
        build(0.3)
    with pytest.raises(ValueError, match="ibn or ain, got both"):
        build(ibn=True, ain=True)
    with pytest.raises(ValueError, match=r"images \(B, C, H, W\)"):
        build(0.25)(torch.rand(3, 64, 32))
