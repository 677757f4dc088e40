import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reidblocks.visualization import unnormalize
from reidblocks.visualization.images import load_image

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture
def pixels(person):
    return np.asarray(person(3))


def test_every_source_gives_the_same_picture(pixels, tmp_path):
    path = tmp_path / "person.png"
    Image.fromarray(pixels).save(path)
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    sources = [path, str(path), Image.fromarray(pixels), tensor, tensor / 255]
    for source in sources:
        assert np.array_equal(np.asarray(load_image(source, 500)), pixels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_type_is_read(dtype):
    image = load_image(torch.full((3, 4, 2), 0.5, dtype=dtype), 10)
    assert image.size == (2, 4)
    assert np.asarray(image).min() in (127, 128)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_any_mode_becomes_rgb(person, mode):
    assert load_image(person(1).convert(mode), 100).mode == "RGB"


def test_an_image_stored_on_its_side_is_drawn_upright(person, tmp_path):
    held = Image.Exif()
    held[0x0112] = 6  # orientation: a quarter turn
    person(1).save(tmp_path / "turned.jpg", exif=held)
    assert load_image(tmp_path / "turned.jpg", 100).size == (64, 32)


def test_sixteen_bit_gray_is_brought_down_to_eight(tmp_path):
    gray = np.array([[0, 128 << 8], [64 << 8, 255 << 8]], dtype=np.uint16)
    Image.fromarray(gray).save(tmp_path / "infrared.png")
    pixels = np.asarray(load_image(tmp_path / "infrared.png", 10))
    assert pixels[..., 0].tolist() == [[0, 128], [64, 255]]


@given(width=st.integers(1, 60), height=st.integers(1, 60), max_side=st.integers(1, 80))
def test_longer_side_is_capped_and_small_images_kept(width, height, max_side):
    image = load_image(Image.new("RGB", (width, height)), max_side)
    assert max(image.size) == min(max_side, max(width, height))
    assert min(image.size) >= 1


def test_sources_are_left_as_they_are(person):
    image, tensor = person(1), torch.rand(3, 40, 20, requires_grad=True)
    before, kept = image.tobytes(), tensor.detach().clone()
    load_image(image, 8)
    load_image(tensor, 8)
    assert image.tobytes() == before
    assert image.size == (32, 64)
    assert torch.equal(tensor, kept)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(OSError, match=r"cannot read the image .*nobody\.jpg .*No such file"):
        load_image(tmp_path / "nobody.jpg", 10)


def test_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "notes.jpg").write_text("no image")
    with pytest.raises(OSError, match=r"notes\.jpg \(no image of a known kind\)"):
        load_image(tmp_path / "notes.jpg", 10)


def test_truncated_file_is_named(tmp_path):
    stored = io.BytesIO()
    Image.effect_noise((64, 128), 50).save(stored, "JPEG")
    (tmp_path / "half.jpg").write_bytes(stored.getvalue()[: len(stored.getvalue()) // 2])
    with pytest.raises(OSError, match=r"cannot read the image .*half\.jpg \(.*truncated"):
        load_image(tmp_path / "half.jpg", 10)


def test_broken_png_is_named(person, tmp_path):
    stored = io.BytesIO()
    person(1).save(stored, "PNG")
    broken = bytearray(stored.getvalue())
    broken[40:60] = bytes(20)
    (tmp_path / "broken.png").write_bytes(broken)
    with pytest.raises(OSError, match=r"cannot read the image .*broken\.png"):
        load_image(tmp_path / "broken.png", 10)


def test_other_kinds_are_refused():
    with pytest.raises(TypeError, match=r"a path, a PIL image or a tensor .*got numpy\.ndarray"):
        load_image(np.zeros((4, 4, 3)), 10)


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (4, 4, 3), (4, 4), (3, 0, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"an image tensor is \(3, H, W\) and not empty, got"):
        load_image(torch.zeros(shape), 10)


def test_other_types_are_refused():
    with pytest.raises(ValueError, match=r"uint8 or floating point, got torch\.int64"):
        load_image(torch.zeros(3, 4, 4, dtype=torch.int64), 10)


@pytest.mark.parametrize("value", [-2.1, 1.5, 255.0, float("nan"), float("inf")])
def test_values_outside_the_range_are_refused_with_the_remedy(value):
    image = torch.zeros(3, 4, 4)
    image[0, 0, 0] = value
    with pytest.raises(ValueError, match=r"lies in \[0, 1\], got .*visualization\.unnormalize"):
        load_image(image, 10)


def test_unnormalize_undoes_each_channel():
    images = torch.rand(2, 3, 5, 4)
    normalized = images.clone()
    for channel in range(3):
        normalized[:, channel] = (images[:, channel] - MEAN[channel]) / STD[channel]
    kept = normalized.clone()
    assert torch.allclose(unnormalize(normalized, MEAN, STD), images, atol=1e-6)
    assert torch.equal(normalized, kept)


def test_unnormalize_keeps_to_the_range():
    result = unnormalize(torch.randn(1, 3, 8, 8) * 100, MEAN, STD)
    assert result.min() == 0
    assert result.max() == 1


def test_unnormalize_refuses_other_shapes_and_numbers():
    with pytest.raises(ValueError, match=r"unnormalize expects images \(B, C, H, W\), got"):
        unnormalize(torch.zeros(3, 4, 4), MEAN, STD)
    with pytest.raises(ValueError, match="mean and std of 3 channels each, got 3 and 1"):
        unnormalize(torch.zeros(1, 3, 4, 4), MEAN, [0.2])
