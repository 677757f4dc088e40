import numpy as np
import pytest
import torch

from reidblocks.visualization import attention_overlay
from reidblocks.visualization.attention import COLORS, OPACITY


def gray_person():
    return torch.full((3, 64, 32), 128, dtype=torch.uint8)


def overlays(figure):
    """The drawn images, without the color scale, which comes last."""
    return [np.asarray(image.get_array()) for image in figure.axes[0].images[:-1]]


def painted(level):
    """Middle gray under the color of a level."""
    color = 255 * np.array(COLORS(level)[:3])
    return 128 * (1 - OPACITY) + color * OPACITY


def test_columns_are_the_image_each_map_and_all(texts):
    maps = {
        "A4": torch.rand(2, 2, 8, 4),
        "A5": torch.rand(2, 3, 4, 2),
        "one": torch.rand(2, 1, 1, 1),
    }
    figure = attention_overlay([gray_person()] * 2, maps, labels=["first.jpg", "second.jpg"])
    assert len(figure.axes) == 1
    assert len(overlays(figure)) == 2 * (1 + 3 + 4 + 1)
    shown = texts(figure)
    headings = ["A4", "1", "2", "all", "A5", "1", "2", "3", "all", "one", "1"]
    assert shown[: len(headings)] == headings
    assert {"first.jpg", "second.jpg"} < set(shown)


def test_color_follows_the_value():
    maps = torch.tensor([0.0, 0.25, 1.0]).view(1, 3, 1, 1)
    images = overlays(attention_overlay([gray_person()], {"A": maps}))
    for image, level in zip(images[1:], (0.0, 0.25, 1.0, 1.0), strict=True):
        assert np.abs(image - painted(level)).max() < 3


def test_map_lies_where_it_attends_and_is_stretched_over_the_image():
    maps = torch.zeros(1, 2, 4, 2)
    maps[0, 0, 0, 0] = 1
    maps[0, 1, 3, 1] = 1
    _, first, second, both = overlays(attention_overlay([gray_person()], {"A": maps}))
    assert first.shape == (64, 32, 3)
    light = [image.sum(2, dtype=int) for image in (first, second, both)]
    assert light[0][4, 4] > light[0][60, 28]
    assert light[1][60, 28] > light[1][4, 4]
    assert light[2][4, 4] == light[0][4, 4]
    assert light[2][60, 28] == light[1][60, 28]
    middle = 1 / 4  # of four corners' values, one of them 1, at the meeting of four cells
    assert np.abs(first[16, 16] - painted(middle)).max() < 8


def test_one_scale_for_all_groups_is_printed(texts):
    strong, weak = torch.full((1, 1, 2, 2), 0.8), torch.full((1, 1, 2, 2), 0.4)
    figure = attention_overlay([gray_person()], {"strong": strong, "weak": weak})
    assert texts(figure)[-2:] == ["0", "0.8"]
    images = overlays(figure)
    assert np.abs(images[1] - painted(1.0)).max() < 3
    assert np.abs(images[2] - painted(0.5)).max() < 3


def test_range_can_be_given(texts):
    figure = attention_overlay(
        [gray_person()], {"A": torch.full((1, 1, 2, 2), 0.4)}, value_range=(0.2, 0.6)
    )
    assert texts(figure)[-2:] == ["0.2", "0.6"]
    assert np.abs(overlays(figure)[1] - painted(0.5)).max() < 3


@pytest.mark.parametrize(("value", "ends"), [(0.0, ["0", "1"]), (-2.0, ["-2", "0"])])
def test_empty_and_negative_maps_have_a_range(texts, value, ends):
    maps = torch.zeros(1, 1, 2, 2)
    maps[0, 0, 0, 0] = value
    assert texts(attention_overlay([gray_person()], {"A": maps}))[-2:] == ends


@pytest.mark.parametrize(("rows", "count"), [(1, 1), (8, 1), (1, 2), (8, 2), (3, 8)])
def test_no_text_overlaps(person, unreadable, long_name, rows, count):
    images = [person(n, 32, 64 if n % 2 else 48) for n in range(rows)]
    maps = {name: torch.rand(rows, count, 6, 3) for name in ("A4", long_name)}
    figure = attention_overlay(images, maps, labels=[long_name] * rows, title="Two models")
    assert unreadable(figure) == []


def test_large_sets_and_images_are_cut(texts):
    figure = attention_overlay(torch.rand(40, 3, 600, 300), {"A": torch.rand(40, 1, 2, 2)})
    assert "The first 16 of 40 images." in texts(figure)
    assert len(overlays(figure)) == 32
    assert all(image.shape == (384, 192, 3) for image in overlays(figure))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_type_is_drawn(dtype):
    attention_overlay([gray_person()], {"A": torch.rand(1, 2, 4, 2).to(dtype)})


def test_inputs_are_unchanged(person):
    image, maps = person(1), torch.rand(1, 2, 4, 2, requires_grad=True)
    before, kept = image.tobytes(), maps.detach().clone()
    attention_overlay([image], {"A": maps})
    assert image.tobytes() == before
    assert torch.equal(maps, kept)


@pytest.mark.parametrize(("images", "maps"), [([], {"A": torch.rand(0, 1, 2, 2)}), ([1], {})])
def test_nothing_to_draw_is_an_error(images, maps):
    with pytest.raises(ValueError, match="at least one image and one group of maps, got"):
        attention_overlay(images, maps)


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (torch.rand(2, 4, 2), r"expects maps\['A'\] \(B, K, H, W\), got \(2, 4, 2\)"),
        (torch.rand(3, 1, 4, 2), r"expects maps\['A'\] of 2 images, got \(3, 1, 4, 2\)"),
        (torch.rand(2, 0, 4, 2), r"expects maps\['A'\] of 2 images, got \(2, 0, 4, 2\)"),
        (torch.full((2, 1, 4, 2), torch.nan), r"expects finite maps, maps\['A'\] are not"),
        (torch.rand(2, 40, 4, 2), r"at most 40 columns, these maps need 42: draw fewer"),
    ],
)
def test_other_maps_are_refused(maps, message):
    with pytest.raises(ValueError, match=message):
        attention_overlay([gray_person()] * 2, {"A": maps})


def test_labels_of_another_length_are_refused():
    with pytest.raises(ValueError, match="expects 1 labels, one per image, got 2"):
        attention_overlay([gray_person()], {"A": torch.rand(1, 1, 2, 2)}, labels=["a", "b"])


def test_range_that_falls_is_refused():
    with pytest.raises(ValueError, match=r"value_range to rise, got \(1, 1\)"):
        attention_overlay([gray_person()], {"A": torch.rand(1, 1, 2, 2)}, value_range=(1, 1))
