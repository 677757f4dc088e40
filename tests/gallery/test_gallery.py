"""People are kept, found, updated and refused as the gallery promises."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reidblocks.deploy import EmbedderSpec
from reidblocks.gallery import Gallery, GalleryPerson
from reidblocks.gallery import gallery as module
from reidblocks.gallery import table as files

SPEC = EmbedderSpec("mine", 8, fingerprint="a3f0")
OTHER = EmbedderSpec("theirs", 8, fingerprint="77")
Vectors = Callable[..., Tensor]


def unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors.double(), dim=1)


def test_what_was_added_is_found_after_opening_again(gallery: Gallery, vectors: Vectors) -> None:
    embeddings = vectors(5)
    who = ["anna", "ben", None, "O'Hara", "anna"]
    gallery.add(embeddings, person=who, camera=3, time=torch.arange(5.0), source="crops/a.jpg")
    found = Gallery.open(gallery.path, SPEC).search(embeddings, k=1)
    assert [matches[0].person for matches in found] == who
    assert [matches[0].time for matches in found] == [0, 1, 2, 3, 4]
    assert {matches[0][2:] for matches in found[:1]} == {("3", 0.0, None, "crops/a.jpg", 1)}
    assert max(matches[0].distance for matches in found) < 1e-6
    assert Gallery.open(gallery.path).spec == SPEC


@settings(max_examples=15)
@given(st.integers(1, 40), st.integers(1, 3), st.integers(1, 50), st.integers(0, 2**31))
def test_a_search_is_a_naive_float64_search(
    tmp_path_factory: Any, rows: int, queries: int, k: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes = 10 ** (8 * torch.rand(rows, 1, generator=generator) - 4)  # lengths do not count
    embeddings = torch.randn(rows, 8, generator=generator) * sizes
    query = torch.randn(queries, 8, generator=generator)
    gallery = Gallery.create(tmp_path_factory.mktemp("g") / "people.lance", SPEC)
    gallery.add(embeddings, camera=list(range(rows)))
    expected = 1 - unit(query) @ unit(embeddings).T
    for row, matches in enumerate(gallery.search(query, k=k)):
        order = expected[row].sort().values[:k]
        distances = torch.tensor([match.distance for match in matches], dtype=torch.float64)
        bound = 16 * torch.finfo(torch.float32).eps  # of eight products of at most 1, summed
        assert torch.allclose(distances, order, rtol=0, atol=bound)
        own = torch.stack([expected[row, int(str(match.camera))] for match in matches])
        assert torch.allclose(distances, own, rtol=0, atol=bound)


def test_nobody_is_an_answer(gallery: Gallery) -> None:
    assert gallery.search(torch.eye(8)[:2]) == [[], []]
    gallery.add(torch.eye(8)[:3], person=["anna", "ben", "carl"])
    near = torch.tensor([[1.0, 0.1, 0, 0, 0, 0, 0, 0]])
    distance = 1 - 1 / math.sqrt(1.01)
    assert [match.person for match in gallery.search(near, max_distance=0.1)[0]] == ["anna"]
    assert gallery.search(near, max_distance=distance / 2) == [[]]
    assert gallery.search(torch.eye(8)[5:6], max_distance=0.5) == [[]]
    assert len(gallery.search(torch.eye(8)[5:6])[0]) == 3
    assert gallery.search(torch.empty(0, 8)) == []


def test_a_condition_narrows_the_search(gallery: Gallery, vectors: Vectors) -> None:
    embeddings = vectors(6)
    gallery.add(embeddings, person=list("aabbcc"), camera=["x", "y"] * 3, time=list(range(6)))
    found = gallery.search(embeddings[:1], where="camera = 'y' AND time < 4")[0]
    assert {(match.person, match.camera) for match in found} == {("a", "y"), ("b", "y")}
    assert gallery.search(embeddings[:1], where="person = 'nobody'") == [[]]
    assert gallery.search(embeddings[:1], k=1, where="person != 'a'")[0][0].person in "bc"


def test_more_queries_than_one_batch(gallery: Gallery, vectors: Vectors) -> None:
    embeddings = vectors(3 * module.QUERIES + 1)
    gallery.add(embeddings, camera=list(range(len(embeddings))))
    found = gallery.search(embeddings, k=1)
    assert [matches[0].camera for matches in found] == [str(row) for row in range(len(found))]


def test_a_track_is_one_row_that_grows(gallery: Gallery, vectors: Vectors) -> None:
    images = vectors(9)
    gallery.add(images[:2], camera="hall", track=7, time=[5.0, 4.0], source=["a.jpg", "b.jpg"])
    gallery.add(vectors(3), camera=["yard", "hall", None], track=[7, 8, None])
    gallery.add(images[2:5], person="anna", camera="hall", track="7", time=9)
    gallery.add(images[5:], camera="hall", track="7")
    assert len(gallery) == 4
    mean = unit(images).mean(0)
    found = gallery.search(mean[None].float(), k=1)[0][0]
    assert found.distance < 1e-6
    assert found[2:] == ("hall", 4.0, "7", "a.jpg", 9)
    assert found.person == "anna"
    row = files.from_arrow(gallery._rows("images = 9"))[0]
    assert row.agreement == pytest.approx(float(mean.norm()), rel=1e-5)


def test_people(gallery: Gallery, vectors: Vectors) -> None:
    assert gallery.people() == []
    gallery.add(
        vectors(3), person=["ben", "anna", "ben"], camera=["y", None, "x"], time=[3, None, 1]
    )
    gallery.add(vectors(2), camera="x", track=1)
    assert gallery.people() == [
        GalleryPerson("anna", 1, 1, (), None, None),
        GalleryPerson("ben", 2, 2, ("x", "y"), 1.0, 3.0),
        GalleryPerson(None, 1, 2, ("x",), None, None),
    ]


def test_one_name_in_two_unicode_forms_is_one_person(gallery: Gallery, vectors: Vectors) -> None:
    gallery.add(vectors(2), person=["Jos\u00e9", "Jose\u0301"])
    assert [each.name for each in gallery.people()] == ["Jos\u00e9"]
    assert gallery.remove(person="Jose\u0301") == 2


def test_numpy_and_half_precision(gallery: Gallery, vectors: Vectors) -> None:
    embeddings = vectors(2)
    gallery.add(embeddings.numpy().astype(np.float64), person=np.array([3, 4]))
    assert gallery.search(embeddings.half(), k=1)[1][0].person == "4"


class TestAnIndex:
    @pytest.fixture
    def indexed(self, gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> Gallery:
        monkeypatch.setattr(module, "INDEX_FROM", 300)
        monkeypatch.setattr(module, "PARTITION", 60)
        self.centers = torch.randn(20, 8)
        people = torch.arange(600) % 20
        embeddings = self.centers[people] + 0.2 * torch.randn(600, 8)
        gallery.add(embeddings[:200], person=people[:200])
        gallery.optimize()
        assert gallery._indexed() == 0  # few rows are searched one by one
        gallery.add(embeddings[200:], person=people[200:])
        gallery.optimize()
        return gallery

    def test_finds_nearly_what_an_exact_search_finds(self, indexed: Gallery) -> None:
        assert indexed._indexed() == 600
        assert indexed.recall(self.centers) > 0.5
        found = indexed.search(self.centers, k=1)
        assert [matches[0].person for matches in found] == [str(each) for each in range(20)]

    def test_what_is_added_later_is_found_too(self, indexed: Gallery) -> None:
        new = 10 * torch.eye(8)[:1] - self.centers.mean(0)
        indexed.add(new, person="new")
        assert indexed.search(new, k=1)[0][0].person == "new"
        indexed.optimize()
        assert indexed._indexed() == 601
        assert indexed.search(new, k=1)[0][0].person == "new"

    def test_a_condition_that_leaves_few_rows_finds_them_all(self, indexed: Gallery) -> None:
        for person in ("3", "11"):
            found = indexed.search(self.centers[:1], k=40, where=f"person = '{person}'")[0]
            assert len(found) == 30

    def test_a_removal_builds_it_again(self, indexed: Gallery) -> None:
        assert indexed.remove(person=3) == 30
        assert indexed._indexed() == 570
        found = indexed.search(self.centers, k=5)
        assert all(match.person != "3" for matches in found for match in matches)


def test_many_calls_are_compacted(
    gallery: Gallery, vectors: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMPACT_EVERY", 5)
    for row in range(12):
        gallery.add(vectors(1), person=row)
    assert len(gallery.people()) == 12
    assert gallery._table.stats()["fragment_stats"]["num_fragments"] < 6


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"embeddings": torch.full((2, 8), math.nan)}, ValueError, "NaN or infinity in 2 of 2 ro"),
        ({"embeddings": torch.tensor([[1.0] * 8, [0.0] * 8])}, ValueError, "zeros .* in row 1"),
        ({"embeddings": torch.rand(2, 7)}, ValueError, r"embeddings \(·, 8\), got \(2, 7\)"),
        ({"embeddings": torch.rand(8)}, ValueError, r"embeddings \(N, D\), got \(8,\)"),
        ({"embeddings": [[1.0] * 8]}, TypeError, "embeddings as a tensor, got list"),
        ({"person": ["a"]}, ValueError, "person once or for each of 2 embeddings, got 1"),
        ({"person": 1.5}, TypeError, "person expects a name or a whole number, got 1.5"),
        ({"person": True}, TypeError, "person expects a name"),
        ({"person": ""}, ValueError, "person expects a name, or None where it is unknown"),
        ({"time": "noon"}, TypeError, "time expects a number of seconds, got 'noon'"),
        ({"time": math.inf}, ValueError, "a finite number of seconds"),
        ({"track": 3}, ValueError, "camera of each track, got none for track 3 in row 0"),
        (
            {"track": 3, "camera": 1, "person": ["a", "b"]},
            ValueError,
            "one person for track 3 of cam",
        ),
    ],
)
def test_what_add_refuses_changes_nothing(
    wrong: dict[str, Any], error: type[Exception], message: str, gallery: Gallery
) -> None:
    gallery.add(torch.eye(8), person="anna")
    with pytest.raises(error, match=message):
        gallery.add(**{"embeddings": torch.rand(2, 8)} | wrong)
    assert [(each.name, each.rows) for each in gallery.people()] == [("anna", 8)]


def test_images_of_a_track_that_cancel_each_other(gallery: Gallery) -> None:
    gallery.add(torch.eye(8)[:1], camera=1, track=1)
    with pytest.raises(ValueError, match="as those of track 1 of camera 1 do"):
        gallery.add(-torch.eye(8)[:1], camera=1, track=1)
    assert gallery.search(torch.eye(8)[:1])[0][0].images == 1


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"k": 0}, ValueError, "k of at least 1"),
        ({"k": 1.0}, TypeError, "k as a whole number"),
        ({"max_distance": 0}, ValueError, "max_distance above 0"),
        (
            {"where": "name = 'a'"},
            ValueError,
            r"SQL on the columns person, .*got \"name = 'a'\": ",
        ),
        ({"where": "person = "}, ValueError, "a condition in SQL"),
        ({"embeddings": torch.zeros(1, 8)}, ValueError, "search expects finite .* got zeros"),
        ({"embeddings": torch.rand(1, 9)}, ValueError, r"\(·, 8\), got \(1, 9\)"),
    ],
)
def test_what_search_refuses(
    wrong: dict[str, Any], error: type[Exception], message: str, gallery: Gallery
) -> None:
    gallery.add(torch.eye(8))
    with pytest.raises(error, match=message):
        gallery.search(**{"embeddings": torch.rand(1, 8)} | wrong)


def test_another_models_embeddings_are_refused(gallery: Gallery) -> None:
    with pytest.raises(ValueError, match=r"holds embeddings of mine .*a3f0\), which those of the"):
        Gallery.open(gallery.path, OTHER)
    with pytest.raises(ValueError, match=r"mine \(D = 8"):
        Gallery.open(gallery.path, EmbedderSpec("mine", 9, fingerprint="a3f0"))
    assert Gallery.open(gallery.path, EmbedderSpec("renamed", 8, fingerprint="a3f0")).spec == SPEC
    with pytest.raises(TypeError, match=r"expects an EmbedderSpec, .*got str"):
        Gallery.open(gallery.path, "mine")  # type: ignore[arg-type]


def test_what_is_no_gallery(gallery: Gallery, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none is not there; make it by Gallery\.create"):
        Gallery.open(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(FileNotFoundError, match="holds no gallery"):
        Gallery.open(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="is a file"):
        Gallery.open(tmp_path / "file")
    with pytest.raises(NotADirectoryError, match="a file is in its place"):
        Gallery.create(tmp_path / "file", SPEC)
    with pytest.raises(FileExistsError, match="is there already; open it instead"):
        Gallery.create(gallery.path, SPEC)
    with pytest.raises(FileExistsError, match=r"a new or an empty folder, but .* holds file"):
        Gallery.create(tmp_path, SPEC)
    pyarrow = pytest.importorskip("pyarrow")
    files.connect(tmp_path / "table").create_table(files.NAME, pyarrow.table({"a": [1]}))
    with pytest.raises(ValueError, match="a table of LanceDB, but no gallery"):
        Gallery.open(tmp_path / "table")


def test_an_address_in_place_of_a_folder(tmp_path: Path, vectors: Vectors) -> None:
    address = (tmp_path / "people").as_uri()  # as object storage: without a lock
    with pytest.raises(OSError, match=f"cannot read the gallery {address}: "):
        Gallery.open(address)
    gallery = Gallery.create(address, SPEC)
    embeddings = vectors(2)
    gallery.add(embeddings, person=["anna", "ben"])
    with pytest.raises(FileExistsError, match="is there already; open it instead"):
        Gallery.create(address, SPEC)
    assert gallery.remove(person="anna") == 1
    assert Gallery.open(address, SPEC).search(embeddings, k=1)[0][0].person == "ben"
    assert not list(tmp_path.rglob(".lock"))


def test_what_a_kill_left_of_a_table_is_no_gallery(tmp_path: Path, vectors: Vectors) -> None:
    (tmp_path / "people" / f"{files.NAME}.lance" / "data").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="holds no gallery"):
        Gallery.open(tmp_path / "people")
    Gallery.create(tmp_path / "people", SPEC).add(vectors(2))
    assert len(Gallery.open(tmp_path / "people")) == 2


def test_a_newer_version_is_told(tmp_path: Path) -> None:
    told = {"format": files.FORMAT + 1, "color": "red"} | vars(SPEC)
    schema = files.schema_of(SPEC).with_metadata({files._KEY: json.dumps(told)})
    files.connect(tmp_path / "new").create_table(files.NAME, schema=schema)
    with pytest.raises(ValueError, match="by a newer version of reidblocks, in format 2; this one"):
        Gallery.open(tmp_path / "new")


def test_without_lancedb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "lancedb", None)
    for call in (
        lambda: Gallery.create(tmp_path / "g", SPEC),
        lambda: Gallery.open(tmp_path / "g"),
    ):
        with pytest.raises(ImportError, match=r"pip install 'reidblocks\[gallery\]'"):
            call()
    assert not (tmp_path / "g").exists()
