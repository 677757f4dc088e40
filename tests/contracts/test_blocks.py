"""Every public block is held to the contract that users can hold theirs to."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import reidblocks.blocks
from reidblocks import blocks
from reidblocks.testing import check_block
from reidblocks.testing._promises import CLOSE, expect_finite, expect_same, gradients_of

Case = tuple[Callable[[], nn.Module], tuple[Tensor, ...], int]


class Pooled(nn.Module):
    """The function twins, as a block."""

    def forward(self, features: Tensor, maps: Tensor) -> tuple[Tensor, ...]:
        top, bottom = blocks.split_stripes(features, 2)
        parts = blocks.bilinear_attention_pool(features, maps)
        pooled = blocks.gem_pool(top), blocks.gem_pool(bottom, p=1.5)
        return *pooled, parts, blocks.mutual_distillation_loss(pooled, pooled[::-1])


def cases() -> dict[str, Case]:
    features = torch.rand(4, 8, 6, 4)
    maps = torch.rand(4, 3, 6, 4).softmax(1)[:, :2]
    embeddings = torch.randn(3, 4, 5)
    return {
        "ConvBNReLU": (lambda: blocks.ConvBNReLU(8, 4, kernel_size=3), (features,), 1),
        "ConvBNReLU 1×1": (lambda: blocks.ConvBNReLU(8, 4), (features,), 1),
        "GeM": (lambda: blocks.GeM(p=1.5, groups=4), (features,), 1),
        "GeM of one exponent": (lambda: blocks.GeM(), (features,), 1),
        "GeM per channel": (lambda: blocks.GeM(groups=8), (features,), 1),
        "GeM fixed": (lambda: blocks.GeM(trainable=False), (features,), 1),
        "BNNeck": (lambda: blocks.BNNeck(5), (embeddings[0],), 1),
        "BNNeck with bias": (lambda: blocks.BNNeck(5, bias=True), (embeddings[0],), 1),
        "EmbeddingHead": (lambda: blocks.EmbeddingHead(8, 4), (features,), 1),
        "BNNeckHead": (lambda: blocks.BNNeckHead(8), (features,), 1),
        "AttentionGenerator": (lambda: blocks.AttentionGenerator(8, 2), (features,), 1),
        "GuidedAttention": (
            lambda: blocks.GuidedAttention(8, 3, guide_channels=2),
            (features, maps[:, :, :3, :2]),
            1,
        ),
        "GuidedAttention of its size": (lambda: blocks.GuidedAttention(8, 2), (features, maps), 1),
        "GuidedAttention alone": (lambda: blocks.GuidedAttention(8, 2), (features,), 1),
        "BAP": (lambda: blocks.BAP(8, 4, 2), (features, maps), 1),
        "BAP sharing": (lambda: blocks.BAP(8, 4, 2, pool=blocks.GeM()), (features, maps), 1),
        "HardPartitionHead": (lambda: blocks.HardPartitionHead(8, 4, 2), (features,), 2),
        "HardPartitionHead of 3": (lambda: blocks.HardPartitionHead(8, 4, 3), (features,), 3),
        "FusionModule": (lambda: blocks.FusionModule(10), (features, maps), 1),
        "MutualDistiller": (lambda: blocks.MutualDistiller(5), tuple(embeddings[:2]), 1),
        "MutualDistiller of 3": (lambda: blocks.MutualDistiller(5, 3, 7), tuple(embeddings), 1),
        "function twins": (Pooled, (features, maps), 2),
    }


def holds_something_constant(case: str) -> bool:
    """Whether the gradient stops at something by design: a distillation's targets."""
    return case.startswith("MutualDistiller") or case == "function twins"


VARIANTS = {name for name in cases() if " " in name} - {"function twins"}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] * (case in VARIANTS)) for case in cases()]
)
def test_block_keeps_the_contract(case: str) -> None:
    make, inputs, height_multiple = cases()[case]
    exact = not holds_something_constant(case)
    check_block(make(), *inputs, height_multiple=height_multiple, exact_gradient=exact)


@pytest.mark.slow
@pytest.mark.parametrize("case", cases())
def test_block_keeps_the_contract_when_compiled_by_inductor(case: str) -> None:
    make, inputs, height_multiple = cases()[case]
    kinds = {"height_multiple": height_multiple, "backend": "inductor"}
    check_block(make(), *inputs, exact_gradient=not holds_something_constant(case), **kinds)


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", [None, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", cases())
def test_block_gives_on_a_gpu_what_it_gives_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, case: str, precision: torch.dtype | None
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    make, inputs, _ = cases()[case]
    block = make().double()
    exact = tuple(each.double() for each in inputs)
    expected, gradients = gradients_of(copy.deepcopy(block), exact)
    moved = tuple(each.cuda() for each in inputs)
    autocast = torch.autocast("cuda", precision or torch.float16, enabled=precision is not None)
    found, on_gpu = gradients_of(block.float().cuda(), moved, autocast)
    tolerance = CLOSE if precision is None else 0.1
    expect_same([each.cpu() for each in found], expected, "the output", tolerance)
    for name, gradient in gradients.items():
        if precision is None and gradient is not None:
            expect_same([on_gpu[name].cpu()], [gradient], f"the gradient of {name}", 1e-3)
    expect_finite(on_gpu)


def test_every_public_block_is_held_to_it() -> None:
    held = {type(make()).__name__ for make, _, _ in cases().values()}
    public = {
        name
        for name in reidblocks.blocks.__all__
        if isinstance(kind := getattr(blocks, name), type) and issubclass(kind, nn.Module)
    }
    assert public <= held
