"""The sheet of a search's answers shows them, and judges nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

pytest.importorskip("matplotlib", reason="needs matplotlib (extra visualization)")

from reidblocks.visualization import FoundImage, FoundPerson, answer_sheet


def image(shade: int = 90) -> Image.Image:
    return Image.new("RGB", (24, 48), (shade, 10, 10))


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_row_for_each_answer() -> None:
    found = [
        FoundImage(image(), 0.1234, "anna", "hall"),
        FoundImage(torch.rand(3, 40, 20), torch.tensor(0.7), near=False),
    ]
    figure = answer_sheet([FoundPerson(image(), "anna", found), FoundPerson(image(), "nobody", [])])
    assert len(figure.axes[0].images) == 4
    shown = texts(figure)
    assert [word for word in shown if word in ("anna", "nobody", "unnamed")] == [
        "anna", "anna", "unnamed", "nobody",
    ]  # fmt: skip
    assert {"hall", "0.123", "0.700"} <= set(shown)
    frames = [patch.get_linestyle() for patch in figure.axes[0].patches]
    assert frames == ["-", "-", ":", "-"]
    assert not any("✓" in text or "✗" in text for text in shown)


def test_no_text_touches_another(unreadable: Callable[..., Any], long_name: str) -> None:
    found = [FoundImage(image(), 0.5, long_name, long_name), FoundImage(image(), 0.6, "b", 3)]
    assert unreadable(answer_sheet([FoundPerson(image(), 3 * long_name, found)] * 3, "Who?")) == []


def test_what_is_too_much_is_told() -> None:
    found = [FoundImage(image(), 0.1)] * 23
    shown = " ".join(texts(answer_sheet([FoundPerson(image(), "a $x$", found)] * 22)))
    assert "The first 20 of 22 images. The first 20 of 23 found." in shown
    assert r"a \$x\$" in shown


def test_a_sheet_of_one_color_is_written(tmp_path: Path) -> None:
    answer_sheet([FoundPerson(image(), "nobody", [])], "Who?").savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("people", "error", "message"),
    [
        ([], ValueError, "at least one FoundPerson"),
        (FoundPerson(image(), "a", []), TypeError, "put it in a list"),
        ([image()], TypeError, "answer_sheet expects FoundPerson, got Image"),
        (
            [FoundPerson(image(), "a", [FoundImage(image(), "far")])],  # type: ignore[arg-type]
            TypeError,
            "FoundImage expects distance as a number",
        ),
        ([FoundPerson("none.png", "a", [])], OSError, "none.png"),
    ],
)
def test_errors(people: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        answer_sheet(people)
