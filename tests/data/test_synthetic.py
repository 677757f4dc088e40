"""The synthetic set on disk: layout, cache, and that it is neither trivial nor noise."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import pil_to_tensor

from reidblocks.data import draw_person, read_market1501, synthetic, synthetic_people
from reidblocks.data.drawing.people import draw_with_mask

SMALL = {"num_train_identities": 3, "num_test_identities": 2, "images_per_camera": 2}
NAME = re.compile(r"(\d{4})_c(\d)s1_(\d{6})_01\.jpg")


def listing(folder: Path) -> dict[str, bytes]:
    """Give every file below a folder with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refuse_to_draw(*_: object, **__: object) -> None:
    raise AssertionError("drew although the set is there")


def test_the_layout_is_that_of_market(tmp_path: Path) -> None:
    folder = synthetic_people(tmp_path, num_cameras=3, size=(32, 16), **SMALL)
    found = {}
    for split in ("bounding_box_train", "query", "bounding_box_test"):
        names = [NAME.fullmatch(path.name) for path in (folder / split).iterdir()]
        assert all(names)
        found[split] = sorted((int(n[1]), int(n[2]), int(n[3])) for n in names if n)
    train, query, gallery = found.values()
    cameras = (1, 2, 3)
    assert train == [(pid, cam, shot) for pid in (3, 4, 5) for cam in cameras for shot in (1, 2)]
    assert query == [(pid, cam, 1) for pid in (1, 2) for cam in cameras]
    assert gallery == [(pid, cam, 2) for pid in (1, 2) for cam in cameras]


def test_the_market_reader_reads_it(tmp_path: Path) -> None:
    folder = synthetic_people(tmp_path, num_cameras=3, size=(32, 16), **SMALL)
    dataset = read_market1501(folder)
    assert dataset.name == "synthetic people"
    assert (len(dataset.train), len(dataset.query), len(dataset.gallery)) == (18, 6, 6)
    train = {sample.identity for sample in dataset.train}
    assert train.isdisjoint(sample.identity for sample in (*dataset.query, *dataset.gallery))
    for query in dataset.query:
        assert any(
            found.identity == query.identity and found.camera != query.camera
            for found in dataset.gallery
        )


def test_the_pictures_are_those_of_draw_person(tmp_path: Path) -> None:
    folder = synthetic_people(tmp_path, num_cameras=2, seed=5, **SMALL)
    path = folder / "bounding_box_test" / "0002_c2s1_000002_01.jpg"
    stored = pil_to_tensor(Image.open(path))
    drawn = pil_to_tensor(draw_person(2, 2, 2, seed=5))
    assert stored.shape == (3, 128, 64)
    assert (stored.float() - drawn.float()).abs().mean() < 5  # JPEG keeps nearly all of it


def test_two_drawings_are_the_same_bytes(tmp_path: Path) -> None:
    first = synthetic_people(tmp_path / "a", size=(32, 16), **SMALL)
    second = synthetic_people(tmp_path / "b", size=(32, 16), **SMALL)
    assert first.name == second.name
    assert listing(first) == listing(second)


def test_the_second_call_draws_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = synthetic_people(tmp_path, size=(32, 16), **SMALL)
    monkeypatch.setattr(synthetic, "draw_with_mask", refuse_to_draw)
    assert synthetic_people(str(tmp_path), size=(32, 16), **SMALL) == first


def test_other_arguments_and_other_drawing_code_go_to_other_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = synthetic_people(tmp_path, size=(32, 16), **SMALL)
    before = listing(first)
    second = synthetic_people(tmp_path, size=(32, 16), seed=1, **SMALL)
    monkeypatch.setattr(synthetic, "_drawing_code", lambda: "of another version")
    third = synthetic_people(tmp_path, size=(32, 16), **SMALL)
    assert len({first, second, third}) == 3
    assert listing(first) == before
    assert json.loads((second / "manifest.json").read_text())["seed"] == 1


def test_the_test_split_does_not_depend_on_the_number_of_training_identities(
    tmp_path: Path,
) -> None:
    few = synthetic_people(tmp_path, size=(32, 16), **SMALL)
    more = synthetic_people(tmp_path, size=(32, 16), **(SMALL | {"num_train_identities": 5}))
    for split in ("query", "bounding_box_test"):
        assert listing(few / split) == listing(more / split)


