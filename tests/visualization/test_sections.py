"""A report of an evaluation is right for any features and any cameras."""

import dataclasses
from pathlib import Path

import pytest
import torch
from PIL import Image

from reidblocks.evaluation import NO_CAMERAS, Features, evaluate, verify
from reidblocks.visualization import (
    ReportFigure,
    ReportQueries,
    ReportTable,
    ReportWarning,
    attention_health,
    attention_section,
    evaluation_sections,
    pair_distances,
    ranked_queries,
    write_report,
)


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.new("RGB", (8, 16)).save(tmp_path / "person.png")
    return str(tmp_path / "person.png")


def sides(
    values: torch.Tensor, ids: list[int], cameras: list[list[int]] | None, picture: str
) -> tuple[Features, Features]:
    """A query and a gallery of the same people, whose images have paths of their own."""
    folder = Path(picture).parent
    both = []
    for name, seen in zip(("query", "gallery"), cameras or (None, None), strict=True):
        paths = [str(folder / f"{name}-{row}.png") for row in range(len(ids))]
        for path in paths:
            Path(path).hardlink_to(picture)
        both.append(Features(values, ids, seen, paths=paths))
    return both[0], both[1]


def test_ranked_queries_show_images_by_their_paths() -> None:
    query = Features(torch.eye(3), [4, 5, 6], [1, 1, -1], paths=["q0", "q1", "q2"])
    values = torch.tensor([[0.9, 0.1, 0.0], [1.0, 0.0, 0.0], [0.8, 0.2, 0.0], [0.0, 0.9, 0.3]])
    gallery = Features(values, [4, 4, 5, 5], [2, 1, 2, 2], paths=["g0", "g1", "g2", "g3"])
    result = evaluate(query, gallery)
    first, second = ranked_queries(query, gallery, [1, 0], k=2, evaluation=result)
    assert (first.image, first.label, first.camera) == ("q1", "id 5", 1)
    assert [each.image for each in first.matches] == ["g3", "g2"]
    assert first.average_precision == 1
    assert [(each.image, each.correct) for each in second.matches] == [("g0", True), ("g2", False)]
    (kept,) = ranked_queries(query, gallery, torch.tensor([0]), k=2, keep_excluded=True)
    assert [(each.image, each.correct) for each in kept.matches] == [
        ("g1", None), ("g0", True), ("g2", False),
    ]  # fmt: skip
    assert kept.average_precision is None
    assert ranked_queries(query, gallery, [2])[0].camera is None
    assert len(ranked_queries(query, gallery)) == 3


@pytest.mark.parametrize(
    ("paths", "name"), [((None, ["g"] * 2), "query"), ((["q"] * 2, None), "gallery")]
)
def test_ranked_queries_ask_for_paths(paths: tuple, name: str) -> None:
    query, gallery = (Features(torch.eye(2), [1, 2], paths=each) for each in paths)
    with pytest.raises(ValueError, match=rf"{name} with the paths of the images .* paths=\)"):
        ranked_queries(query, gallery)


def test_pairs_are_those_that_count() -> None:
    query = Features(torch.eye(3)[:2], [1, -1], [1, 1])
    gallery = Features(torch.eye(3), [1, 1, 2], [1, 2, 1])
    pairs = pair_distances(query, gallery)
    assert pairs.positive.tolist() == [1.0]  # not the one of its own camera, not junk's
    assert pairs.negative.tolist() == [1.0]
    assert pair_distances(query, gallery, protocol=NO_CAMERAS).positive.tolist() == [0.0, 1.0]
    assert pair_distances(query[[1]], gallery).negative.numel() == 0


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_pairs_are_those_of_verify(distance: str) -> None:
    query = Features(torch.randn(30, 5), torch.arange(30) % 7, torch.arange(30) % 2)
    gallery = Features(torch.randn(40, 5), torch.arange(40) % 7, torch.arange(40) % 3)
    pairs = pair_distances(query, gallery, distance=distance)
    result = verify(query, gallery, distance=distance)
    assert torch.equal(pairs.positive.sort().values, result.positive_distances)
    assert pairs.negative.numel() == result.num_negatives
    nearer = (pairs.negative <= result.positive_distances[:, None]).sum(1)
    assert torch.equal(nearer, result.negatives_within)


def test_a_report_holds_the_metrics(picture: str, tmp_path: Path) -> None:
    query, gallery = sides(torch.randn(9, 8), [1, 2, 3] * 3, [[1] * 9, [2] * 9], picture)
    result = evaluate(query, gallery)
    shown = []

    def maps(rows: list[int]) -> dict[str, torch.Tensor]:
        shown.extend(rows)
        return {"A": torch.rand(len(rows), 2, 4, 2)}

    found = evaluation_sections(query, gallery, name="mine", maps=maps)
    assert list(found) == ["Metrics", "Queries", "Cameras", "Curves", "Map"]
    table = found["Metrics"][0]
    assert list(table.header) == ["", "mAP", "rank-1", "rank-5", "rank-10", "mINP"]
    assert table.rows[0][:3] == ["mine", f"{100 * result.mAP:.1f}%", f"{100 * result.rank(1):.1f}%"]
    low, high = (float(word) for word in table.rows[1][1].split(" to "))
    assert low <= 100 * result.mAP <= high
    assert sorted(shown) == list(range(9))
    assert sum(isinstance(part, ReportFigure) for part in found["Curves"]) == 3
    page = write_report(tmp_path / "report.html", "A model", found)
    assert "Median" in page.read_text()


