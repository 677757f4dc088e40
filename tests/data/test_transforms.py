from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from reidblocks._images import to_rgb
from reidblocks.data import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    BatchAugmentation,
    ImageDataset,
    Item,
    RandomPatch,
    Sample,
    eval_transform,
    read_image,
    resize_transform,
    train_transform,
)
from reidblocks.data.erasing import RandomErase

OFF = {"flip": 0.0, "erase": 0.0, "patch": 0.0}


def noise(height: int = 100, width: int = 40) -> Tensor:
    return torch.randint(256, (3, height, width), dtype=torch.uint8)


@pytest.mark.parametrize("transform", [train_transform, eval_transform])
def test_a_picture_and_its_tensor_give_the_same_plain_floats(
    transform: Callable[..., v2.Compose],
) -> None:
    pixels = noise()
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    from_tensor, from_picture = [], []
    torch.manual_seed(1)
    for _ in range(4):
        from_tensor.append(transform((96, 48))(pixels))
    torch.manual_seed(1)
    for _ in range(4):
        from_picture.append(transform((96, 48))(picture))
    assert torch.stack(from_tensor).equal(torch.stack(from_picture))
    assert type(from_tensor[0]) is Tensor
    assert (from_tensor[0].dtype, from_tensor[0].shape) == (torch.float32, (3, 96, 48))


def test_the_default_size_is_the_fields() -> None:
    assert train_transform()(noise()).shape == (3, 256, 128)
    assert eval_transform()(noise()).shape == (3, 256, 128)


def test_normalizing_is_by_the_equation() -> None:
    pixels = noise(12, 8)
    mean, std = torch.tensor(IMAGENET_MEAN).double(), torch.tensor(IMAGENET_STD).double()
    expected = (pixels.double() / 255 - mean[:, None, None]) / std[:, None, None]
    assert torch.allclose(eval_transform((12, 8))(pixels).double(), expected, atol=1e-5)
    assert eval_transform((12, 8))(pixels).equal(train_transform((12, 8), **OFF)(pixels))


def test_flipping_mirrors_left_and_right() -> None:
    pixels = noise(12, 8)
    flipped = train_transform((12, 8), flip=1.0, erase=0.0, patch=0.0)(pixels)
    assert flipped.equal(eval_transform((12, 8))(pixels).flip(-1))


def test_erasing_leaves_the_mean_color() -> None:
    pixels = noise()
    plain = eval_transform((96, 48))(pixels)
    erased = train_transform((96, 48), flip=0.0, erase=1.0, patch=0.0)(pixels)
    changed = (erased != plain).any(0)
    assert 0.01 < changed.float().mean() < 0.42
    assert (erased[:, changed] == 0).all()


def test_patches_come_from_other_images() -> None:
    transform = train_transform((96, 48), flip=0.0, erase=0.0, patch=1.0)
    black = torch.zeros(3, 96, 48, dtype=torch.uint8)
    for _ in range(100):
        transform(black)
    white = eval_transform((96, 48))(black + 255)
    patched = transform(black + 255) != white
    assert 0.005 < patched.float().mean() < 0.55


def test_without_patches_no_pool_is_kept() -> None:
    assert not any(isinstance(t, RandomPatch) for t in train_transform(patch=0.0).transforms)
    assert any(isinstance(t, RandomPatch) for t in train_transform().transforms)


@pytest.mark.parametrize("size", [(100, 40), (96, 48)])
def test_the_input_is_never_changed(size: tuple[int, int]) -> None:
    transform = train_transform(size, flip=0.5, erase=1.0, patch=1.0)
    for _ in range(110):
        pixels = noise()
        before = pixels.clone()
        transform(pixels)
        assert pixels.equal(before)


def test_a_seeded_run_repeats() -> None:
    pixels = [noise() for _ in range(120)]

    def run(seed: int) -> Tensor:
        torch.manual_seed(seed)
        transform = train_transform((48, 24))
        return torch.stack([transform(image) for image in pixels])

    assert run(0).equal(run(0))
    assert not run(0).equal(run(1))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_seeded_loader_repeats_and_differs_between_epochs(
    num_workers: int, tmp_path: Path
) -> None:
    samples = []
    for number in range(8):
        path = tmp_path / f"{number}.png"
        Image.fromarray(noise(32, 16).permute(1, 2, 0).numpy()).save(path)
        samples.append(Sample(path, number, None))

    def two_epochs() -> list[Tensor]:
        torch.manual_seed(0)
        transform = v2.Compose([v2.ToImage(), RandomPatch(p=1.0, min_pool=1), v2.ToPureTensor()])
        loader: DataLoader[Item] = DataLoader(
            ImageDataset(samples, transform),
            batch_size=4,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
        )
        return [torch.cat([batch.image for batch in loader]) for _ in range(2)]

    first, second = two_epochs(), two_epochs()
    assert first[0].equal(second[0])
    assert first[1].equal(second[1])
    assert not first[0].equal(first[1])
    plain = torch.stack([ImageDataset(samples, v2.PILToTensor())[i].image for i in range(8)])
    # Each worker's first image of all passes unpatched, as its pool is still empty; in the second
    # epoch the pools of the persistent workers are full from the start.
    unpatched = [(epoch == plain).flatten(1).all(1).sum().item() for epoch in first]
    assert unpatched == [max(num_workers, 1), 0]


