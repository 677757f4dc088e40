"""Every format's real key names land in the right place, and what does not fit is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision import models

from reidblocks._distributed import leave_group
from reidblocks.backbones import (
    IncompatibleWeightsError,
    StagedBackbone,
    load_backbone_weights,
    mobilenet_v2,
    resnet,
)

State = dict[str, Tensor]


def network(depth: int, *, ibn: bool = False, bottleneck: bool = False) -> State:
    """Random weights under the names of torchvision's and IBN-Net's ResNets, classifier too.

    Written from their published definitions, not from the code under test.
    """
    blocks = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}[depth]
    expansion = 4 if depth >= 50 else 1
    state: State = {"conv1.weight": torch.randn(64, 3, 7, 7)}

    def norm(name: str, channels: int, *, running: bool = True) -> None:
        state[f"{name}.weight"] = torch.rand(channels)
        state[f"{name}.bias"] = torch.randn(channels)
        if running:
            state[f"{name}.running_mean"] = torch.randn(channels)
            state[f"{name}.running_var"] = torch.rand(channels)
            state[f"{name}.num_batches_tracked"] = torch.tensor(5)

    norm("bn1", 64)
    inputs = 64
    for layer, (count, width) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), start=1):
        for i in range(count):
            at, out = f"layer{layer}.{i}", width * expansion
            kernels = [(inputs, width, 1), (width, width, 3), (width, out, 1)]
            if depth < 50:
                kernels = [(inputs, width, 3), (width, width, 3)]
            for j, (c_in, c_out, size) in enumerate(kernels, start=1):
                state[f"{at}.conv{j}.weight"] = torch.randn(c_out, c_in, size, size)
                if ibn and j == 1 and layer < 4:
                    norm(f"{at}.bn1.IN", width // 2, running=False)
                    norm(f"{at}.bn1.BN", width - width // 2)
                else:
                    norm(f"{at}.bn{j}", c_out)
            if i == 0 and (inputs != out or layer > 1):
                state[f"{at}.downsample.0.weight"] = torch.randn(out, inputs, 1, 1)
                norm(f"{at}.downsample.1", out)
            inputs = out
    return state | {"fc.weight": torch.randn(9, inputs), "fc.bias": torch.randn(9)}


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: weight for name, weight in state.items()}


def without_head(state: State) -> State:
    return {name: weight for name, weight in state.items() if not name.startswith("fc.")}


def moco(state: State, q: str = "module.encoder_q.", k: str = "module.encoder_k.") -> State:
    head = {"fc.0.weight": torch.randn(8, 8), "fc.2.weight": torch.randn(8, 8)}
    slow = {name: weight + 1 for name, weight in state.items()}
    both = prefixed(without_head(slow) | head, k) | prefixed(without_head(state) | head, q)
    return both | {"module.queue": torch.randn(8, 9), "module.queue_ptr": torch.zeros(1)}


def momentum(state: State) -> dict[str, Any]:
    """An optimizer's state: as many tensors as weights, under numbers."""
    return {"state": {i: {"momentum_buffer": w} for i, w in enumerate(state.values())}}


def mgn_like_heads() -> State:
    return {"heads.bottleneck.0.bias": torch.zeros(4), "heads.weight": torch.zeros(9, 4)}


