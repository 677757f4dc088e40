"""A run says where it was made."""

import json
import subprocess
from pathlib import Path

from reidblocks.training import describe_environment


def test_the_commit_is_told_and_whether_files_differ(tmp_path: Path) -> None:
    assert describe_environment(tmp_path)["commit"] is None

    def git(*words: str) -> str:
        settings = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", "-C", tmp_path, *settings, *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "a")
    commit = git("rev-parse", "HEAD")
    assert describe_environment(tmp_path)["commit"] == commit
    (tmp_path / "a").write_text("2")
    assert describe_environment(tmp_path)["commit"] == commit + "+"
    json.dumps(describe_environment(tmp_path))


def test_the_machine_is_told() -> None:
    machine = describe_environment(".")["machine"]
    assert machine["processor"]
    assert machine["processors"] >= 1