def test_dropped_queries_are_a_warning(picture: str) -> None:
    query, gallery = sides(torch.eye(3), [1, 2, 3], None, picture)
    found = evaluation_sections(query, gallery[:2])["Metrics"]
    assert any(isinstance(part, ReportWarning) and "1 of 3" in part.text for part in found)


def test_cameras_are_searched_from_one_in_another(picture: str) -> None:
    values = torch.eye(2).repeat(3, 1)
    values[4:] = values[4:].flip(0)  # camera 0 sees everybody as somebody else
    query, gallery = sides(values, [1, 2] * 3, [[5, 5, 7, 7, 0, 0]] * 2, picture)
    parts = evaluation_sections(query, gallery)["Cameras"]
    tables = [part for part in parts if isinstance(part, ReportTable)]
    assert [table.header for table in tables] == [
        ["query in", "camera 0", "camera 5", "camera 7", "all"]
    ] * 2
    rank1 = {row[0]: list(row[1:4]) for row in tables[1].rows}
    assert rank1["camera 5"] == ["0.0%", "–", "100.0%"]
    assert rank1["camera 0"] == ["–", "0.0%", "0.0%"]


def test_unknown_cameras_are_said(picture: str) -> None:
    query, gallery = sides(torch.eye(2), [1, 2], None, picture)
    assert evaluation_sections(query, gallery)["Cameras"] == ["The cameras are not known."]


@pytest.mark.parametrize(("count", "shown"), [(151, 150), (150, 150), (2, 2)])
def test_how_many_queries_are_shown_is_said(picture: str, count: int, shown: int) -> None:
    query, gallery = sides(torch.randn(count, 8), list(range(count)), None, picture)
    gallery = Features(torch.randn(count, 8), gallery.ids, paths=gallery.paths)
    (listed,) = evaluation_sections(query, gallery)["Queries"]
    assert isinstance(listed, ReportQueries)
    assert len(listed.cards) == shown
    precisions = [card.ranked.average_precision for card in listed.cards]
    if shown < count:  # all but the one that stands between the middle and the best
        assert "The 50 worst, the 50 in the middle and the 50 best of the 151" in listed.caption
        assert "The filter searches these 150." in listed.caption
        groups = [card.group for card in listed.cards]
        assert groups == ["Worst"] * 50 + ["Median"] * 50 + ["Best"] * 50
        order = sorted(precisions)
        assert precisions[:100] == order[:100]
        assert precisions[100:] == order[:-51:-1]
    else:
        assert listed.caption.startswith(f"All {count} queries")


def test_one_person_alone_has_no_interval(picture: str) -> None:
    query, gallery = sides(torch.randn(3, 8), [5, 5, 5], None, picture)
    found = evaluation_sections(query, gallery)["Metrics"]
    assert any("at least two" in part for part in found if isinstance(part, str))


def test_people_and_cameras_are_called_by_their_names(picture: str) -> None:
    query, gallery = (
        dataclasses.replace(
            side,
            identity_names={0: "anna", 1: "ben"},
            camera_names={1: "hall", 2: "yard"},
        )
        for side in sides(torch.eye(3), [0, 1, 2], [[1] * 3, [2] * 3], picture)
    )
    sections = evaluation_sections(query, gallery)
    (queries,) = (
        part for parts in sections.values() for part in parts if isinstance(part, ReportQueries)
    )
    assert {card.ranked.label for card in queries.cards} == {"anna", "ben", "id 2"}
    assert {card.ranked.camera for card in queries.cards} == {"hall"}
    assert {each.camera for card in queries.cards for each in card.ranked.matches} == {"yard"}
    table = next(part for part in sections["Cameras"] if isinstance(part, ReportTable))
    assert list(table.header) == ["query in", "hall", "yard", "all"]
    assert [row[0] for row in table.rows] == ["hall", "yard"]


def test_the_section_on_attention_holds_what_was_measured() -> None:
    torch.manual_seed(0)
    groups = {"A5": torch.rand(3, 2, 8, 4) / 3, "A4": torch.rand(3, 1, 4, 2) / 2}
    masks = (torch.rand(3, 16, 8) > 0.5).float()
    parts = attention_section(groups, masks)
    tables = [part for part in parts if isinstance(part, ReportTable)]
    for (name, maps), table in zip(groups.items(), tables, strict=True):
        health = attention_health(maps, masks)
        *each, background, together = table.rows
        assert [row[0] for row in each] == [f"map {k + 1}" for k in range(maps.shape[1])]
        assert [row[1] for row in each] == [f"{100 * c:.1f}%" for c in health.coverage.tolist()]
        assert [row[2] for row in each] == [f"{value:.2f}" for value in health.peak.tolist()]
        assert [row[3] for row in each] == [f"{value:.2f}" for value in health.entropy.tolist()]
        on_person = health.on_person
        assert on_person is not None
        found = [row[-1] for row in [*each, together]]
        assert found == [f"{value:.2f}" for value in on_person.tolist()]
        assert background[:2] == ["background", f"{100 * health.background:.1f}%"]
        assert table.caption.startswith(f"{name}, {maps.shape[2]}×{maps.shape[3]} places")
    plain = attention_section(groups)
    widths = [len(part.header) for part in plain if isinstance(part, ReportTable)]
    assert widths == [5, 5]


def test_the_section_on_attention_warns() -> None:
    one = torch.rand(2, 1, 4, 2) / 3
    parts = attention_section({"A5": one.repeat(1, 2, 1, 1), "A4": one})
    warnings = [part.text for part in parts if isinstance(part, ReportWarning)]
    assert warnings == ["A5: maps 1 and 2 are one: they overlap by 1.00"]
    assert parts[-1] == "A4: no map is dead or flat, no two maps are one."
