import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidblocks.visualization import attention_health


def softmaxed(images, maps, height, width, seed=0, sharpness=3.0):
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(images, maps + 1, height, width, generator=generator)
    return logits.softmax(1)[:, :maps]


@given(
    images=st.integers(1, 3),
    maps=st.integers(1, 3),
    height=st.integers(1, 4),
    width=st.integers(2, 3),
    seed=st.integers(0, 99),
)
def test_figures_are_the_naive_ones(images, maps, height, width, seed):
    attention = softmaxed(images, maps, height, width, seed)
    health = attention_health(attention)
    values = [[m.double().flatten().tolist() for m in image] for image in attention]
    places = height * width
    for k in range(maps):
        cover = sum(sum(image[k]) / places for image in values) / images
        assert float(health.coverage[k]) == pytest.approx(cover)
        assert float(health.peak[k]) == pytest.approx(sum(max(i[k]) for i in values) / images)
        spread = 0.0
        for image in values:
            for value in image[k]:
                p = value / sum(image[k])
                spread -= p * math.log(p) / math.log(places) / images
        assert float(health.entropy[k]) == pytest.approx(spread, abs=1e-6)
        for j in range(maps):
            common = sum(
                min(a / sum(image[k]), b / sum(image[j]))
                for image in values
                for a, b in zip(image[k], image[j], strict=True)
            )
            assert float(health.overlap[k, j]) == pytest.approx(common / images)
    assert health.background == pytest.approx(1 - float(health.coverage.sum()))


def test_good_maps_give_no_warning():
    maps = torch.zeros(2, 2, 4, 2)
    maps[:, 0, :2], maps[:, 1, 2:] = 0.9, 0.7
    health = attention_health(maps)
    assert health.warnings == ()
    assert health.coverage.tolist() == pytest.approx([0.45, 0.35])
    assert health.background == pytest.approx(0.2)
    assert health.overlap[0, 1] == 0
    assert health.entropy.tolist() == pytest.approx([2 / 3, 2 / 3])


def test_dead_flat_and_equal_maps_are_named():
    maps = torch.zeros(1, 5, 4, 2)
    maps[0, 0, 0] = 0.4
    maps[0, 1, 0] = 0.3
    maps[0, 2, 3] = 0.02
    maps[0, 3] = 0.1
    assert attention_health(maps).warnings == (
        "map 3 is dead: its peak is 0.02",
        "map 4 is flat: it is the same everywhere",
        "map 5 is dead: its peak is 0.00",
        "maps 1 and 2 are one: they overlap by 1.00",
    )


def test_a_map_of_zeros_gives_finite_figures():
    health = attention_health(torch.zeros(2, 2, 3, 3))
    assert all(figure.isfinite().all() for figure in health[:4])
    assert health.background == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_is_measured_too(dtype):
    maps = softmaxed(4, 2, 6, 3)
    expected = attention_health(maps)
    for figure, reference in zip(attention_health(maps.to(dtype))[:4], expected[:4], strict=True):
        assert torch.allclose(figure, reference, atol=0.02)


def test_input_is_unchanged():
    maps = softmaxed(1, 2, 3, 3)
    kept = maps.clone()
    attention_health(maps)
    assert torch.equal(maps, kept)


def test_what_is_no_softmax_is_refused():
    with pytest.raises(ValueError, match=r"attention_health expects maps \(B, K, H, W\), got"):
        attention_health(torch.rand(2, 4, 4))
    for maps in (
        torch.rand(0, 2, 4, 4),
        torch.full((1, 1, 2, 2), -0.1),
        torch.full((1, 2, 2, 2), 0.6),
        torch.full((1, 1, 2, 2), torch.nan),
    ):
        with pytest.raises(ValueError, match="expects maps of a softmax, none below 0"):
            attention_health(maps)