FORMATS = {
    "torchvision": lambda s: s,
    "torchvision before 0.4, without counters": lambda s: {
        k: v for k, v in s.items() if not k.endswith("num_batches_tracked")
    },
    "IBN-Net, first release": lambda s: {"state_dict": prefixed(s, "module."), "epoch": 90},
    "LUPerson, MoCo": lambda s: {
        "epoch": 200,
        "arch": "resnet50",
        "state_dict": moco(s),
        "optimizer": momentum(s),
    },
    "LUPerson, MoCo without a wrapper": moco,
    "LUPerson, as released: the encoder alone": without_head,
    "MoCo on one process": lambda s: {"state_dict": moco(s, "encoder_q.", "encoder_k.")},
    "MoCo v3": lambda s: {
        "state_dict": moco(s, "module.base_encoder.", "module.momentum_encoder.")
    },
    "fast-reid": lambda s: {
        "model": prefixed(without_head(s), "backbone.")
        | mgn_like_heads()
        | {"pixel_mean": torch.zeros(1, 3, 1, 1)},
        "optimizer": momentum(s),
        "scheduler": {"last_epoch": 60},
        "iteration": 100,
    },
    "fast-reid on several processes": lambda s: {
        "model": prefixed(without_head(s), "module.backbone.") | mgn_like_heads()
    },
    "torchreid": lambda s: {
        "state_dict": prefixed(
            without_head(s) | {"classifier.weight": torch.zeros(9, 8)}, "module."
        ),
        "epoch": 60,
        "rank1": 0.9,
        "optimizer": momentum(s),
    },
    "Lightning": lambda s: {"state_dict": prefixed(s, "model.backbone."), "loops": {"fit": {}}},
    "torch.compile": lambda s: prefixed(s, "_orig_mod."),
}


@pytest.mark.parametrize("wrap", FORMATS.values(), ids=FORMATS.keys())
@pytest.mark.parametrize("ibn", [False, True])
def test_each_format_fills_the_backbone(tmp_path: Path, wrap: Any, ibn: bool) -> None:
    state = network(18, ibn=ibn)
    torch.save(wrap(state), tmp_path / "weights.pth")
    backbone = resnet(18, ibn=ibn)
    report = load_backbone_weights(backbone, tmp_path / "weights.pth")
    assert report.complete
    for key, weight in backbone.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            expected = state[key.partition(".")[2]]
            torch.testing.assert_close(weight, expected, rtol=0, atol=0, msg=key)


@pytest.mark.parametrize("depth", [50, 101])
@pytest.mark.parametrize("ibn", [False, True])
def test_the_deep_networks_names(depth: int, ibn: bool) -> None:
    state = network(depth, ibn=ibn)
    backbone = resnet(depth, ibn=ibn)
    report = load_backbone_weights(backbone, state)
    assert report.complete
    assert report.prefix == ""
    assert report.unused == ("fc.weight", "fc.bias")
    counted = sum(len(stage.matched) for stage in report.stages.values())
    assert counted == sum(not k.endswith("num_batches_tracked") for k in state) - 2
    torch.testing.assert_close(
        backbone.stage5.layer4[2].conv3.weight, nn.Parameter(state["layer4.2.conv3.weight"])
    )


def test_loaded_weights_give_torchvisions_feature_map() -> None:
    net = models.resnet18().double().eval()
    backbone = resnet(18, last_stride=2).double().eval()
    load_backbone_weights(backbone, net.state_dict())
    images = torch.rand(2, 3, 64, 32, dtype=torch.float64)
    pooled = backbone(images).c5.mean((2, 3))
    torch.testing.assert_close(net.fc(pooled), net(images))


def test_mobilenets_weights_and_the_real_file(shared: Path) -> None:
    net = models.mobilenet_v2()
    backbone = mobilenet_v2()
    assert load_backbone_weights(backbone, net.state_dict()).prefix == "features."
    weight = net.features[17].conv[0][0].weight
    torch.testing.assert_close(backbone.stage5.get_submodule("17.conv.0.0").weight, weight)
    path = shared / "weights/mobilenet_v2-imagenet.safetensors"
    pytest.importorskip("safetensors", reason="needs safetensors (extra example)")
    report = load_backbone_weights(backbone, path)
    assert report.complete
    assert report.unused == ()


def test_a_saved_backbone_of_ours_comes_back(tmp_path: Path) -> None:
    trained = resnet(18, ibn=True)
    torch.save({"model": prefixed(trained.state_dict(), "backbone.")}, tmp_path / "run.pt")
    backbone = resnet(18, ibn=True)
    assert load_backbone_weights(backbone, tmp_path / "run.pt").prefix == "model.backbone."
    torch.testing.assert_close(dict(backbone.state_dict()), dict(trained.state_dict()))


