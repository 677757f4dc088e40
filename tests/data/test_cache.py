from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from reidblocks.data import CachedImages, ImageDataset, Sample, cache, resize_transform

Draw = Callable[..., Path]


@pytest.fixture
def images(draw: Draw) -> ImageDataset:
    samples = [Sample(draw(f"{n}.png", (20 * n, 0, 9)), 5 + n, n or None) for n in range(7)]
    return ImageDataset(samples, resize_transform((12, 6)), {5 + n: n for n in range(7)})


@pytest.mark.parametrize("num_workers", [0, 1])
def test_it_gives_what_the_files_give_and_reads_them_once(
    images: ImageDataset, num_workers: int
) -> None:
    cached = CachedImages(images)
    expected = list(DataLoader(images, batch_size=3))
    for sample in images.samples:
        sample.path.unlink()
    batches = list(DataLoader(cached, batch_size=3, num_workers=num_workers))
    assert len(cached) == 7
    assert len(batches) == 3
    for batch, plain in zip(batches, expected, strict=True):
        for value, other in zip(batch, plain, strict=True):
            if isinstance(value, torch.Tensor):
                torch.testing.assert_close(value, other, rtol=0, atol=0, equal_nan=True)
            else:
                assert list(value) == list(other)


def test_a_transform_comes_after_the_cache(images: ImageDataset) -> None:
    cached = CachedImages(images, lambda pixels: pixels.float() / 255)
    assert torch.equal(cached[2].image, images[2].image / 255)
    assert cached[2][1:] == images[2][1:]


def test_progress_is_shown(images: ImageDataset, capsys: pytest.CaptureFixture[str]) -> None:
    CachedImages(images)
    assert capsys.readouterr().err == ""
    CachedImages(images, progress=True)
    assert capsys.readouterr().err == "images cached: 7 of 7\n"


def test_what_does_not_fit_is_refused_before_it_is_read(
    images: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_free_memory", lambda: 7 * 3 * 12 * 6 - 1)
    with pytest.raises(MemoryError, match=r"needs 0\.0 GiB for 7 images, the machine has"):
        CachedImages(images)


def test_memory_is_what_linux_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  9 kB\nMemAvailable:   3 kB\n")
    monkeypatch.setattr(cache, "MEMORY", tmp_path / "meminfo")
    assert cache._free_memory() == 3 * 1024


def test_where_the_system_does_not_tell_its_memory_nothing_is_refused(
    images: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content in (None, "MemTotal: 1 kB\n"):  # not Linux; another kernel's
        monkeypatch.setattr(cache, "MEMORY", tmp_path / "meminfo")
        if content is not None:
            (tmp_path / "meminfo").write_text(content)
        assert len(CachedImages(images)) == 7


def test_other_images_are_refused(images: ImageDataset, draw: Draw) -> None:
    with pytest.raises(ValueError, match=r"expects images as uint8 tensors \(3, H, W\), got .*PIL"):
        CachedImages(ImageDataset(images.samples))
    mixed = ImageDataset(images.samples, lambda image: torch.zeros(3, image.width, 2).byte())
    CachedImages(mixed)
    sizes = iter(range(1, 9))
    other = ImageDataset(images.samples, lambda _: torch.zeros(3, next(sizes), 2).byte())
    with pytest.raises(ValueError, match=r"images of one size, got \(3, \d, 2\) and \(3, \d, 2\)"):
        CachedImages(other)


def test_a_broken_image_is_named(images: ImageDataset) -> None:
    images.samples[4].path.write_bytes(b"")
    with pytest.raises(OSError, match=r"cannot read the image .*4\.png"):
        CachedImages(images)
