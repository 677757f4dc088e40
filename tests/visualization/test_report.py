"""A report holds what it was given, escaped, in one file, and its filter works in a browser."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from reidblocks.visualization import (
    QueryCard,
    RankedImage,
    RankedQuery,
    ReportFigure,
    ReportQueries,
    ReportTable,
    ReportWarning,
    write_report,
)

EVIL = "<script>alert('x')</script> & \"quoted\""
SHOWN = ".card:not([hidden])"


@pytest.fixture
def cards(person: Callable[..., Image.Image]) -> list[QueryCard]:
    """Three groups of 12 queries; 6 identities, 3 cameras; every fourth fails."""
    made = []
    for n in range(36):
        matches = [
            RankedImage(person(n), None, 0.05, camera=n % 3),
            RankedImage(person(n + 1), n % 4 != 0, 0.1, camera=1),
            RankedImage(person(n + 2), True, 0.25, camera=2),
        ]
        ranked = RankedQuery(person(n), matches, f"id {n % 6}", n % 3, n / 36)
        maps = {"A4": torch.rand(2, 8, 4), "A5": torch.rand(1, 4, 2)}
        made.append(QueryCard(ranked, ("Worst", "Median", "Best")[n // 12], maps))
    return made


@pytest.fixture
def report(tmp_path: Path, cards: list[QueryCard]) -> Path:
    figure = Figure((4, 3))
    figure.add_subplot().plot([1, 2])
    sections = {
        "Metrics": [
            ReportTable(["", "mAP"], [["trained", "91.2%"]], "cosine"),
            ReportWarning("map 1 is dead"),
            "A sentence.",
        ],
        EVIL: [ReportTable([EVIL], [[EVIL]], EVIL), ReportFigure(figure, EVIL), EVIL],
        "Queries": [ReportQueries(cards, "All of them.")],
    }
    return write_report(tmp_path / "a report.html", EVIL, sections, EVIL)


def test_the_page_is_one_file_that_asks_for_nothing(report: Path) -> None:
    text = report.read_text("utf-8")
    assert [path.name for path in report.parent.iterdir()] == ["a report.html"]
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert len(sources) > 36 * 4
    assert "url(" not in text
    assert "@import" not in text


def test_no_text_becomes_markup(report: Path) -> None:
    text = report.read_text("utf-8")
    assert text.count("<script>") == 1
    assert "alert(&#x27;x&#x27;)" in text


def test_all_queries_show_until_the_script_runs(report: Path) -> None:
    cards = re.findall("<article[^>]*>", report.read_text("utf-8"))
    assert len(cards) == 36
    assert not any("hidden" in card for card in cards)


def test_a_match_is_told_by_word_mark_and_frame(report: Path) -> None:
    text = report.read_text("utf-8")
    assert 'alt="rank 1, incorrect, camera 1, distance 0.100"' in text
    assert 'alt="rank 2, correct, camera 2, distance 0.250"' in text
    assert 'alt="not counted, junk, camera 0, distance 0.050"' in text
    for kind, mark in (("correct", "✓ 2"), ("incorrect", "✗ 1"), ("junk", "–")):
        assert f'<figure class="{kind}"><span class="mark" aria-hidden="true">{mark}<' in text


def test_what_is_left_out_is_said(tmp_path: Path, cards: list[QueryCard]) -> None:
    many = [cards[0]._replace(maps={})] * 301
    page = write_report(tmp_path / "r.html", "t", {"q": [ReportQueries(many)]}).read_text("utf-8")
    assert "The first 300 of 301 queries are here." in page
    assert page.count("<article") == 300
    matches = [cards[0].ranked.matches[1]] * 21
    long = QueryCard(cards[0].ranked._replace(matches=matches))
    page = write_report(tmp_path / "r.html", "t", {"q": [ReportQueries([long])]}).read_text("utf-8")
    assert "the first 20 of 21 matches" in page
    assert page.count("<figure") == 1 + 20


@pytest.mark.parametrize(
    ("sections", "error", "message"),
    [
        ({}, ValueError, "at least one section"),
        ({"q": [ReportQueries([])]}, ValueError, "expects at least one QueryCard, got none"),
        ({"q": [3]}, TypeError, "a part of a report is a string, ReportTable, .* got int"),
    ],
)
def test_what_is_no_report_is_refused(
    tmp_path: Path, sections: dict[str, list[Any]], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        write_report(tmp_path / "r.html", "t", sections)
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (torch.full((2, 4, 2), torch.nan), "finite maps"),
        (torch.rand(4, 2), r"maps\['A5'\] \(K, H, W\), got \(4, 2\)"),
    ],
)
def test_maps_that_are_none_are_refused(
    tmp_path: Path, cards: list[QueryCard], maps: torch.Tensor, message: str
) -> None:
    card = cards[0]._replace(maps={"A5": maps})
    with pytest.raises(ValueError, match=message):
        write_report(tmp_path / "r.html", "t", {"q": [ReportQueries([card])]})


def test_the_filter_works(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report)
    count = page.locator("output")
    shown = page.locator(SHOWN)
    assert page.title() == EVIL
    assert (shown.count(), count.inner_text()) == (24, "36 of 36 queries")  # 8 of each group

    page.get_by_role("button", name="Show all 12").first.click()
    assert shown.count() == 28
    page.get_by_label("Identity").select_option("id 2")
    assert (shown.count(), count.inner_text()) == (6, "6 of 36 queries")
    assert all(text.startswith("id 2 · camera 2") for text in shown.locator("h4").all_inner_texts())
    page.get_by_label("Camera of the query").select_option("camera 1")
    assert (shown.count(), count.inner_text()) == (0, "0 of 36 queries")
    page.get_by_label("Identity").select_option("")
    assert shown.count() == 12
    page.locator("select[name=group]").select_option("Best")
    assert shown.count() == 4
    assert page.locator("h3:visible").all_inner_texts() == ["Best"]
    page.get_by_role("button", name="Clear").click()
    page.wait_for_function("document.querySelector('output').textContent === '36 of 36 queries'")
    assert shown.count() == 24
    page.get_by_label("first match incorrect").check()
    assert count.inner_text() == "9 of 36 queries"  # every fourth


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_fits_and_every_picture_shows(
    report: Path, open_page: Callable[..., Any], width: int, scheme: str
) -> None:
    page = open_page(report, width=width, color_scheme=scheme)
    page.wait_for_function("[...document.images].every(image => image.complete)")
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 27)"
    assert dark == (scheme == "dark")


def test_a_print_has_no_controls(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator("nav:visible, form:visible, button:visible").count() == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
