"""The table of backbones is that of the committed file."""

import json

from backbones import PAGE, PLACE, RESULTS, filled


def test_the_page_shows_what_the_file_holds() -> None:
    page = PAGE.read_text("utf-8")
    assert PLACE.search(page)
    results = json.loads(RESULTS.read_text("utf-8"))
    assert filled(page, results) == page, "run python benchmarks/backbones.py"
    results["backbones"][0]["parameters"] += 10_000_000
    assert filled(page, results) != page