TRANSFORMS = [train_transform, eval_transform, resize_transform]


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "YCbCr", "HSV"])
def test_pictures_of_every_mode_are_converted_as_read_image_does(
    mode: str, transform: Callable[..., Any], tmp_path: Path
) -> None:
    gray = Image.fromarray(noise()[0].numpy())
    if mode.startswith("I"):
        picture = Image.new(mode, gray.size)
        for x in range(gray.width):
            picture.putpixel((x, 3), 1000 * x)
    else:
        picture = Image.merge("RGB", (gray, gray.rotate(180), gray)).convert(mode)
    torch.manual_seed(3)
    found = transform((24, 12))(picture)
    torch.manual_seed(3)
    assert found.equal(transform((24, 12))(to_rgb(picture)))
    if mode not in ("YCbCr", "HSV"):
        path = tmp_path / ("a.tif" if mode in ("CMYK", "I") else "a.png")
        picture.save(path)
        torch.manual_seed(3)
        assert found.equal(transform((24, 12))(read_image(path)))


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(
    ("image", "error", "got"),
    [
        (
            Image.new("F", (4, 8)),
            ValueError,
            "got a PIL image that cannot be RGB: its pixels are fl",
        ),
        (
            torch.rand(3, 8, 4),
            ValueError,
            r"got torch\.float32 \(3, 8, 4\); pixels from 0 to 1 bec",
        ),
        (torch.zeros(1, 8, 4).byte(), ValueError, r"got torch\.uint8 \(1, 8, 4\)"),
        (torch.zeros(8, 4).byte(), ValueError, r"got torch\.uint8 \(8, 4\)"),
        (torch.zeros(8, 4, 3).byte().numpy(), TypeError, r"got ndarray; make an RGB array .*BGR"),
        ("a.jpg", TypeError, "got str"),
    ],
)
def test_other_images_are_refused_by_name(
    transform: Callable[..., Any], image: Any, error: Any, got: str
) -> None:
    name = transform.__name__
    with pytest.raises(error, match=rf"{name} expects a PIL image or a uint8 tensor .*, {got}"):
        transform((16, 8))(image)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(
    ("size", "message"),
    [
        (128, r"expects size \(height, width\), got 128"),
        ((128,), r"expects size \(height, width\), got \(128,\)"),
        ((128, 0), "expects width of size above 0, got 0"),
    ],
)
def test_sizes_that_are_none(transform: Callable[..., Any], size: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"{transform.__name__} {message}"):
        transform(size)


@pytest.mark.parametrize("make", [train_transform, eval_transform, BatchAugmentation])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": 0.5}, "expects mean as three numbers, for red, green and blue, got 0.5"),
        ({"std": (0.5,)}, "expects std as three numbers"),
        ({"std": (0.5, 0.0, 0.5)}, "expects the least of std above 0, got 0.0"),
    ],
)
def test_means_that_are_none(make: Callable[..., Any], settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"{make.__name__} {message}"):
        make(**settings)


@pytest.mark.parametrize("name", ["flip", "erase", "patch"])
def test_shares_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match=f"train_transform expects {name} from 0 to 1, got 1.5"):
        train_transform(**{name: 1.5})  # type: ignore[arg-type]


def test_chances_are_as_given() -> None:
    pixels, plain = noise(12, 8), eval_transform((12, 8))
    transform = train_transform((12, 8), flip=0.25, erase=0.0, patch=0.0)
    flips = sum(transform(pixels).equal(plain(pixels).flip(-1)) for _ in range(1000))
    assert abs(flips - 250) < 60  # 4.4 standard deviations
    transform = train_transform((12, 8), flip=0.0, erase=0.25, patch=0.0)
    erased = [transform(pixels) for _ in range(1000)]
    assert abs(sum(not image.equal(plain(pixels)) for image in erased) - 250) < 60


def test_rectangles_have_the_laws_of_torchvision() -> None:
    ours, theirs = RandomErase(1.0), v2.RandomErasing(1.0, (0.02, 0.4), (0.3, 1 / 0.3))
    shares: list[list[float]] = []
    for erase in (ours, theirs):
        holes = torch.stack([erase(torch.ones(1, 64, 32)) for _ in range(1500)]) == 0
        high, wide = holes.any(3).sum(2).float(), holes.any(2).sum(2).float()
        middle = (holes * torch.arange(64.0).view(1, 1, 64, 1)).sum((1, 2, 3)) / holes.sum(
            (1, 2, 3)
        )
        shares.append(
            [
                float(x)
                for x in (
                    (high * wide).mean() / 2048,
                    (high / wide).log().mean(),
                    middle.mean() / 64,
                )
            ]
        )
    assert torch.allclose(*(torch.tensor(share) for share in shares), atol=0.04), shares
