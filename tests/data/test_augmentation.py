"""The augmentation of a batch, held against the plain pipeline image by image."""

import math
from collections.abc import Callable

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from reidblocks.data import (
    BatchAugmentation,
    RandomPatch,
    draw_person,
    eval_transform,
    resize_transform,
    train_transform,
)

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
Augment = Callable[..., BatchAugmentation]


def noise(size: int = 8, height: int = 32, width: int = 16) -> Tensor:
    return torch.randint(1, 256, (size, 3, height, width), dtype=torch.uint8)


def constant(size: int, height: int = 64, width: int = 32) -> Tensor:
    """Image i shows the value i + 1 everywhere."""
    values = torch.arange(1, size + 1, dtype=torch.uint8).view(-1, 1, 1, 1)
    return values.repeat(1, 3, height, width)


def pictures() -> list[Image.Image]:
    return [draw_person(n, 1, 1, size=(100, 40)) for n in range(12)]


@pytest.mark.parametrize("size", [(96, 48), (100, 40), (40, 30)])
def test_without_chance_it_is_the_eval_transform(size: tuple[int, int]) -> None:
    plain, resize = eval_transform(size), resize_transform(size)
    expected = torch.stack([plain(picture) for picture in pictures()])
    batch = torch.stack([resize(picture) for picture in pictures()])
    assert batch.dtype == torch.uint8
    for augment in (BatchAugmentation(0, 0, 0), BatchAugmentation(1, 1, 1).eval()):
        torch.testing.assert_close(augment(batch), expected, rtol=0, atol=2e-6)


def test_flipped_it_is_the_mirrored_picture() -> None:
    batch = noise()
    expected = BatchAugmentation(0, 0, 0)(batch.flip(-1))
    assert BatchAugmentation(1, 0, 0)(batch).equal(expected)


def test_pixel_statistics_are_those_of_the_plain_pipeline() -> None:
    """Each channel's mean and spread, and every pixel's mean, over many draws of both."""
    size, drawn = (48, 24), 200
    people = pictures()
    resize = resize_transform(size)
    batch = torch.stack([resize(picture) for picture in people])
    plain_transform = train_transform(size)
    torch.manual_seed(1)
    for picture in people * 10:  # fill the pool of patches
        plain_transform(picture)
    plain = torch.stack([plain_transform(picture) for _ in range(drawn) for picture in people])
    augment = BatchAugmentation()
    ours = torch.cat([augment(batch) for _ in range(drawn)])
    for statistic in (torch.mean, torch.std):
        a, b = statistic(ours, dim=(0, 2, 3)), statistic(plain, dim=(0, 2, 3))
        assert (a - b).abs().max() < 0.03
    erased, plainly_erased = ((x == 0).all(1).float().mean(0) for x in (ours, plain))
    assert (erased - plainly_erased).abs().max() < 0.05  # where rectangles fall
    assert abs(erased.mean() - plainly_erased.mean()) < 0.01
    assert (ours.mean(0) - plain.mean(0)).abs().max() < 0.2


def boxes(augment: BatchAugmentation, batch: Tensor, draws: int) -> list[tuple[int, int, int, int]]:
    """Top, left, rows and columns of whatever differs from the constant image beneath."""
    found = []
    for _ in range(draws):
        result = augment(batch) * 255
        for image, own in zip(result, batch.float(), strict=True):
            rows, columns = ((image - own).abs().amax(0) > 0.5).nonzero().unbind(1)
            if len(rows):
                top, left = int(rows.min()), int(columns.min())
                found.append((top, left, int(rows.max()) + 1 - top, int(columns.max()) + 1 - left))
                assert len(rows) == found[-1][2] * found[-1][3]  # a whole rectangle
    return found


def of_one_law(ours: list[float], plain: list[float]) -> bool:
    """Whether two samples may be of one law: the greatest gap of their distributions.

    The bound is Kolmogorov and Smirnov's at a level of 1e-4.
    """
    both = torch.tensor(sorted(ours + plain))
    shares = [
        torch.searchsorted(torch.tensor(sorted(x)), both, right=True) / len(x)
        for x in (ours, plain)
    ]
    gap = (shares[0] - shares[1]).abs().max().item()
    return gap < 2.23 * math.sqrt(1 / len(ours) + 1 / len(plain))


def laws(found: list[tuple[int, int, int, int]]) -> list[list[float]]:
    return [
        [float(rows * columns) for _, _, rows, columns in found],
        [rows / columns for _, _, rows, columns in found],
        [top / (64 - rows) for top, _, rows, _ in found if rows < 64],
        [left / (32 - columns) for _, left, _, columns in found if columns < 32],
    ]


