import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageEnhance

from reidblocks.data import ReIDDataset, Sample, check_images, diagnose, read_market1501
from reidblocks.data.doctor import suggest_batch, unmatched_queries

Scene = Callable[[str], Path]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Write a picture like no other: 64×32, a few soft blobs of color."""

    def write(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        blobs = torch.randint(256, (8, 4, 3), dtype=torch.uint8).numpy()
        Image.fromarray(blobs).resize((32, 64), Image.Resampling.BICUBIC).save(path)
        return path

    return write


def people(scene: Scene) -> ReIDDataset:
    """Identities 1 (three images), 2 (one) and 3 to train on, 8 and 9 to test on."""
    train = [(1, 1), (1, 1), (1, 2), (2, 2), (3, None), (3, 10)]
    return ReIDDataset(
        "people",
        tuple(
            Sample(scene(f"t{i}.png"), person, camera) for i, (person, camera) in enumerate(train)
        ),
        (Sample(scene("q8.png"), 8, 1), Sample(scene("q9.png"), 9, 2)),
        (Sample(scene("g8.png"), 8, 2), Sample(scene("g9.png"), 9, 2)),
    )


def test_a_sound_image_passes_and_a_broken_one_is_named(scene: Scene) -> None:
    samples = [Sample(scene(f"{i}.png"), i, None) for i in range(5)]
    assert check_images(samples) == []
    samples[1].path.write_bytes(b"")
    content = samples[3].path.read_bytes()
    samples[3].path.write_bytes(content[: len(content) // 2])
    errors = check_images(samples)
    assert [error.split(" (")[0] for error in errors] == [
        f"cannot read the image {samples[1].path}",
        f"cannot read the image {samples[3].path}",
    ]


def test_progress_is_shown_on_standard_error(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = Sample(scene("a.png"), 1, None)
    check_images([sample] * 250)
    assert capsys.readouterr().err == ""
    check_images([sample] * 250, progress=True)
    output = capsys.readouterr()
    assert output.err == "images read: 250 of 250\n"
    assert output.out == ""


def test_everything_is_counted(scene: Scene) -> None:
    data = people(scene)
    lines = "\n".join(diagnose(data, batch=4)).splitlines()
    assert lines[:4] == data.summary().splitlines()
    assert "train images of camera unknown: 1, 1: 2, 2: 2, 10: 1" in lines
    assert "gallery images of camera 2: 2" in lines
    assert "images of a training identity: 1 to 3, median 2" in lines
    assert lines[-1] == "for batches of 4: PKBatchSampler(…, num_identities=2, num_images=2)"


def test_troubles_are_listed_and_marked(scene: Scene) -> None:
    data = people(scene)
    data.train[4].path.write_bytes(b"")
    lines = list(diagnose(data))
    assert [line[2:].split(":")[0] for line in lines if line.startswith("!")] == [
        "training identities with one image only",
        "queries without a match taken by another camera",
        "images that cannot be read",
    ]
    assert lines[lines.index("! training identities with one image only: 1") + 1] == "    2"
    assert f"    {data.query[1].path} of 9" in lines
    assert any(line.startswith(f"    cannot read the image {data.train[4].path}") for line in lines)
    assert "  images in train and, nearly the same, in the test: none" in lines


def test_an_open_set_is_told_and_is_no_trouble(scene: Scene) -> None:
    data = people(scene)
    asked = (data.query[0], *(Sample(scene(f"s{n}.png"), 20 + n // 2, 1) for n in range(3)))
    lines = list(diagnose(replace(data, query=asked)))
    told = "  an open set: 3 queries show 2 people whom the gallery does not. evaluate_open_set ("
    assert any(line.startswith(told) for line in lines)
    assert "  queries without a match taken by another camera: none" in lines
    lines = list(diagnose(replace(data, query=(*asked, data.query[1]))))
    assert "! queries without a match taken by another camera: 1" in lines
    lines = list(diagnose(replace(data, query=asked[1:])))  # nobody is found: two numberings
    assert "! queries without a match taken by another camera: 3" in lines
    assert not any("open set" in line for line in lines)


def test_people_and_cameras_are_called_by_their_names(scene: Scene) -> None:
    data = replace(people(scene), identity_names={2: "ben", 9: "zoe"}, camera_names={1: "hall"})
    lines = list(diagnose(data))
    assert lines[lines.index("! training identities with one image only: 1") + 1] == "    ben"
    assert f"    {data.query[1].path} of zoe" in lines
    assert any("hall: " in line for line in lines if line.startswith("train images of camera"))


def test_a_set_without_training_images_is_examined(scene: Scene) -> None:
    lines = list(diagnose(replace(people(scene), train=())))
    assert not any("train" in line for line in lines if line[:1] != " ")
    assert "PKBatchSampler" not in lines[-1]


@pytest.mark.parametrize(
    ("query", "gallery", "told"),
    [
        (None, None, "query or gallery"),
        (1, None, "gallery"),
        (None, 1, "query"),
        (1, 1, ""),
    ],
)
def test_no_camera_at_all_is_told_and_what_evaluation_then_does(
    query: int | None, gallery: int | None, told: str, scene: Scene
) -> None:
    data = people(scene)
    data = ReIDDataset(
        "people",
        data.train,
        tuple(sample._replace(camera=query) for sample in data.query),
        tuple(sample._replace(camera=gallery) for sample in data.gallery),
    )
    lines = [line for line in diagnose(data) if "no camera is known" in line]
    assert len(lines) == bool(told)
    for line in lines:
        assert line.startswith(f"! no camera is known of any {told} image: evaluation cannot")
        assert "All images count as matches, also those taken a moment apart" in line


def test_one_unknown_camera_is_no_trouble(scene: Scene) -> None:
    data = people(scene)
    one = (data.query[0]._replace(camera=None), *data.query[1:])
    lines = list(diagnose(ReIDDataset("people", data.train, one, data.gallery)))
    assert not [line for line in lines if "no camera is known" in line]


def test_junk_is_counted_and_no_query_without_a_match(scene: Scene) -> None:
    data = people(scene)
    junk = [Sample(scene(f"junk{number}.png"), -1, number) for number in range(3)]
    lines = "\n".join(
        diagnose(
            ReIDDataset(
                "people", (*data.train, junk[0]), (*data.query, junk[1]), (*data.gallery, junk[2])
            )
        )
    ).splitlines()
    assert "2 images of no person (junk) excluded from train and query" in lines
    assert "images of a training identity: 1 to 3, median 2" in lines
    assert f"    {junk[1].path}" not in lines


def test_a_batch_of_none_is_an_error(scene: Scene) -> None:
    with pytest.raises(ValueError, match="diagnose expects batch above 0, got 0"):
        next(iter(diagnose(people(scene), batch=0)))


def test_long_lists_are_cut(scene: Scene) -> None:
    data = people(scene)
    alone = tuple(Sample(scene(f"a{n}.png"), n, 1) for n in range(20, 33))
    lines = list(diagnose(ReIDDataset("people", alone, data.query, data.gallery)))
    start = lines.index("! training identities with one image only: 13")
    assert lines[start + 1 : start + 12] == [
        *(f"    {n}" for n in range(20, 30)),
        "    and 3 more",
    ]


def small(image: Image.Image) -> Image.Image:
    return image.resize((24, 48))


def large(image: Image.Image) -> Image.Image:
    return image.resize((64, 128))


def brighter(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.1)


@pytest.mark.parametrize("change", [small, large, brighter])
@pytest.mark.parametrize("split", ["query", "gallery"])
def test_a_copy_of_a_training_image_in_the_test_is_found(
    change: Callable[[Image.Image], Image.Image], split: str, scene: Scene, tmp_path: Path
) -> None:
    data = people(scene)
    copy = tmp_path / "copy.jpg"
    change(Image.open(data.train[2].path)).save(copy, quality=70)
    sample = Sample(copy, 8, 7)
    splits = {"query": data.query, "gallery": data.gallery}
    splits[split] = (*splits[split], sample)
    lines = list(diagnose(ReIDDataset("people", data.train, **splits)))
    start = lines.index("! images in train and, nearly the same, in the test: 1")
    assert lines[start + 1] == f"    {data.train[2].path} and {copy}"


def test_an_image_in_query_and_gallery_is_told_of_once(scene: Scene, tmp_path: Path) -> None:
    data = people(scene)
    copy, broken = tmp_path / "copy.png", scene("broken.png")
    small(Image.open(data.train[2].path)).save(copy)
    broken.write_bytes(b"")
    both = (Sample(copy, 8, 7), Sample(broken, 8, 7))
    data = ReIDDataset("people", data.train, (*data.query, *both), (*data.gallery, *both))
    lines = list(diagnose(data))
    assert "! images in train and, nearly the same, in the test: 1" in lines
    assert "! images that cannot be read: 1" in lines


def test_a_query_needs_a_match_by_another_camera() -> None:
    files = (Path(f"{number}.jpg") for number in itertools.count())

    def unmatched(query: int | None, *gallery: int | None) -> bool:
        shown = [Sample(next(files), 8, camera) for camera in gallery]
        shown.append(Sample(next(files), 0, 9))
        train, queries = (Sample(next(files), 1, 1),), (Sample(next(files), 8, query),)
        data = ReIDDataset("", train, queries, tuple(shown))
        return bool(unmatched_queries(data))

    assert unmatched(1)
    assert unmatched(1, 1, 1)
    assert not unmatched(1, 1, 2)
    assert not unmatched(1, None)
    assert not unmatched(None, None)
    assert not unmatched(None, 3)


@pytest.mark.parametrize(
    ("sizes", "batch", "expected"),
    [
        ([16] * 100, 256, (16, 16)),  # the paper's
        ([100] * 100, 64, (8, 8)),
        ([4] * 25 + [9] * 75, 64, (8, 8)),  # a quarter may be filled up
        ([4] * 26 + [9] * 74, 64, (16, 4)),
        ([1] * 100, 64, (32, 2)),
        ([100] * 3, 64, (3, 8)),
        ([5], 1, (1, 2)),
    ],
)
def test_the_suggested_batch(sizes: list[int], batch: int, expected: tuple[int, int]) -> None:
    assert suggest_batch(sizes, batch) == expected


@pytest.mark.slow
def test_the_real_images_are_sound_and_disjoint(shared: Path) -> None:
    lines = list(diagnose(read_market1501(shared / "data")))
    assert "  images that cannot be read: none" in lines
    assert "  images in train and, nearly the same, in the test: none" in lines
