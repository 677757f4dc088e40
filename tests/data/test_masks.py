"""The masks of synthetic people: where the person is, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from reidblocks.data import draw_person, mask_path, read_market1501, read_masks, synthetic_people
from reidblocks.data.drawing import people
from reidblocks.data.drawing.cameras import CAMERAS, Camera
from reidblocks.data.drawing.people import draw_with_mask
from reidblocks.data.drawing.wardrobe import Person, dress


def unexposed(image: Image.Image, view: Camera, rng: object) -> Image.Image:
    """The scene as it was painted, without the camera's light, blur and noise."""
    return image


def in_one_color(seed: str) -> Person:
    """The same shape in one color of no scene; the passers-by stay as they are."""
    person, one = dress(seed), (255, 0, 254)
    if not seed.startswith("person"):
        return person
    colors = ("skin", "hair_color", "hat_color", "top", "accent", "bottom", "shoes", "bag_color")
    return replace(person, **dict.fromkeys(colors, one))  # type: ignore[arg-type]


@pytest.mark.parametrize("camera", range(1, len(CAMERAS) + 1))
def test_another_color_of_the_person_changes_the_mask_and_nothing_else(
    camera: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "expose", unexposed)
    for identity in range(1, 16):
        picture, mask = draw_with_mask(identity, camera, shot=1)
        with monkeypatch.context() as patch:
            patch.setattr(people, "dress", in_one_color)
            other, same = draw_with_mask(identity, camera, shot=1)
        assert same.tobytes() == mask.tobytes()
        inside = pil_to_tensor(mask)[0]
        changed = (pil_to_tensor(picture).int() - pil_to_tensor(other).int()).abs().amax(0)
        assert not changed[inside == 0].any()
        # Eyes and shadows of a color keep it; the rest of the person does not.
        assert (changed[inside == 255] > 0).float().mean() > 0.95


def test_what_stands_before_the_person_is_not_in_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:

    seen: dict[bool, Tensor] = {}
    for hidden in (False, True):

        def cover(canvas: Image.Image, _: object, hidden: bool = hidden) -> None:
            if hidden:
                canvas.paste((9, 9, 9), (0, canvas.height // 2, canvas.width, canvas.height))

        monkeypatch.setattr(people, "draw_obstacle", cover)
        monkeypatch.setattr(people, "draw_passer_by", lambda *_, **__: None)
        masks = [pil_to_tensor(draw_with_mask(n, 1, 1)[1])[0] for n in range(1, 41)]
        seen[hidden] = torch.stack(masks)
    lower = [(masks[:, 64:] > 0).flatten(1).any(1) for masks in seen.values()]
    assert lower[0].all()
    assert 0 < int((~lower[1]).sum()) < 40  # of some shots, as many as have an obstacle
    assert torch.equal(seen[True][:, :64], seen[False][:, :64])


def test_the_picture_is_that_of_draw_person() -> None:
    picture, mask = draw_with_mask(3, 2, 1, size=(64, 32), seed=4)
    assert picture.tobytes() == draw_person(3, 2, 1, size=(64, 32), seed=4).tobytes()
    assert (mask.mode, mask.size) == ("L", (32, 64))


def test_a_synthetic_set_has_a_mask_of_every_image(tmp_path: Path) -> None:
    folder = synthetic_people(
        tmp_path, num_train_identities=1, num_test_identities=1, num_cameras=2, size=(32, 16)
    )
    data = read_market1501(folder)
    paths = [sample.path for sample in (*data.train, *data.query, *data.gallery)]
    assert len(list((folder / "masks").rglob("*.png"))) == len(paths)
    masks = read_masks(paths, (32, 16))
    for path, found in zip(paths, masks, strict=True):
        identity, camera, shot = (int(path.stem[n]) for n in (3, 6, 15))
        drawn = draw_with_mask(identity, camera, shot, size=(32, 16))[1]
        assert torch.equal(found, pil_to_tensor(drawn)[0] / 255)
    # a coarser one says how much of a place the person fills
    coarse = read_masks(paths, (8, 4))
    pooled = torch.nn.functional.avg_pool2d(masks, 4)
    torch.testing.assert_close(coarse, pooled, atol=2 / 255, rtol=0)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"mask of .*a\.jpg at .*masks.query.a\.png"):
        read_masks([tmp_path / "query" / "a.jpg"], (8, 4))
    with pytest.raises(ValueError, match="at least one path, got none"):
        read_masks([], (8, 4))
    with pytest.raises(ValueError, match="width"):
        read_masks([tmp_path / "query" / "a.jpg"], (8, 0))


def test_a_mask_lies_beside_its_image() -> None:
    assert mask_path("a/query/b.c.jpeg") == Path("a/masks/query/b.c.png")