def test_rectangles_are_erased_by_torchvisions_law() -> None:
    ours = boxes(BatchAugmentation(0, 1, 0, **PLAIN), constant(16), 60)
    erase = v2.RandomErasing(1.0, scale=(0.02, 0.4), ratio=(0.3, 1 / 0.3))
    plain = []
    for _ in range(960):
        rows, columns = (erase(torch.ones(3, 64, 32))[0] == 0).nonzero().unbind(1)
        top, left = int(rows.min()), int(columns.min())
        plain.append((top, left, int(rows.max()) + 1 - top, int(columns.max()) + 1 - left))
    for a, b in zip(laws(ours), laws(plain), strict=True):
        assert of_one_law(a, b)


def test_patches_are_pasted_by_the_law_of_random_patch() -> None:
    ours = boxes(BatchAugmentation(0, 0, 1, **PLAIN), constant(16), 60)
    paste, plain = RandomPatch(1.0, min_pool=1, pool_size=1), []
    paste(torch.zeros(3, 64, 32))
    for n in range(960):
        image = torch.full((3, 64, 32), float(n + 1))
        rows, columns = (paste(image)[0] != n + 1).nonzero().unbind(1)
        top, left = int(rows.min()), int(columns.min())
        plain.append((top, left, int(rows.max()) + 1 - top, int(columns.max()) + 1 - left))
    for a, b in zip(laws(ours), laws(plain), strict=True):
        assert of_one_law(a, b)


def test_a_patch_comes_from_any_other_image_of_the_batch() -> None:
    batch = constant(5)
    augment = BatchAugmentation(0, 0, 1, **PLAIN)
    sources: list[set[int]] = [set() for _ in batch]
    for _ in range(60):
        for own, image in enumerate((augment(batch) * 255).round().int()):
            seen = set(image.unique().tolist()) - {own + 1}
            assert len(seen) <= 1
            sources[own] |= seen
    assert sources == [{1, 2, 3, 4, 5} - {own + 1} for own in range(5)]


def test_a_piece_is_cut_from_the_mirrored_image_where_that_is_mirrored() -> None:
    ramp = torch.arange(1, 33, dtype=torch.uint8).repeat(2, 3, 64, 1)  # grows to the right
    result = (BatchAugmentation(1, 0, 1, **PLAIN)(ramp) * 255).round()
    inside = result.diff(dim=-1)
    assert (inside == -1).float().mean() > 0.8  # mirrored, patches too


@pytest.mark.parametrize("name", ["flip", "erase", "patch"])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_it_happens_as_often_as_is_said(name: str, share: float) -> None:
    augment = BatchAugmentation(**{"flip": 0, "erase": 0, "patch": 0, name: share}, **PLAIN)
    batch = torch.arange(32, dtype=torch.uint8) + constant(15)  # no piece of one is in another
    batch += (20 * torch.rand(15, 1, 64, 32)).byte()
    plain = batch / 255
    changed = [((augment(batch) - plain).abs().amax((1, 2, 3)) > 1e-3) for _ in range(80)]
    count = 15 * 80
    rate = torch.cat(changed).float().mean().item()
    assert abs(rate - share) <= 4.5 * math.sqrt(share * (1 - share) / count) + 1e-9


def test_it_depends_on_torchs_random_state_alone_and_changes_nothing_in_place() -> None:
    augment, batch = BatchAugmentation(), noise()
    before = batch.clone()
    torch.manual_seed(5)
    first = augment(batch)
    augment(noise())  # no pool remembers this
    torch.manual_seed(5)
    assert augment(batch).equal(first)
    assert not augment(batch).equal(first)
    assert batch.equal(before)


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("training", [True, False])
def test_a_gpu_augments_as_the_cpu_does(training: bool) -> None:
    images = torch.randint(256, (16, 3, 32, 16), dtype=torch.uint8)
    augment = BatchAugmentation().train(training)
    torch.manual_seed(0)
    expected = augment(images)
    torch.manual_seed(0)
    assert torch.equal(augment.cuda()(images.cuda()).cpu(), expected)


def test_a_single_image_has_no_other_to_be_patched_with() -> None:
    assert BatchAugmentation(0, 0, 1, **PLAIN)(constant(1)).unique().numel() == 1


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (40, 1), (3, 2)])
def test_images_of_any_size(height: int, width: int) -> None:
    for _ in range(20):
        assert BatchAugmentation(1, 1, 1)(noise(3, height, width)).isfinite().all()


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"BatchAugmentation expects erase from 0 to 1, got 1\.5"):
        BatchAugmentation(erase=1.5)
    with pytest.raises(ValueError, match=r"expects uint8 images, got torch.float32; let the load"):
        BatchAugmentation()(torch.zeros(2, 3, 8, 4))
    with pytest.raises(ValueError, match=r"expects images \(B, 3, H, W\), got \(3, 8, 4\)"):
        BatchAugmentation()(torch.zeros(3, 8, 4, dtype=torch.uint8))


def test_it_says_how_it_is_set_and_keeps_nothing_in_a_checkpoint() -> None:
    assert "flip=0.5, erase=0.2, patch=0.5" in repr(BatchAugmentation(erase=0.2))
    assert not BatchAugmentation().state_dict()
