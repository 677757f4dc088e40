from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from reidblocks.data import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImageDataset,
    Item,
    RandomPatch,
    Sample,
    eval_transform,
    train_transform,
)

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


def test_the_default_size_is_the_papers() -> None:
    assert train_transform()(noise()).shape == (3, 384, 192)
    assert eval_transform()(noise()).shape == (3, 384, 192)


def test_normalising_is_by_the_equation() -> None:
    pixels = noise(12, 8)
    mean, std = torch.tensor(IMAGENET_MEAN).double(), torch.tensor(IMAGENET_STD).double()
    expected = (pixels.double() / 255 - mean[:, None, None]) / std[:, None, None]
    assert torch.allclose(eval_transform((12, 8))(pixels).double(), expected, atol=1e-5)
    assert eval_transform((12, 8))(pixels).equal(train_transform((12, 8), **OFF)(pixels))


def test_flipping_mirrors_left_and_right() -> None:
    pixels = noise(12, 8)
    flipped = train_transform((12, 8), flip=1.0, erase=0.0, patch=0.0)(pixels)
    assert flipped.equal(eval_transform((12, 8))(pixels).flip(-1))


def test_erasing_leaves_the_mean_colour() -> None:
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