def test_half_precision_weights_become_the_backbones_own_type() -> None:
    state = {name: weight.half() for name, weight in network(18).items()}
    backbone = resnet(18)
    load_backbone_weights(backbone, state)
    assert backbone.stem.conv1.weight.dtype == torch.float32
    torch.testing.assert_close(backbone.stem.conv1.weight.half(), state["conv1.weight"])


@settings(max_examples=25)
@given(st.lists(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), max_size=4), st.booleans())
def test_any_wrapper_and_prefix_is_found(words: list[str], nested: bool) -> None:
    parts = [nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1), nn.Conv2d(5, 6, 1)]
    named = [nn.Sequential() for _ in parts]
    for i, (sequence, part) in enumerate(zip(named, parts, strict=True)):
        sequence.add_module(f"unit{i}", part)
    backbone = StagedBackbone.measured(*named)
    state = {
        key.partition(".")[2]: torch.randn(v.shape) for key, v in backbone.state_dict().items()
    }
    prefix = "".join(f"{word}." for word in words)
    content: Any = prefixed(state, prefix)
    if nested:
        content = state
        for word in reversed(words):
            content = {word: content}
    report = load_backbone_weights(backbone, content)
    assert report.complete
    assert report.prefix == prefix
    for key, weight in backbone.state_dict().items():
        torch.testing.assert_close(weight, state[key.partition(".")[2]])


def test_a_hand_built_backbone_whose_stages_share_names_loads_what_it_saved() -> None:
    def build() -> StagedBackbone:
        return StagedBackbone.measured(
            *(nn.Sequential(nn.Conv2d(c, 4, 1), nn.BatchNorm2d(4)) for c in (3, 4, 4))
        )

    saved, backbone = build(), build()
    assert load_backbone_weights(backbone, saved.state_dict()).complete
    torch.testing.assert_close(dict(backbone.state_dict()), dict(saved.state_dict()))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda b: torch.compile(b, backend="eager"),
        nn.DataParallel,
        lambda b: nn.DataParallel(torch.compile(b, backend="eager")),
        lambda b: torch.compile(nn.DataParallel(b), backend="eager"),
    ],
)
def test_a_wrapped_backbone_is_filled(wrap: Any) -> None:
    state, backbone = network(18), resnet(18)
    assert load_backbone_weights(wrap(backbone), state).complete
    torch.testing.assert_close(backbone.stem.conv1.weight.detach(), state["conv1.weight"])


def test_an_averaged_backbone_is_filled() -> None:
    state, averaged = network(18), torch.optim.swa_utils.AveragedModel(resnet(18))
    assert load_backbone_weights(averaged, state).complete
    torch.testing.assert_close(averaged.module.stem.conv1.weight.detach(), state["conv1.weight"])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda value: value.to(torch.complex64), "torch.complex64 in"),
        (lambda value: value.to(torch.int8), "torch.int8 in"),
        (lambda value: value.to_sparse(), "torch.sparse_coo in"),
        (lambda value: value - 2, "a negative variance in"),
    ],
)
def test_what_is_no_weight_is_refused(spoil: Any, said: str) -> None:
    state, backbone = network(18), resnet(18)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    state["bn1.running_var"] = spoil(state["bn1.running_var"])
    with pytest.raises(ValueError, match=f"{said} stem.bn1.running_var"):
        load_backbone_weights(backbone, state)
    torch.testing.assert_close(dict(backbone.state_dict()), before)


@pytest.mark.parametrize("source", [None, 3])
def test_a_source_is_a_file_or_a_mapping(source: Any) -> None:
    with pytest.raises(TypeError, match=f"a file or a mapping of names to tensors, got {source}"):
        load_backbone_weights(resnet(18), source)


