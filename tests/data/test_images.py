import math
import pickle
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from reidblocks.data import (
    ImageDataset,
    Item,
    Sample,
    draw_person,
    eval_transform,
    read_image,
    read_market1501,
    resize_transform,
)

Draw = Callable[..., Path]
RED, BLUE = (255, 0, 0), (0, 0, 255)


def test_modes_are_converted_to_rgb(tmp_path: Path) -> None:
    gray = Image.new("L", (4, 6), 90)
    expected = {
        "gray.png": (gray, (90, 90, 90)),
        "black_and_white.png": (Image.new("1", (4, 6), 1), (255, 255, 255)),
        "gray_alpha.png": (Image.new("LA", (4, 6), (90, 128)), (90, 90, 90)),
        "alpha.png": (Image.new("RGBA", (4, 6), (*RED, 128)), RED),
        "palette.png": (Image.new("RGB", (4, 6), RED).quantize(4), RED),
        "palette.gif": (Image.new("RGB", (4, 6), RED).quantize(4), RED),
        "cmyk.tif": (Image.new("CMYK", (4, 6), (0, 255, 255, 0)), RED),
    }
    for name, (image, color) in expected.items():
        image.save(tmp_path / name)
        read = read_image(tmp_path / name)
        assert (read.mode, read.size, read.getpixel((1, 1))) == ("RGB", (4, 6), color), name


def test_a_cmyk_jpeg_keeps_its_colors(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=95)
    red, green, blue = read_image(tmp_path / "cmyk.jpg").getpixel((8, 8))  # type: ignore[misc]
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bit_gray_is_scaled_not_clipped(suffix: str, tmp_path: Path) -> None:
    image = Image.new("I;16", (4, 1))
    for x, value in enumerate((0, 256, 32768, 65535)):
        image.putpixel((x, 0), value)
    image.save(tmp_path / f"deep.{suffix}")
    read = read_image(tmp_path / f"deep.{suffix}")
    assert [read.getpixel((x, 0)) for x in range(4)] == [(v,) * 3 for v in (0, 1, 128, 255)]


def test_floats_are_refused_by_name(tmp_path: Path) -> None:
    Image.new("F", (4, 4), 0.5).save(tmp_path / "float.tif")
    with pytest.raises(OSError, match=r"float\.tif .*floats of unknown range"):
        read_image(tmp_path / "float.tif")


@pytest.mark.parametrize("mode", ["RGB", "I;16"])
def test_the_note_on_how_the_camera_was_held_is_obeyed(mode: str, tmp_path: Path) -> None:
    image = Image.new(mode, (6, 4))
    image.putpixel((0, 0), RED if mode == "RGB" else 65535)
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the scene is at the right of the picture
    image.save(tmp_path / "turned.png", exif=exif)
    read = read_image(tmp_path / "turned.png")
    assert read.size == (4, 6)
    assert read.getpixel((3, 0)) == (RED if mode == "RGB" else (255, 255, 255))


def test_one_pixel_spaces_and_foreign_letters(tmp_path: Path) -> None:
    path = tmp_path / "ein Bild ü 人.png"
    Image.new("RGB", (1, 1), RED).save(path)
    assert eval_transform((8, 4))(read_image(path)).shape == (3, 8, 4)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("scale", "read_at"), [(4, 4), (8, 4), (12, 6), (16, 4), (32, 4), (64, 8)])
def test_a_large_jpeg_is_decoded_at_a_reduced_scale(
    scale: int, read_at: int, orientation: int, tmp_path: Path
) -> None:
    """Never at less than four times the target, by a half, a quarter or an eighth."""
    image, exif = Image.new("RGB", (16 * scale, 32 * scale), RED), Image.Exif()
    exif[0x0112] = orientation
    (image if orientation == 1 else image.transpose(Image.Transpose.ROTATE_90)).save(
        tmp_path / "large.jpg", exif=exif
    )
    assert read_image(tmp_path / "large.jpg").size == image.size
    reduced = read_image(tmp_path / "large.jpg", target_size=(32, 16))
    assert reduced.size == (16 * read_at, 32 * read_at)


def test_a_reduced_scale_shows_the_same_picture(tmp_path: Path) -> None:
    target, resize = (64, 32), resize_transform((64, 32))
    for number in range(8):
        path = tmp_path / f"{number}.jpg"
        draw_person(number, 1, 1, size=(1024, 512)).save(path, quality=92)
        whole, reduced = (resize(read_image(path, target_size=t)).int() for t in (None, target))
        assert not whole.equal(reduced)
        assert (whole - reduced).abs().float().mean() < 0.25  # of 255 levels
        assert (whole - reduced).abs().max() <= 2
        assert (whole.float().mean((1, 2)) - reduced.float().mean((1, 2))).abs().max() < 0.1
        assert (whole.float().std((1, 2)) - reduced.float().std((1, 2))).abs().max() < 0.2


def test_other_formats_and_colors_are_read_whole(tmp_path: Path) -> None:
    Image.new("RGB", (400, 800), RED).save(tmp_path / "large.png")
    assert read_image(tmp_path / "large.png", target_size=(32, 16)).size == (400, 800)
    Image.new("CMYK", (400, 800), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=95)
    red, green, blue = read_image(tmp_path / "cmyk.jpg", target_size=(32, 16)).getpixel((8, 8))  # type: ignore[misc]
    assert red > 240
    assert max(green, blue) < 15


