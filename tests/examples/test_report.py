"""A report's tables are right for any network and any cameras."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny import TINY, tiny, tiny_backbone

from baselines import Baseline
from evaluate import Score
from reidblocks.data import ReIDDataset, Sample
from reidblocks.evaluation import Features, evaluate
from reidblocks.visualization import ReportTable
from report import (
    attention_maps,
    by_cameras,
    by_feature,
    measured,
    pair_distances,
    person_of,
    queries,
)


def scored(values: torch.Tensor, ids: list[int], cameras: list[int] | None) -> Score:
    side = Features(values, ids, cameras)
    return Score(side, side, evaluate(side, side))


@pytest.mark.parametrize("network", ["mdpr", "bnneck", "pcb", "mgn"])
def test_the_features_of_every_network_add_up(network: str) -> None:
    config = dataclasses.replace(TINY, network=network, num_parts=2)
    model = tiny() if network == "mdpr" else Baseline(tiny_backbone(), config)
    model.eval()
    widths = [model.sizes[name] for name in model.features]
    with torch.inference_mode():
        assert sum(widths) == model.embed(torch.rand(2, 3, 48, 24)).shape[1]
    if network != "mdpr":
        assert attention_maps(model, [], config) == {}


def test_each_feature_is_searched_with_its_own_numbers() -> None:
    right = torch.eye(3).repeat(2, 1)
    wrong = torch.eye(3).repeat(2, 1)[[0, 1, 2, 1, 2, 0]]
    both = scored(torch.cat([wrong, right, right], 1), [1, 2, 3] * 2, [1] * 3 + [2] * 3)
    table = by_feature(both, {"hard_g5": 3, "soft_g5": 3, "soft_g4": 3})
    found = {row[0]: (row[1], row[3]) for row in table.rows}  # numbers and rank-1
    assert found["hard_g5"] == (3, "0.0%")
    assert found["soft_g5"] == found["soft_g4"] == (3, "100.0%")
    assert found["soft, together"] == (6, "100.0%")
    assert found["all"][0] == 9


def test_a_dead_feature_does_not_end_the_report() -> None:
    both = scored(torch.cat([torch.zeros(4, 2), torch.eye(2).repeat(2, 1)], 1), [1, 2] * 2, None)
    table = by_feature(both, {"hard_g5": 2, "soft_g5": 2})
    assert list(table.rows[0][2:]) == ["–"] * 4


def test_cameras_are_searched_from_one_in_another() -> None:
    values = torch.eye(2).repeat(3, 1)
    values[4:] = values[4:].flip(0)  # camera 0 sees everybody as somebody else
    tables = [
        part
        for part in by_cameras(scored(values, [1, 2] * 3, [5, 5, 7, 7, 0, 0]))
        if isinstance(part, ReportTable)
    ]
    assert [table.header for table in tables] == [
        ["query in", "camera 0", "camera 5", "camera 7", "all"]
    ] * 2
    rank1 = {row[0]: list(row[1:4]) for row in tables[1].rows}
    assert rank1["camera 5"] == ["0.0%", "–", "100.0%"]
    assert rank1["camera 0"] == ["–", "0.0%", "0.0%"]


def test_unknown_cameras_are_said() -> None:
    assert list(by_cameras(scored(torch.eye(2).repeat(2, 1), [1, 2] * 2, None))) == [
        "The cameras are not known."
    ]


def test_pairs_are_those_that_count() -> None:
    query = Features(torch.eye(3)[:2], [1, -1], [1, 1])
    gallery = Features(torch.eye(3), [1, 1, 2], [1, 2, 1])
    pairs = pair_distances(query, gallery)
    assert pairs.positive.tolist() == [1.0]  # not the one of its own camera, not junk's
    assert pairs.negative.tolist() == [1.0]


@pytest.mark.parametrize(("count", "shown"), [(151, 150), (150, 150), (2, 2)])
def test_how_many_queries_are_shown_is_said(tmp_path: Path, count: int, shown: int) -> None:
    person = tmp_path / "person.png"
    Image.new("RGB", (8, 16)).save(person)
    samples = tuple(
        Sample(tmp_path / f"{identity}-{camera}.png", identity, camera)
        for camera in (1, 2)
        for identity in range(count)
    )
    for sample in samples:
        shutil.copyfile(person, sample.path)
    stranger = Sample(person, count, 1)
    data = ReIDDataset("drawn", (stranger,), samples[:count], samples[count:])
    sides = [
        Features(torch.randn(count, 8), list(range(count)), [camera] * count) for camera in (1, 2)
    ]
    both = Score(*sides, evaluate(*sides))
    config = dataclasses.replace(TINY, network="bnneck")
    listed = queries(Baseline(tiny_backbone(), config), data, both, config)
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


def test_one_person_alone_has_no_interval() -> None:
    sides = [Features(torch.randn(3, 8), [5, 5, 5], [camera] * 3) for camera in (1, 2)]
    shown = measured(Score(*sides, evaluate(*sides)), [])
    assert any("at least two" in part for part in shown if isinstance(part, str))


def test_people_and_cameras_are_called_by_their_names(tmp_path: Path) -> None:
    person = tmp_path / "person.png"
    Image.new("RGB", (8, 16)).save(person)
    names: dict[str, dict[int, str]] = {
        "identity_names": {0: "anna", 1: "ben"},
        "camera_names": {1: "hall", 2: "yard"},
    }
    samples = [Sample(tmp_path / f"{n}.png", n // 2, 1 + n % 2) for n in range(6)]
    for sample in samples:
        shutil.copyfile(person, sample.path)
    query, gallery = tuple(samples[::2]), tuple(samples[1::2])
    data = ReIDDataset("drawn", (Sample(person, 9, 1),), query, gallery, **names)
    sides = [
        Features(torch.eye(3), [0, 1, 2], [camera] * 3, **names)  # type: ignore[arg-type]
        for camera in (1, 2)
    ]
    both = Score(*sides, evaluate(*sides))
    config = dataclasses.replace(TINY, network="bnneck")
    cards = queries(Baseline(tiny_backbone(), config), data, both, config).cards
    assert {card.ranked.label for card in cards} == {"anna", "ben", "id 2"}
    assert {card.ranked.camera for card in cards} == {"hall"}
    assert {match.camera for card in cards for match in card.ranked.matches} == {"yard"}
    tables = [part for part in by_cameras(both) if isinstance(part, ReportTable)]
    assert list(tables[0].header) == ["query in", "hall", "yard", "all"]
    assert [row[0] for row in tables[0].rows] == ["hall", "yard"]
    assert person_of(data, query[1]) == "ben"