def test_a_backbone_of_distributed_data_parallel_is_filled(tmp_path: Path) -> None:
    distributed = torch.distributed
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        state, backbone = network(18), resnet(18)
        parallel = nn.parallel.DistributedDataParallel(backbone)
        assert load_backbone_weights(parallel, state).complete
        torch.testing.assert_close(backbone.stem.conv1.weight.detach(), state["conv1.weight"])
    finally:
        leave_group()


def test_a_compiled_stage_is_filled_and_comes_back() -> None:
    state, backbone = network(18), resnet(18)
    backbone.stage4 = torch.compile(backbone.stage4, backend="eager")
    assert load_backbone_weights(backbone, state).complete
    weight = backbone.state_dict()["stage4._orig_mod.layer3.0.conv1.weight"]
    torch.testing.assert_close(weight, state["layer3.0.conv1.weight"])
    assert load_backbone_weights(backbone, backbone.state_dict()).complete


def test_profilers_counters_are_nobodys_weights() -> None:
    """thop leaves total_ops and total_params at every layer, of the file's network or of ours."""
    counters = {"total_ops": torch.zeros(1), "layer1.0.conv1.total_params": torch.zeros(1)}
    report = load_backbone_weights(resnet(18), network(18) | counters)
    assert report.complete
    assert report.unused == ("fc.weight", "fc.bias")
    backbone = resnet(18)
    backbone.stem.conv1.register_buffer("total_ops", torch.zeros(1))
    assert load_backbone_weights(backbone, network(18)).complete


@pytest.mark.parametrize("order", ["=", ">"])
def test_numpy_arrays(order: str) -> None:
    state, backbone = network(18), resnet(18)
    arrays = {n: w.numpy().astype(w.numpy().dtype.newbyteorder(order)) for n, w in state.items()}
    beside = {"rank1": np.float64(0.9), "names": np.array(["a", "b"])}
    assert load_backbone_weights(backbone, {"model": arrays} | beside).complete
    torch.testing.assert_close(backbone.stem.conv1.weight.detach(), state["conv1.weight"])
    arrays["conv1.weight"][:] = 0  # it is a copy that was loaded
    torch.testing.assert_close(backbone.stem.conv1.weight.detach(), state["conv1.weight"])


