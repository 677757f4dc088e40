"""A script ends in a message on a user's mistake, and of several processes one speaks."""

import sys

import pytest

from reidblocks.training import run_script, scripts


def refuse() -> None:
    raise ValueError("expected 1, got 2")


def fail() -> None:
    raise RuntimeError("shapes do not fit")


@pytest.fixture(autouse=True)
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/train.py"])
    monkeypatch.delenv("RANK", raising=False)


def test_a_mistake_ends_in_its_message(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run_script(refuse)
    assert left.value.code == 2
    expected = "train.py: error: expected 1, got 2\n(--traceback shows where)\n"
    assert capsys.readouterr().err == expected


def test_a_fault_and_a_mistake_with_traceback_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError):
        run_script(fail)
    monkeypatch.setattr(sys, "argv", ["train.py", "--traceback"])
    with pytest.raises(ValueError, match="expected 1"):
        run_script(refuse)


def test_another_process_waits_for_the_first_to_speak(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(scripts.time, "sleep", waited.append)
    for rank in ("0", "3"):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit):
            run_script(refuse)
    assert waited == [scripts.PATIENCE]


def test_what_main_returns_is_of_no_matter() -> None:
    run_script(lambda: 1)
