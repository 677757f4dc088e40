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


@given(
    images=st.integers(1, 3),
    maps=st.integers(1, 3),
    height=st.integers(1, 4),
    width=st.integers(2, 3),
    finer=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_attention_on_the_person_is_the_naive_one(images, maps, height, width, finer, seed):
    attention = softmaxed(images, maps, height, width, seed)
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(images, finer * height, finer * width, generator=generator)
    health = attention_health(attention, masks)
    for k in range(maps + 1):
        on, chance = 0.0, 0.0
        for image, mask in zip(attention.double().tolist(), masks.double().tolist(), strict=True):
            grid = (
                image[k]
                if k < maps
                else [[max(m[y][x] for m in image) for x in range(width)] for y in range(height)]
            )
            total = sum(map(sum, grid))
            for y in range(height):
                for x in range(width):
                    person = (
                        sum(
                            mask[finer * y + i][finer * x + j]
                            for i in range(finer)
                            for j in range(finer)
                        )
                        / finer**2
                    )
                    on += grid[y][x] / total * person / images
                    chance += person / (height * width) / images
        assert float(health.on_person[k]) == pytest.approx(on / chance)


def test_chance_is_one_and_a_perfect_map_is_the_inverse_of_the_persons_part():
    masks = torch.zeros(2, 8, 4)
    masks[:, :2] = 1  # a quarter of the image
    even, perfect = torch.full((2, 1, 8, 4), 0.4), 0.6 * masks[:, None]
    on = attention_health(torch.cat([even, perfect], 1), masks).on_person
    overlay = (0.6 * 0.25) / (0.6 * 0.25 + 0.4 * 0.75) / 0.25
    assert on.tolist() == pytest.approx([1, 4, overlay])


def test_maps_off_the_person_are_named():
    masks = torch.zeros(1, 4, 2)
    masks[:, :2] = 1
    away = torch.tensor([0.1, 0.1, 0.8, 0.8]).view(1, 1, 4, 1).expand(1, 1, 4, 2)
    health = attention_health(away, masks)
    assert health.warnings == ("the maps lie off the person: 0.22 of what chance would give",)
    assert attention_health(away).warnings == ()
    assert attention_health(away).on_person is None


@pytest.mark.parametrize(
    ("masks", "told"),
    [
        (torch.zeros(2, 4, 2), r"masks of 2 images, .* not all 0, got \(2, 4, 2\)"),
        (torch.ones(3, 4, 2), r"masks of 2 images"),
        (torch.full((2, 4, 2), 255.0), "from 0 to 1"),
        (torch.full((2, 4, 2), math.nan), "from 0 to 1"),
        (torch.ones(2, 1, 4, 2), "masks"),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks, told):
    with pytest.raises(ValueError, match=told):
        attention_health(softmaxed(2, 2, 4, 2), masks)