class TestRefusals:
    def refused(self, backbone: StagedBackbone, content: Any) -> IncompatibleWeightsError:
        before = {key: weight.clone() for key, weight in backbone.state_dict().items()}
        with pytest.raises(IncompatibleWeightsError, match="partial=True") as info:
            load_backbone_weights(backbone, content)
        torch.testing.assert_close(dict(backbone.state_dict()), before, rtol=0, atol=0)
        assert str(info.value.report) in str(info.value)
        return info.value

    def test_missing_weights(self) -> None:
        state = network(18)
        del state["layer3.1.bn2.bias"], state["conv1.weight"]
        stages = self.refused(resnet(18), state).report.stages
        assert stages["stem"].missing == ("stem.conv1.weight",)
        assert stages["stage4"].missing == ("stage4.layer3.1.bn2.bias",)
        assert stages["stage5"].missing == ()

    def test_plain_weights_do_not_fit_ibn_nor_the_other_way(self) -> None:
        error = self.refused(resnet(18, ibn=True), network(18))
        assert "stem.layer1.0.bn1.IN.weight" in error.report.stages["stem"].missing
        assert "layer1.0.bn1.weight" in error.report.stages["stem"].unexpected
        error = self.refused(resnet(18), network(18, ibn=True))
        assert "stage4.layer3.0.bn1.weight" in error.report.stages["stage4"].missing

    def test_another_shape(self) -> None:
        state = network(18) | {"conv1.weight": torch.zeros(64, 4, 7, 7)}
        error = self.refused(resnet(18), state)
        assert error.report.stages["stem"].wrong_shape == {
            "stem.conv1.weight": ((64, 3, 7, 7), (64, 4, 7, 7))
        }
        assert "stem.conv1.weight is (64, 3, 7, 7) here and (64, 4, 7, 7) there" in str(error)

    def test_a_deeper_network_whose_first_blocks_would_fit(self) -> None:
        """Every weight of ResNet-50 has its place in ResNet-101's file, and it is still wrong."""
        report = self.refused(resnet(50), network(101)).report
        assert all(not s.missing and not s.wrong_shape for s in report.stages.values())
        assert "layer3.6.conv1.weight" in report.stages["stage4"].unexpected
        assert len(report.stages["stage4"].unexpected) == 17 * 15  # 3 convs, 3 norms of 4 a block

    def test_partial_loads_what_fits(self) -> None:
        state = network(18)
        del state["layer4.0.conv1.weight"]
        state["layer3.0.conv1.weight"] = torch.zeros(1)
        backbone = resnet(18)
        kept = [backbone.stage5.layer4[0].conv1.weight, backbone.stage4.layer3[0].conv1.weight]
        before = [weight.detach().clone() for weight in kept]
        report = load_backbone_weights(backbone, state, partial=True)
        assert not report.complete
        torch.testing.assert_close([weight.detach() for weight in kept], before, rtol=0, atol=0)
        torch.testing.assert_close(backbone.stem.conv1.weight.detach(), state["conv1.weight"])

    def test_nothing_that_fits_is_an_error_even_when_partial(self) -> None:
        message = r"nothing in the mapping fits .* stem.conv1.weight, the file \['patch.proj'\]"
        with pytest.raises(ValueError, match=message):
            load_backbone_weights(resnet(18), {"patch.proj": torch.zeros(3)}, partial=True)
        with pytest.raises(ValueError, match=r"nothing in the mapping fits .* no tensors, but epo"):
            load_backbone_weights(resnet(18), {"epoch": 3})

    def test_two_networks_that_fit_need_a_prefix(self) -> None:
        state = without_head(network(18))
        content = {
            "student": prefixed(state, "backbone."),
            "teacher": prefixed({k: v + 1 for k, v in state.items()}, "backbone."),
        }
        message = r"several networks .* \['student.backbone.', 'teacher.backbone.'\]"
        with pytest.raises(ValueError, match=message):
            load_backbone_weights(resnet(18), content)
        backbone = resnet(18)
        for prefix in ("teacher.backbone.", "teacher.backbone"):
            report = load_backbone_weights(backbone, content, prefix=prefix)
            assert report.prefix == "teacher.backbone."
        torch.testing.assert_close(backbone.stem.conv1.weight.detach(), state["conv1.weight"] + 1)

    def test_the_slow_encoder_can_be_asked_for(self) -> None:
        state = network(18)
        backbone = resnet(18)
        load_backbone_weights(backbone, {"state_dict": moco(state)}, prefix="encoder_k")
        torch.testing.assert_close(backbone.stem.conv1.weight.detach(), state["conv1.weight"] + 1)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_a_weight_that_is_not_finite(self, bad: float) -> None:
        state, backbone = network(18), resnet(18)
        state["layer3.0.conv1.weight"].view(-1)[7] = bad
        before = {key: weight.clone() for key, weight in backbone.state_dict().items()}
        message = r"NaN or infinite in torch.float32 for 1 of 120 weights, .*layer3\.0\.conv1"
        with pytest.raises(ValueError, match=message):
            load_backbone_weights(backbone, state)
        torch.testing.assert_close(dict(backbone.state_dict()), before, rtol=0, atol=0)

    def test_a_weight_that_the_backbones_precision_cannot_hold(self) -> None:
        state = network(18)
        state["conv1.weight"] += 1e6
        with pytest.raises(ValueError, match=r"infinite in torch\.float16 for 1 of 120"):
            load_backbone_weights(resnet(18).half(), state)
        head = {"fc.weight": torch.full((9, 512), float("nan"))}  # it is not loaded
        assert load_backbone_weights(resnet(18), network(18) | head).complete

    def test_weights_without_values(self) -> None:
        with pytest.raises(ValueError, match=r"backbone is on the meta device.*to_empty"):
            load_backbone_weights(resnet(18).to("meta"), network(18))
        absent = {name: weight.to("meta") for name, weight in network(18).items()}
        with pytest.raises(ValueError, match=r"the mapping is on the meta device.*map_location"):
            load_backbone_weights(resnet(18), absent)

    def test_a_backbone_that_is_none(self) -> None:
        with pytest.raises(TypeError, match=r"expects a StagedBackbone, .*got a ResNet"):
            load_backbone_weights(models.resnet18(), network(18))
        with pytest.raises(TypeError, match=r"got a ResNet: pass its state_dict\(\)"):
            load_backbone_weights(resnet(18), models.resnet18())

    def test_an_optimizers_state_and_a_module(self) -> None:
        optimizer = torch.optim.Adam(nn.Linear(2, 2).parameters())
        with pytest.raises(ValueError, match="the state of an optimizer alone"):
            load_backbone_weights(resnet(18), optimizer.state_dict())
        with pytest.raises(ValueError, match=r"a whole module under 'model': pass its state_dict"):
            load_backbone_weights(resnet(18), {"model": models.resnet18()})

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            (models.resnet34, "it holds a ResNet-34, the backbone is a ResNet-18"),
            (models.resnext50_32x4d, "it holds a ResNeXt-50, the backbone is a ResNet-18"),
            (lambda: resnet(18, ibn=True), "it holds a ResNet-18, IBN-a, the backbone is a ResNe"),
            (models.swin_t, "the file those of a Swin transformer"),
            (lambda: models.vit_b_16(image_size=32), "the file those of a vision transformer"),
            (models.convnext_tiny, "the file those of a ConvNeXt"),
            (models.densenet121, "it holds a DenseNet, the backbone is a ResNet-18"),
            (models.efficientnet_b0, "the file those of an EfficientNet"),
            (models.mobilenet_v2, "the file those of a MobileNetV2"),
            (models.mobilenet_v3_small, "the file those of a MobileNetV3"),
        ],
    )
    def test_another_architecture_is_named(self, weights: Any, message: str) -> None:
        with torch.device("meta"):  # names and shapes are enough
            state = weights().state_dict()
        with pytest.raises(ValueError, match=message):
            load_backbone_weights(resnet(18), {"state_dict": prefixed(state, "module.")})

    def test_a_prefix_that_is_not_there(self) -> None:
        with pytest.raises(ValueError, match=r"nothing in the mapping fits .* under 'teacher'"):
            load_backbone_weights(resnet(18), network(18), prefix="teacher")


