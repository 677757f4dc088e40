"""A folded model is the model, in fewer steps: held in float64 with statistics drawn at random."""

import copy
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torchvision import models

from reidblocks import blocks
from reidblocks.backbones import mobilenet_v2, resnet, timm_backbone, torchvision_backbone
from reidblocks.deploy import fold_for_inference, folded_norms
from reidblocks.testing import check_block

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def lived_in(model: nn.Module) -> nn.Module:
    """In float64 and eval mode, with statistics, affines and exponents away from their start."""
    model.double().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
            if isinstance(module, (*NORMS, nn.InstanceNorm2d)) and module.affine:
                module.weight.uniform_(0.5, 1.5).mul_(torch.randn_like(module.weight).sign())
                module.bias.normal_(0, 0.3)
            if isinstance(module, blocks.GeM):
                module.p.uniform_(1.5, 4)
    return model


def tensors(output: object) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    return [tensor for part in output for tensor in tensors(part)]


def expect_same(folded: nn.Module, model: nn.Module, *inputs: Tensor) -> None:
    expected, got = (tensors(each(*inputs)) for each in (model, folded))
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        scale = max(1.0, other.abs().max().item())
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10 * scale)


def steps(model: nn.Module, kind: type[nn.Module] | tuple[type[nn.Module], ...]) -> int:
    return sum(isinstance(module, kind) for module in model.modules())


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


MAPS = noise(3, 2, 6, 5).softmax(1)
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...], int]] = {
    # the block, its inputs, and how many norms stay: those after a pooling
    "ConvBNReLU": (lambda: blocks.ConvBNReLU(8, 4), (noise(3, 8, 6, 5),), 0),
    "ConvBNReLU 3×3": (lambda: blocks.ConvBNReLU(8, 4, 3), (noise(3, 8, 6, 5),), 0),
    "EmbeddingHead": (lambda: blocks.EmbeddingHead(8, 4), (noise(3, 8, 6, 5),), 1),
    "BNNeckHead": (lambda: blocks.BNNeckHead(8), (noise(3, 8, 6, 5),), 1),
    "HardPartitionHead": (lambda: blocks.HardPartitionHead(8, 4, 3), (noise(3, 8, 6, 5),), 4),
    "AttentionGenerator": (lambda: blocks.AttentionGenerator(8, 2), (noise(3, 8, 6, 5),), 0),
    "GuidedAttention": (lambda: blocks.GuidedAttention(8, 2), (noise(3, 8, 12, 9), MAPS), 0),
    "BAP": (lambda: blocks.BAP(8, 4, 2), (noise(3, 8, 6, 5), MAPS), 1),
    "FusionModule": (lambda: blocks.FusionModule(10), (noise(3, 8, 6, 5), MAPS), 0),
    "BNNeck": (lambda: blocks.BNNeck(4), (noise(3, 4),), 1),
    "MutualDistiller": (lambda: blocks.MutualDistiller(4), (noise(3, 4), noise(3, 4)), 0),
}


@pytest.mark.parametrize("name", CASES)
def test_a_folded_block_is_the_block(name: str) -> None:
    make, inputs, norms_left = CASES[name]
    block = lived_in(make())
    folded = fold_for_inference(block)
    expect_same(folded, block, *inputs)
    assert steps(folded, NORMS) == norms_left
    fates = folded_norms(block)
    assert len(fates) == steps(block, NORMS)
    assert list(fates.values()).count(None) == norms_left
    for norm, layer in fates.items():
        assert isinstance(block.get_submodule(norm), NORMS)
        assert layer is None or isinstance(block.get_submodule(layer), (nn.Conv2d, nn.Linear))


def test_two_convolutions_are_one() -> None:
    fusion, attention = blocks.FusionModule(6), blocks.AttentionGenerator(6, 2)
    for block in (fusion, attention):
        assert steps(fold_for_inference(block.eval()), nn.Conv2d) == 1


