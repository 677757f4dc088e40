"""What torch's settings are must not change what data gives: default type and device, modes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reidblocks.data import (
    BatchAugmentation,
    CachedImages,
    ImageDataset,
    PKBatchSampler,
    RandomPatch,
    check_images,
    diagnose,
    draw_person,
    eval_transform,
    read_image,
    read_market1501,
    resize_transform,
    synthetic_people,
    train_transform,
)
from reidblocks.data.drawing import contact_sheet

SIZE = (32, 16)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def low_precision() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "another device": lambda: torch.device("meta"),  # where nothing can be read: as CUDA's, worse
    "deterministic": deterministic,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "low precision": low_precision,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_people(
        tmp_path_factory.mktemp("people"),
        num_train_identities=4,
        num_test_identities=2,
        images_per_camera=2,
        num_cameras=2,
        size=SIZE,
    )


def bytes_of(image: Any) -> Tensor:
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)


def transformed(folder: Path, make: Callable[..., Any]) -> list[Tensor]:
    data, transform = read_market1501(folder), make((24, 12))
    images = ImageDataset(data.train, transform, data.labels)
    return [images[index].image for index in range(len(images))]


def patched(folder: Path) -> list[Tensor]:
    paste = RandomPatch(1.0, min_pool=2)
    return [paste(image) for image in transformed(folder, resize_transform)]


def augmented(folder: Path) -> Tensor:
    with torch.device("cpu"):  # stack is the caller's
        images = torch.stack(transformed(folder, resize_transform))
    result: Tensor = BatchAugmentation()(images)
    return result


def cached(folder: Path) -> Tensor:
    data = read_market1501(folder)
    return CachedImages(ImageDataset(data.train, resize_transform(SIZE), data.labels)).pixels


def sampled(folder: Path) -> Any:
    data = read_market1501(folder)
    labels = [data.labels[sample.identity] for sample in data.train]
    return list(PKBatchSampler(labels, num_identities=2, num_images=2))


def read(folder: Path) -> Any:
    data = read_market1501(folder)
    images = [bytes_of(read_image(sample.path)) for sample in data.query]
    return data, data.summary(), images


FUNCTIONS: dict[str, Callable[[Path], Any]] = {
    "readers": read,
    "check_images": lambda folder: check_images(read_market1501(folder).train),
    "diagnose": lambda folder: list(diagnose(read_market1501(folder), batch=8)),
    "eval_transform": lambda folder: transformed(folder, eval_transform),
    "train_transform": lambda folder: transformed(folder, train_transform),
    "resize_transform": lambda folder: transformed(folder, resize_transform),
    "RandomPatch": patched,
    "BatchAugmentation": augmented,
    "CachedImages": cached,
    "PKBatchSampler": sampled,
    "drawing": lambda _: [bytes_of(draw_person(1, 1, 1, size=SIZE)), bytes_of(contact_sheet(1, 1))],
}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return bool(one.dtype == other.dtype and one.device == other.device and one.equal(other))
    if isinstance(one, list | tuple):
        pairs = zip(one, other, strict=True)
        return type(one) is type(other) and all(same(a, b) for a, b in pairs)
    return bool(one == other)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_torchs_settings_change_nothing(function: str, setting: str, folder: Path) -> None:
    results = []
    for context in (nullcontext, SETTINGS[setting]):
        torch.manual_seed(7)
        with context():
            results.append(FUNCTIONS[function](folder))
    assert same(*results)


def test_a_module_of_one_device_augments_the_images_of_another() -> None:
    images = torch.randint(256, (4, 3, *SIZE), dtype=torch.uint8)
    with torch.device("meta"):
        augment = BatchAugmentation().eval()
    expected = torch.stack([eval_transform(SIZE)(image) for image in images])
    assert torch.allclose(augment(images), expected, atol=1e-5)
    assert augment(images.to("meta")).device.type == "meta"