def test_the_report_reads_as_a_table() -> None:
    state = network(18)
    del state["layer4.1.conv2.weight"]
    content = {"state_dict": moco(state), "optimizer": momentum(state)}
    report = load_backbone_weights(resnet(18), content, partial=True)
    lines = str(report).splitlines()
    assert lines[0] == "weights found under 'state_dict.module.encoder_q.'"
    assert [line.split() for line in lines[1:5]] == [
        ["matched", "missing", "wrong", "shape", "unexpected"],
        ["stem", "50", "0", "0", "0"],
        ["stage4", "25", "0", "0", "0"],
        ["stage5", "24", "1", "0", "0"],
    ]
    assert lines[5] == "missing in stage5: stage5.layer4.1.conv2.weight"
    assert lines[6].startswith("not used: state_dict.module.encoder_k (")
    assert "state_dict.module.queue (1)" in lines[6]
    assert "state_dict.module.encoder_q.fc (2)" in lines[6]
    assert "optimizer (" in lines[6]
    assert len(lines) == 7


def test_long_lists_are_cut_with_their_count() -> None:
    report = load_backbone_weights(
        resnet(18), {"conv1.weight": torch.zeros(64, 3, 7, 7)}, partial=True
    )
    assert len(report.stages["stage5"].missing) == 25
    assert "missing in stage5: stage5.layer4.0.conv1.weight" in str(report)
    assert "and 22 more" in str(report)
    assert str(report).startswith("weights found at the top\n")