def test_attention_gives_all_that_it_knows_of_an_image() -> None:
    block = lived_in(blocks.AttentionGenerator(8, 2))
    folded = fold_for_inference(block)
    features = noise(2, 8, 4, 3)
    for one, other in zip(folded(features), block(features), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_a_one_by_one_with_a_bias_stays_before_the_border_of_zeros() -> None:
    block = blocks.FusionModule(6)
    block.conv1x1 = nn.Conv2d(6, 6, 1)
    block = lived_in(block)
    folded = fold_for_inference(block)
    assert (steps(folded, nn.Conv2d), steps(folded, NORMS)) == (2, 0)
    expect_same(folded, block, noise(2, 6, 4, 3))


class Maps(nn.Module):
    """An attention generator that fits into a row."""

    def __init__(self, in_channels: int, num_maps: int) -> None:
        super().__init__()
        self.generator = blocks.AttentionGenerator(in_channels, num_maps)

    def forward(self, features: Tensor) -> Tensor:
        return self.generator(features).maps


@st.composite
def networks(draw: DrawFn) -> nn.Module:
    """Parts in a row, each taking the maps of the one before: ours, torch's, and sequences."""
    channels, parts = 4, list[nn.Module]()
    for _ in range(draw(st.integers(1, 6))):
        wide = draw(st.sampled_from([2, 3, 4]))
        bias, groups = draw(st.booleans()), draw(st.sampled_from([1, channels]))
        convolution = nn.Conv2d(
            channels,
            wide * groups,
            draw(st.sampled_from([1, 2, 3])),
            padding=draw(st.integers(0, 2)),
            groups=groups,
            bias=bias,
            padding_mode=draw(st.sampled_from(["zeros", "replicate"])),
        )
        kind = draw(st.integers(0, 7))
        made = {
            0: [blocks.ConvBNReLU(channels, wide, 3)],
            1: [blocks.FusionModule(channels)],
            2: [Maps(channels, wide)],
            3: [convolution, nn.BatchNorm2d(wide * groups, affine=bias), nn.ReLU()],
            4: [nn.Sequential(convolution, nn.BatchNorm2d(wide * groups), nn.ELU())],
            5: [convolution, nn.ELU(), nn.BatchNorm2d(wide * groups)],
            6: [nn.BatchNorm2d(channels), nn.Tanh(), nn.BatchNorm2d(channels)],
            7: [models.resnet.BasicBlock(channels, channels)],
        }[kind]
        channels = {0: wide, 2: wide, 3: wide * groups, 4: wide * groups, 5: wide * groups}.get(
            kind, channels
        )
        parts += made
    if draw(st.booleans()):
        parts += [blocks.GeM(), nn.Flatten(), blocks.BNNeck(channels), nn.Linear(channels, 3)]
        parts += [nn.BatchNorm1d(3)]
    return nn.Sequential(*parts)


@settings(deadline=None)
@given(networks(), st.integers(0, 2**31))
def test_any_composition_folds_to_the_same(network: nn.Module, seed: int) -> None:
    torch.manual_seed(seed)
    network = lived_in(network)
    folded = fold_for_inference(network)
    expect_same(folded, network, noise(2, 4, 5, 4))
    rows = [part for part in folded.modules() if isinstance(part, nn.Sequential)]
    for before, after in (pair for row in rows for pair in pairwise(row)):
        assert not (isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("make", "norms_left"),
    [
        (lambda: resnet(18), 0),
        (lambda: resnet(50), 0),
        (lambda: resnet(50, ibn=True), 13),  # the batch halves of 3 + 4 + 6 split norms
        (mobilenet_v2, 0),
        (lambda: models.efficientnet_b0(), 0),
        (lambda: models.shufflenet_v2_x0_5(), 0),
        (lambda: models.googlenet(init_weights=False, aux_logits=False), 0),
        # those with a ReLU before the convolution
        (lambda: models.densenet121(), 62),
        (lambda: models.inception_v3(init_weights=False, aux_logits=False), 0),
        (lambda: torchvision_backbone("mobilenet_v3_small"), 0),
        (lambda: torchvision_backbone("regnet_y_400mf"), 0),
        (lambda: torchvision_backbone("resnext50_32x4d"), 0),
        (lambda: timm_backbone("resnet18"), 0),
        (lambda: timm_backbone("resnet50"), 0),
        (lambda: timm_backbone("regnety_002"), 0),
        (lambda: timm_backbone("mobilenetv3_small_050"), 0),
        (lambda: timm_backbone("efficientnet_b0"), 0),
        (lambda: timm_backbone("efficientnetv2_rw_t").stem, 0),
    ],
    ids=["resnet18", "resnet50", "ibn", "mobilenet", "efficientnet", "shufflenet", "googlenet",
         "densenet", "inception", "mobilenet_v3", "regnet", "resnext", "timm resnet18",
         "timm resnet50", "timm regnet", "timm mobilenet_v3", "timm efficientnet",
         "timm efficientnet_v2"],
)  # fmt: skip
def test_pretrained_networks_fold(
    make: Callable[[], nn.Module], norms_left: int, request: pytest.FixtureRequest
) -> None:
    if "timm" in request.node.callspec.id:
        pytest.importorskip("timm", reason="needs timm (extra timm)")
    network = lived_in(make())
    folded = fold_for_inference(network)
    assert steps(folded, NORMS) == norms_left
    with torch.no_grad():
        expect_same(folded, network, torch.rand(2, 3, 96, 80, dtype=torch.float64))


class Between(nn.Module):
    """Layers called as a forward says, which is not always one after the other."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.conv, self.bn, self.how = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), how

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.how == "directly":
            return self.bn(y).relu()
        if self.how == "something between":
            return self.bn(y.relu())
        if self.how == "seen by others":
            return self.bn(y) + y
        if self.how == "twice":
            return self.bn(self.conv(y))
        if self.how == "norm twice":
            return self.bn(self.bn(y))
        return self.bn(y) + self.conv.weight.sum()


@pytest.mark.parametrize(
    "how",
    ["directly", "something between", "seen by others", "twice", "norm twice", "weight read"],
)
def test_a_module_of_your_own_stays_as_it_is(how: str) -> None:
    module = lived_in(Between(how))
    folded = fold_for_inference(module)
    assert folded_norms(module) == {"bn": None}
    assert steps(folded, NORMS) == 1
    expect_same(folded, module, noise(2, 4, 3, 2))


def test_a_module_of_your_own_folds_where_you_say_so() -> None:
    network = lived_in(nn.Sequential(Between("directly"), Between("directly")))
    pairs = {Between: [("conv", "bn")]}
    folded = fold_for_inference(network, pairs=pairs)
    assert folded_norms(network, pairs=pairs) == {"0.bn": "0.conv", "1.bn": "1.conv"}
    assert steps(folded, NORMS) == 0
    expect_same(folded, network, noise(2, 4, 3, 2))


def test_a_known_block_with_another_forward_stays() -> None:
    class Reversed(models.resnet.BasicBlock):
        def forward(self, x: Tensor) -> Tensor:
            return self.bn1(self.conv1(x).relu())

    patched = models.resnet.BasicBlock(4, 4)
    patched.forward = lambda x: patched.bn1(patched.conv1(x).relu())
    for module in (Reversed(4, 4), patched):
        assert set(folded_norms(module.eval()).values()) == {None}


def test_a_layer_that_serves_twice_is_folded_where_its_norm_is() -> None:
    shared = nn.Conv2d(4, 4, 1)
    module = lived_in(nn.Sequential(shared, nn.BatchNorm2d(4), nn.ReLU(), nn.Sequential(shared)))
    folded = fold_for_inference(module)
    assert steps(folded, NORMS) == 0
    expect_same(folded, module, noise(2, 4, 3, 2))


class Overriding(blocks.FusionModule):
    def forward(self, *maps: Tensor) -> Tensor:
        return self.bn(self.conv3x3(self.conv1x1(maps[0]).tanh()))


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)),
        nn.Sequential(spectral_norm(nn.Conv2d(4, 4, 1)), nn.BatchNorm2d(4)),
        nn.Sequential(weight_norm(nn.Conv2d(4, 4, 1)), nn.BatchNorm2d(4)),
        nn.Sequential(nn.ConvTranspose2d(4, 4, 1), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Flatten(2), nn.Linear(6, 5), nn.BatchNorm1d(4)),
        Overriding(4),
    ],
    ids=[
        "batch's own statistics",
        "spectral norm",
        "weight norm",
        "transposed",
        "norm over another dimension",
        "overridden",
    ],
)
def test_what_cannot_be_folded_exactly_stays(module: nn.Module) -> None:
    module = lived_in(copy.deepcopy(module))
    folded = fold_for_inference(module)
    assert steps(folded, NORMS) == 1
    expect_same(folded, module, noise(2, 4, 3, 2))


@pytest.mark.parametrize("hooked", [0, 1])
def test_a_hook_goes_on_seeing_what_it_saw(hooked: int) -> None:
    module = lived_in(nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))
    module[hooked].register_forward_hook(lambda module, inputs, output: output.relu())
    expect_same(fold_for_inference(module), module, noise(2, 4, 3, 2))


@pytest.mark.parametrize("patched", [0, 1])
def test_a_part_whose_forward_is_replaced_stays(patched: int) -> None:
    module = lived_in(nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))
    own = module[patched].forward
    module[patched].forward = lambda x: own(x).relu()
    folded = fold_for_inference(module)
    assert folded_norms(module) == {"1": None}
    expect_same(folded, module, noise(2, 4, 3, 2))


@pytest.mark.parametrize("missing", ["weight", "bias"])
def test_a_norm_without_a_scale_or_a_shift_folds(missing: str) -> None:
    module = lived_in(nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))
    setattr(module[1], missing, None)  # as BatchNorm2d(4, bias=False) of newer torch has none
    folded = fold_for_inference(module)
    assert steps(folded, NORMS) == 0
    expect_same(folded, module, noise(2, 4, 3, 2))


def test_a_norm_kept_in_training_mode_stays() -> None:
    module = lived_in(nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))
    module[1].train()
    assert steps(fold_for_inference(module), NORMS) == 1


def test_the_model_is_left_as_it_was() -> None:
    module = lived_in(nn.Sequential(blocks.FusionModule(4), blocks.AttentionGenerator(4, 2)))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    folded = fold_for_inference(module)
    assert module.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert not {id(p) for p in module.parameters()} & {id(p) for p in folded.parameters()}


def test_half_precision_stays_half_precision() -> None:
    block = blocks.EmbeddingHead(8, 4).eval().bfloat16()
    folded = fold_for_inference(block)
    assert {value.dtype for value in folded.parameters()} == {torch.bfloat16}
    features = torch.rand(2, 8, 6, 3, dtype=torch.bfloat16)
    torch.testing.assert_close(folded(features).maps, block(features).maps, rtol=0.05, atol=0.02)


def test_training_mode_is_refused() -> None:
    for call in (fold_for_inference, folded_norms):
        with pytest.raises(ValueError, match=f"{call.__name__} expects a model in eval mode"):
            call(blocks.BNNeck(4))


class Inference(nn.Module):
    """A folded block as a part that is still fed by what is trained."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.folded = fold_for_inference(block.eval())
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, features: Tensor, maps: Tensor | None = None) -> object:
        others = () if maps is None else (maps,)
        return self.folded(features * self.scale, *others)


FOLDED = CASES.keys() - {
    "BNNeck",
    "BNNeckHead",
    "MutualDistiller",
}  # of these no more than a sequence


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name not in ("AttentionGenerator", "BAP")))
        for name in sorted(FOLDED)
    ],
)
def test_a_folded_block_keeps_the_contract(name: str) -> None:
    make, inputs, _ = CASES[name]
    check_block(
        Inference(make()),
        *(each.float() for each in inputs),
        height_multiple=3 if name == "HardPartitionHead" else 1,
    )


def test_pairs_that_name_no_part_are_refused() -> None:
    network = nn.Sequential(Between("directly")).eval()
    with pytest.raises(ValueError, match=r"pairs\[Between\] .* got nrom; it has conv, bn"):
        fold_for_inference(network, pairs={Between: [("conv", "nrom")]})
    with pytest.raises(ValueError, match=r"classes in the model, got Flatten"):
        folded_norms(network, pairs={nn.Flatten: [("conv", "bn")]})