def test_a_dataset_hands_its_target_on(tmp_path: Path) -> None:
    Image.new("RGB", (400, 800), RED).save(tmp_path / "a.jpg")
    data = ImageDataset([Sample(tmp_path / "a.jpg", 1, 1)], target_size=(50, 25))
    assert data[0].image.size == (100, 200)


def jpeg() -> bytes:
    noise = torch.randint(256, (64 * 32 * 3,), dtype=torch.uint8).numpy().tobytes()
    file = BytesIO()
    Image.frombytes("RGB", (64, 32), noise).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize("kind", ["missing", "empty", "cut", "no image", "cut header"])
def test_a_file_that_cannot_be_read_is_an_error_naming_it(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "broken one.jpg"
    content = {
        "empty": b"",
        "cut": jpeg()[: len(jpeg()) // 2],
        "no image": b"no image at all",
        "cut header": jpeg()[:30],
    }
    if kind in content:
        path.write_bytes(content[kind])
    why = {"empty": "it is empty", "no image": "no image of a known kind"}.get(kind, ".*")
    with pytest.raises(OSError, match=rf"cannot read the image .*broken one\.jpg \({why}\); res"):
        read_image(path)


def test_a_broken_png_is_an_error_naming_it(draw: Draw) -> None:
    path = draw("broken.png")
    content = bytearray(path.read_bytes())
    content[20] ^= 0xFF  # the checksum of the header fails: PIL raises SyntaxError
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"cannot read the image .*broken\.png"):
        read_image(path)


def test_the_file_is_closed(draw: Draw, recwarn: pytest.WarningsRecorder) -> None:
    read_image(draw("a.gif"))  # PIL keeps the file of what may be an animation open
    assert not [w for w in recwarn if issubclass(w.category, ResourceWarning)]


def test_items_carry_label_camera_and_position(draw: Draw) -> None:
    samples = [Sample(draw("a.png", RED), 70, 3), Sample(draw("b.png", BLUE), 8, None)]
    plain = ImageDataset(samples)
    assert len(plain) == 2
    assert plain[0][1:4] == (70, 3, 0)
    assert plain[1][1:4] == (8, -1, 1)
    assert plain[0].path == str(samples[0].path)
    assert (plain[0].sequence, plain[0].clothes, math.isnan(plain[0].time)) == (-1, -1, True)
    more = ImageDataset([samples[0]._replace(sequence=4, clothes=2, time=9)])
    assert (more[0].sequence, more[0].clothes, more[0].time) == (4, 2, 9.0)
    assert plain[1].image.getpixel((0, 0)) == BLUE
    labeled = ImageDataset(samples, lambda image: image.size, labels={70: 1, 8: 0})
    assert labeled[0][:4] == Item((8, 16), 1, 3, 0)[:4]


def test_an_identity_without_a_label_is_an_error_naming_the_file() -> None:
    samples = [Sample(Path("a.png"), 7, 1), Sample(Path("z.png"), 9, 1)]
    with pytest.raises(ValueError, match=r"no label for identity 9 of z\.png"):
        ImageDataset(samples, labels={7: 0})


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_stacks_items(num_workers: int, draw: Draw) -> None:
    samples = [Sample(draw(f"{i}.png", (i, 0, 0)), i, i or None) for i in range(6)]
    loader = DataLoader(
        ImageDataset(samples, eval_transform((16, 8), mean=(0, 0, 0), std=(1, 1, 1))),
        batch_size=3,
        num_workers=num_workers,
    )
    batches = list(loader)
    assert all(type(batch) is Item for batch in batches)
    assert torch.cat([batch.label for batch in batches]).tolist() == [0, 1, 2, 3, 4, 5]
    assert torch.cat([batch.camera for batch in batches]).tolist() == [-1, 1, 2, 3, 4, 5]
    assert torch.cat([batch.position for batch in batches]).tolist() == [0, 1, 2, 3, 4, 5]
    images = torch.cat([batch.image for batch in batches])
    assert type(images) is torch.Tensor
    assert images.shape == (6, 3, 16, 8)
    assert torch.allclose(images[:, 0].mean((1, 2)) * 255, torch.arange(6.0), atol=1e-4)


def test_an_error_in_a_worker_still_names_the_file(draw: Draw) -> None:
    good, bad = draw("good.png"), draw("bad.png")
    bad.write_bytes(b"")
    samples = [Sample(good, 1, 1), Sample(bad, 2, 1)]
    loader = DataLoader(ImageDataset(samples, eval_transform((16, 8))), num_workers=1)
    with pytest.raises(OSError, match=r"bad\.png"):
        list(loader)


def test_it_can_be_sent_to_a_worker(draw: Draw) -> None:
    data = ImageDataset([Sample(draw("a.png"), 3, 1)], eval_transform((16, 8)), {3: 0})
    assert pickle.loads(pickle.dumps(data))[0].image.equal(data[0].image)


def test_real_images(shared: Path) -> None:
    market = read_market1501(shared / "data")
    data = ImageDataset(market.train, eval_transform((128, 64)), market.labels)
    item = data[-1]
    assert item.image.shape == (3, 128, 64)
    assert item.label == 499
    assert item.camera == market.train[-1].camera
