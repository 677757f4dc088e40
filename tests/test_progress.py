import io
import sys
from collections.abc import Iterator

import pytest

from reidblocks._progress import counted


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put a terminal in place of stderr; pytest takes it away again where a fixture does this."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


def test_the_items_pass_and_the_last_count_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    assert list(counted(range(5), "images read:", 5, shown=True, every=2)) == [0, 1, 2, 3, 4]
    assert terminal.getvalue() == (
        "\rimages read: 2 of 5\rimages read: 4 of 5\rimages read: 5 of 5\n"
    )


def test_without_a_total(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    assert list(counted(iter("ab"), "batches:", shown=True, every=1)) == ["a", "b"]
    assert terminal.getvalue() == "\rbatches: 1\rbatches: 2\rbatches: 2\n"


def test_a_log_gets_the_last_count_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(counted(range(5), "images read:", 5, shown=True, every=2)) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err == "images read: 5 of 5\n"


def test_nothing_is_told_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(counted("ab", "batches:", 2, shown=False)) == ["a", "b"]
    assert capsys.readouterr().err == ""


def test_nothing_is_told_where_there_is_no_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert list(counted("ab", "batches:", 2, shown=True)) == ["a", "b"]


def test_an_error_ends_the_line_with_what_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(counted(failing(), "images read:", 3, shown=True))
    assert capsys.readouterr().err == "images read: 1 of 3\n"