def test_an_interrupted_drawing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def interrupted(*arguments: int, **keywords: object) -> object:
        drawn.append(arguments)
        if len(drawn) == 7:
            raise KeyboardInterrupt
        return draw_with_mask(*arguments, size=(32, 16))

    monkeypatch.setattr(synthetic, "draw_with_mask", interrupted)
    with pytest.raises(KeyboardInterrupt):
        synthetic_people(tmp_path, size=(32, 16), **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_of_two_processes_that_draw_at_once_one_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = []

    def meanwhile(*arguments: int, **keywords: object) -> object:
        if not others:  # during our drawing, another process begins and ends its own
            monkeypatch.setattr(synthetic, "draw_with_mask", draw_with_mask)
            others.append(synthetic_people(tmp_path, size=(32, 16), **SMALL))
        return draw_with_mask(*arguments, size=(32, 16))

    monkeypatch.setattr(synthetic, "draw_with_mask", meanwhile)
    assert synthetic_people(tmp_path, size=(32, 16), **SMALL) == others[0]
    assert list(tmp_path.iterdir()) == others


def test_something_else_in_the_folder_is_an_error(tmp_path: Path) -> None:
    folder = synthetic_people(tmp_path, size=(32, 16), **SMALL)
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(FileExistsError, match="is not the set that synthetic_people draws there"):
        synthetic_people(tmp_path, size=(32, 16), **SMALL)
    (folder / "manifest.json").unlink()
    with pytest.raises(FileExistsError, match="remove or rename it"):
        synthetic_people(tmp_path, size=(32, 16), **SMALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_train_identities": 0}, "expects num_train_identities above 0, got 0"),
        ({"num_test_identities": -1}, "expects num_test_identities above 0, got -1"),
        ({"images_per_camera": 1}, "expects images_per_camera of 2 or more, a query and"),
        ({"num_cameras": 1}, "expects num_cameras from 2 to 6, got 1"),
        ({"num_cameras": 7}, "expects num_cameras from 2 to 6, got 7"),
        ({"size": (8, 8)}, r"expects size \(height, width\) of 16 or more"),
    ],
)
def test_bad_arguments_are_refused_and_leave_nothing(
    tmp_path: Path, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        synthetic_people(tmp_path, **(SMALL | arguments))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_progress_is_shown_when_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    synthetic_people(tmp_path, num_cameras=2, size=(32, 16), progress=True, **SMALL)
    assert capsys.readouterr().err.endswith("people drawn: 20 of 20\n")
    synthetic_people(tmp_path / "quiet", num_cameras=2, size=(32, 16), **SMALL)
    assert capsys.readouterr().err == ""


# How hard it is: what knows nothing of people must fail, though the people are there to be seen.


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tensor, list[int], list[int]]:
    """Give images, identities and cameras of a reduced test split."""
    folder = synthetic_people(
        tmp_path_factory.mktemp("people"),
        num_train_identities=1,
        num_test_identities=20,
        images_per_camera=3,
    )
    paths = sorted([*(folder / "query").iterdir(), *(folder / "bounding_box_test").iterdir()])
    images = torch.stack([pil_to_tensor(Image.open(path)) for path in paths])
    return images, [int(path.name[:4]) for path in paths], [int(path.name[6]) for path in paths]


def mean_average_precision(
    features: Tensor, identities: list[int], counts: Callable[[int, int], bool]
) -> float:
    """Rank for each image the others that count; written as the definition says, by loops."""
    similarity = F.normalize(features, dim=1) @ F.normalize(features, dim=1).T
    precisions = []
    for query in range(len(identities)):
        candidates = [other for other in range(len(identities)) if counts(query, other)]
        candidates.sort(key=lambda other: -similarity[query, other].item())
        hits, found = [], 0
        for rank, other in enumerate(candidates, start=1):
            if identities[other] == identities[query]:
                found += 1
                hits.append(found / rank)
        precisions.append(sum(hits) / len(hits))
    return sum(precisions) / len(precisions)


def color_histogram(images: Tensor) -> Tensor:
    """Count 8×8×8 colors, and take the square root (the Hellinger kernel)."""
    bins = (images // 32).long()
    index = bins[:, 0] * 64 + bins[:, 1] * 8 + bins[:, 2]
    return torch.stack([i.flatten().bincount(minlength=512) for i in index]).sqrt()


def stripe_histogram(images: Tensor) -> Tensor:
    """Count colors in each of 8 stripes, the middle columns alone, after undoing the cast.

    It is what one would build by hand against these cameras: each image's channels are brought to
    the same mean and spread, and most of the background is cut away.
    """
    values = images.float()
    mean, spread = values.mean((2, 3), keepdim=True), values.std((2, 3), keepdim=True)
    values = ((values - mean) / spread * 50 + 128).clamp(0, 255)[..., 16:48]
    stripes = [color_histogram(stripe) for stripe in values.chunk(8, dim=2)]
    return torch.cat([F.normalize(stripe, dim=1) for stripe in stripes], dim=1)


def across_cameras(people: tuple[Tensor, list[int], list[int]], features: Tensor) -> float:
    _, identities, cameras = people
    return mean_average_precision(
        features,
        identities,
        lambda a, b: not (identities[a] == identities[b] and cameras[a] == cameras[b]),
    )


@pytest.mark.parametrize("histogram", [color_histogram, stripe_histogram])
def test_a_color_histogram_does_not_solve_it(
    people: tuple[Tensor, list[int], list[int]], histogram: Callable[[Tensor], Tensor]
) -> None:
    assert across_cameras(people, histogram(people[0])) < 0.4


@pytest.mark.parametrize("network", ["resnet18", "mobilenet_v2"])
def test_an_untrained_network_does_not_solve_it(
    people: tuple[Tensor, list[int], list[int]], network: str
) -> None:
    model = getattr(torchvision.models, network)()
    if network == "resnet18":
        stages = torch.nn.Sequential(*list(model.children())[:-2])
    else:
        stages = model.features
    stages.eval()
    with torch.no_grad():
        images = (people[0].float() / 255 - 0.45) / 0.22
        maps = torch.cat([stages(chunk) for chunk in images.split(60)])
    assert across_cameras(people, maps.mean((2, 3))) < 0.35


def test_within_one_camera_colors_tell_people_apart(
    people: tuple[Tensor, list[int], list[int]],
) -> None:
    images, identities, cameras = people
    precision = mean_average_precision(
        stripe_histogram(images), identities, lambda a, b: a != b and cameras[a] == cameras[b]
    )
    assert precision > 0.4  # a random ranking gives about 0.1
