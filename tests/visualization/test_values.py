"""Pictures take numbers of NumPy and torch and any text; what they cannot take, they name."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reidblocks import visualization as vis
from reidblocks.visualization import PairDistances, RankedImage, RankedQuery, TrainingRecord
from reidblocks.visualization._values import as_text, camera_text, outcome
from reidblocks.visualization.precision import precision_recall

PERSON = torch.rand(3, 32, 16)
PAIRS = PairDistances(torch.rand(20), torch.rand(30) + 0.5)
MAPS = {"A4": torch.rand(1, 2, 4, 2)}
NOT_UTF8 = os.fsdecode(b"caf\xe9.png")
SHOWN = r"caf\udce9.png"  # on systems whose file names are bytes


def kinds(value: float, dtype: torch.dtype = torch.float32) -> list[Any]:
    """One number as users hold it."""
    tensor = torch.tensor(value, dtype=dtype)
    return [value, tensor, tensor.numpy(), tensor.numpy()[()], np.array([value])]


@pytest.mark.parametrize("camera", [*kinds(3, torch.int64), *kinds(3.0), np.uint8(3)])
def test_a_camera_may_be_any_number(camera: Any) -> None:
    assert camera_text(camera) == "camera 3"


def test_a_camera_may_be_unknown_or_a_name() -> None:
    assert [camera_text(c) for c in (None, math.nan, np.float32("nan"), "")] == [""] * 4
    assert camera_text(np.str_("gate")) == "gate"


@pytest.mark.parametrize(
    ("value", "expected"),
    [*((v, True) for v in kinds(1, torch.bool)), (0, False), (np.False_, False), (None, None)],
)
def test_an_outcome_may_be_any_boolean(value: Any, expected: bool | None) -> None:
    assert outcome("RankedImage", value) is expected


@pytest.mark.parametrize("value", ["yes", 2, math.nan, torch.zeros(2)])
def test_what_is_no_outcome_is_refused(value: Any) -> None:
    query = RankedQuery(PERSON, [RankedImage(PERSON, value, 0.1)])
    with pytest.raises(TypeError, match="RankedImage expects correct as True, False or None, got"):
        vis.ranked_list([query])


def test_text_is_printed_as_numbers_are() -> None:
    assert [as_text(value) for value in (7, np.int64(7), torch.tensor(7))] == ["7"] * 3
    assert [as_text(value) for value in (np.float32(0.1), torch.tensor(0.1))] == ["0.1"] * 2
    assert as_text(torch.tensor(0.5, dtype=torch.bfloat16, requires_grad=True)) == "0.5"
    assert as_text("caf\udce9.png") == r"caf\udce9.png"
    assert as_text(Path("a") / "b") == str(Path("a") / "b")


def queries(number: Any) -> list[RankedQuery]:
    """A query whose every number is of one kind."""
    matches = [
        RankedImage(PERSON, number(1), number(0.25), number(2)),
        RankedImage(PERSON, number(0), 1, None),
    ]
    return [RankedQuery(PERSON, matches, number(7), number(3), number(0.5))]


@pytest.mark.parametrize("number", [np.float64, np.float16, np.asarray, torch.tensor])
def test_a_ranked_list_takes_numbers_of_any_kind(number: Any, texts: Any, tmp_path: Path) -> None:
    plain, given = queries(lambda value: value), queries(number)
    shown = texts(vis.ranked_list(plain))
    assert {"camera 2", "camera 3", "0.250", "✓ 1", "✗ 2"} <= set(shown)
    label = as_text(given[0].label)  # 7, or 7.0 where it is a float
    assert texts(vis.ranked_list(given)) == [
        text.replace("7 · AP 50.0%", f"{label} · AP 50.0%") for text in shown
    ]
    assert len(vis.worst_queries(given, count=np.int64(1)).axes) == 1
    pages = []
    for query in (plain, given):
        parts = vis.ReportQueries([vis.QueryCard(q) for q in query])
        vis.write_report(tmp_path / "r.html", "t", {"a": parts})
        pages.append((tmp_path / "r.html").read_text("utf-8"))
    assert pages[1].replace(f'"{label}"', '"7"').replace(f">{label}", ">7") == pages[0]


def test_no_precision_may_be_none_or_nan(texts: Any) -> None:
    for missing in (None, math.nan, torch.tensor(math.nan)):
        (query,) = queries(float)
        assert "AP" not in " ".join(
            texts(vis.ranked_list([query._replace(average_precision=missing)]))
        )


def test_every_figure_takes_text_that_is_none(texts: Any) -> None:
    title = NOT_UTF8 + " $"
    match = RankedImage(PERSON, True, 0.1, NOT_UTF8)
    records = [TrainingRecord(1, {NOT_UTF8: 1.0}, {NOT_UTF8: 0.5})]
    figures = [
        vis.ranked_list([RankedQuery(PERSON, [match], NOT_UTF8, NOT_UTF8)], title),
        vis.attention_overlay([PERSON], {NOT_UTF8: MAPS["A4"]}, [NOT_UTF8], title=title),
        vis.batch_sheet([PERSON], [NOT_UTF8], title=title),
        vis.embedding_map(torch.rand(2, 3), [NOT_UTF8] * 2, title=title),
        vis.cmc_curves({NOT_UTF8: [0.5]}, title),
        vis.precision_recall_curves({NOT_UTF8: PAIRS}, title),
        vis.training_curves(records, title),
        vis.distance_histogram(PAIRS, title=title),
    ]
    for figure in figures:
        figure.canvas.draw()
        said = " ".join(texts(figure))
        said.encode("utf-8")
        assert "udce9" in said or os.name == "nt"


def test_a_report_takes_text_that_is_none_and_keeps_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    query = RankedQuery(PERSON, [RankedImage(PERSON, True, 0.1)], NOT_UTF8, NOT_UTF8)
    table = vis.ReportTable([NOT_UTF8], [[NOT_UTF8]], NOT_UTF8)
    parts = [
        table,
        vis.ReportQueries([vis.QueryCard(query, NOT_UTF8)]),
        NOT_UTF8,
    ]
    vis.write_report(path, NOT_UTF8, {NOT_UTF8: parts}, NOT_UTF8)
    page = path.read_bytes()
    assert SHOWN in page.decode("utf-8") or os.name == "nt"
    with pytest.raises(TypeError, match="a part of a report is"):
        vis.write_report(path, "t", {"a": [3]})  # type: ignore[list-item]
    assert path.read_bytes() == page
    assert os.listdir(tmp_path) == ["r.html"]


def test_a_report_that_cannot_be_written_says_so_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cannot write .*r\.html: there is no folder"):
        vis.write_report(tmp_path / "no" / "r.html", "t", {"a": [3]})  # type: ignore[list-item]


def test_a_section_may_be_one_part(tmp_path: Path) -> None:
    table = vis.ReportTable(["", "mAP"], [["mine", torch.tensor(0.5)]])
    warning = vis.ReportWarning("careful")
    path = vis.write_report(tmp_path / "r.html", "t", {"a": "text", "b": table, "c": warning})
    page = path.read_text("utf-8")
    assert "<p>text</p>" in page
    assert "<td>0.5</td>" in page
    assert "careful" in page


def test_numbers_of_a_curve_may_be_of_any_kind(texts: Any) -> None:
    expected = texts(vis.cmc_curves({"a": [0.5, 0.75]}))
    for make in (np.array, torch.tensor, lambda v: torch.tensor(v).half().requires_grad_()):
        assert texts(vis.cmc_curves({"a": make([0.5, 0.75])})) == expected
        assert texts(vis.cmc_curves({"a": [make(0.5), make(0.75)]})) == expected
    plain = texts(vis.training_curves([TrainingRecord(1, {"a": 2.0}, {"mAP": 0.5})]))
    for make in (np.float32, torch.tensor):
        record = TrainingRecord(make(1), {"a": make(2.0)}, {"mAP": make(0.5)})
        assert texts(vis.training_curves([record])) == plain
    plain = texts(vis.distance_histogram(PAIRS, 0.5))
    for make in (np.float32, np.array, torch.tensor):
        assert texts(vis.distance_histogram(PAIRS, make(0.5))) == plain


def test_labels_and_ranges_may_be_arrays_and_tensors(texts: Any) -> None:
    images = torch.rand(2, 3, 16, 8)
    maps = {"A4": torch.rand(2, 2, 4, 2)}
    for labels in (
        np.array([3, 4]),
        torch.tensor([3, 4]),
        [torch.tensor(3), np.int64(4)],
        ["3", 4],
    ):
        for figure in (
            vis.batch_sheet(images, labels, columns=torch.tensor(2)),
            vis.attention_overlay(images, maps, labels, value_range=torch.tensor([0, 0.5])),
            vis.embedding_map(torch.rand(2, 4), labels),
        ):
            assert {"3", "4"} <= set(texts(figure))


def test_distances_may_be_integers() -> None:
    pairs = PairDistances(torch.tensor([1, 2]), torch.tensor([2, 5]))
    assert precision_recall(pairs)[1].tolist() == pytest.approx([1, 2 / 3])
    vis.distance_histogram(pairs)


def test_normalization_may_be_arrays_and_tensors() -> None:
    images = torch.rand(2, 3, 4, 2)
    expected = vis.unnormalize(images, [0.5] * 3, [0.25] * 3)
    for make in (np.array, torch.tensor):
        assert vis.unnormalize(images, make([0.5] * 3), make([0.25] * 3)).equal(expected)


IMAGES = torch.rand(2, 3, 16, 8)
QUERY = RankedQuery(PERSON, [RankedImage(PERSON, True, 0.1)])
REFUSED: dict[str, tuple[Any, str]] = {
    "one query": (
        lambda: vis.ranked_list(QUERY),
        "a list of RankedQuery, got RankedQuery: put",
    ),
    "no query": (lambda: vis.ranked_list([3]), "a query is a RankedQuery, got int"),
    "one of the worst": (
        lambda: vis.worst_queries(QUERY),
        "got RankedQuery: put it in a list",
    ),
    "half a count": (
        lambda: vis.worst_queries([QUERY], 1.5),
        "expects count as a whole number, got float",
    ),
    "distance": (
        lambda: vis.ranked_list([RankedQuery(PERSON, [RankedImage(PERSON, True, "far")])]),
        "RankedImage expects distance as a number, got str",
    ),
    "precision": (
        lambda: vis.ranked_list([QUERY._replace(average_precision=torch.ones(2))]),
        r"expects average_precision as a number, got Tensor of shape \(2,\)",
    ),
    "labels of a batch": (
        lambda: vis.batch_sheet(IMAGES, "ab"),
        "a list of labels, got str",
    ),
    "images of a batch": (
        lambda: vis.batch_sheet("a.jpg", "a.jpg"),
        "list of images, got str",
    ),
    "columns": (
        lambda: vis.batch_sheet(IMAGES, [1, 2], columns="2"),
        "expects columns as a whole number, got str",
    ),
    "labels of a map": (
        lambda: vis.embedding_map(torch.rand(2, 4), "ab"),
        "a list of labels, got str: put it in a list",
    ),
    "labels of attention": (
        lambda: vis.attention_overlay([PERSON], MAPS, "a"),
        "a list of labels, got str",
    ),
    "maps without names": (
        lambda: vis.attention_overlay([PERSON], MAPS["A4"]),
        r"expects maps as a dict of names and tensors \(B, K, h, w\), got Tensor of shape",
    ),
    "a curve without a name": (
        lambda: vis.cmc_curves([0.5]),
        "expects curves as a dict of names and their values, got list",
    ),
    "a number as a curve": (
        lambda: vis.cmc_curves({"a": 0.5}),
        "list of values in .*got float",
    ),
    "no number in a curve": (
        lambda: vis.cmc_curves({"a": ["x"]}),
        r"curves\['a'\] as a number, got str",
    ),
    "pairs without a name": (
        lambda: vis.precision_recall_curves(PAIRS),
        "expects pairs as a dict of names and their PairDistances, got PairDistances",
    ),
    "no pairs": (
        lambda: vis.distance_histogram((PAIRS.positive, PAIRS.negative)),
        r"expects PairDistances\(positive, negative\), got tuple",
    ),
    "pairs of lists": (
        lambda: vis.distance_histogram(PairDistances([0.5], [0.5])),  # type: ignore[arg-type]
        "expects positive as a tensor, got list",
    ),
    "threshold": (
        lambda: vis.distance_histogram(PAIRS, "0.5"),
        "expects threshold as a number, got str",
    ),
    "one record": (
        lambda: vis.training_curves(TrainingRecord(1, {"a": 1.0})),
        "a list of TrainingRecord, got TrainingRecord: put",
    ),
    "a loss": (
        lambda: vis.training_curves([TrainingRecord(1, {"a": None})]),  # type: ignore[dict-item]
        "expects 'a' as a number, got NoneType",
    ),
    "losses": (
        lambda: vis.training_curves([TrainingRecord(1, [0.5])]),  # type: ignore[arg-type]
        "expects losses as a dict of names and numbers, got list",
    ),
    "mean": (
        lambda: vis.unnormalize(IMAGES, 0.5, 0.5),
        "a list of numbers as mean, one per channel, got float",
    ),
    "sections": (
        lambda: vis.write_report("r.html", "t", ["text"]),
        "expects sections as a dict of names and their parts, got list",
    ),
    "cards": (
        lambda: vis.write_report("r.html", "t", {"a": vis.ReportQueries([QUERY])}),
        "ReportQueries expects QueryCard, got RankedQuery",
    ),
    "a row": (
        lambda: vis.write_report("r.html", "t", {"a": vis.ReportTable(["x"], ["ab"])}),
        "ReportTable expects a list of cells in rows, got str",
    ),
}


@pytest.mark.parametrize(("draw", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_drawn_is_named(
    draw: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError, match=said):
        draw()
    assert not os.listdir(tmp_path)


def test_normalized_integers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unnormalize expects images of floats, got torch\.uint8"):
        vis.unnormalize(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), [0.5] * 3, [0.5] * 3)
