"""`make train` prints little: pip's words go to a file, and are shown where it fails."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYTHON = """#!/bin/sh
case "$*" in
  *"pip install"*) seq 1 99; [ -z "$FAILS" ] || { echo "no matching distribution"; exit 1; } ;;
  *) echo "ran $*" ;;
esac
"""

pytestmark = pytest.mark.skipif(
    shutil.which("make") is None or os.name == "nt",
    reason="needs make, and a shell script that stands in for Python",
)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment whose Python says what it is asked to do."""
    python = tmp_path / "environment" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path / "environment"


def make(environment: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "-C", str(ROOT), "--no-print-directory", "train", f"VENV={environment}"]
    known = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(command, env=known | variables, capture_output=True, text=True)


def test_installing_is_quiet(environment: Path) -> None:
    done = make(environment)
    assert done.returncode == 0, done.stderr
    said, trained = done.stdout.splitlines()
    assert said.startswith(f"installing into {environment}")
    assert trained == "ran examples/mdpr/train.py --preset synthetic"
    assert (environment / "install.log").read_text().splitlines() == [*map(str, range(1, 100))]
    assert make(environment).stdout.splitlines() == [trained]  # it is there now


def test_a_failure_shows_the_end_of_what_pip_said(environment: Path) -> None:
    done = make(environment, FAILS="yes")
    assert done.returncode != 0
    *_, last, told = done.stdout.splitlines()
    assert last == "no matching distribution"
    assert told == f"pip failed; all of it is in {environment}/install.log"
    assert "ran" not in done.stdout
    assert not (environment / ".extra-example").exists()
