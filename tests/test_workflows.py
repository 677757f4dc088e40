"""What the repository's host runs is YAML, and calls nothing but make targets that are here."""

import re
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="needs pyyaml")

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*ROOT.glob(".github/**/*.yml"), ROOT / ".pre-commit-config.yaml"])
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
COMMAND = re.compile(r"make (?P<target>[a-z-]+|\$\{\{ matrix\.(?P<axis>\w+) \}\}) PYTHON=python")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_is_yaml(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text("utf-8")), dict)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_calls_only_make_targets(path: Path) -> None:
    called = list(targets(yaml.safe_load(path.read_text("utf-8"))))
    assert called
    assert set(called) <= TARGETS, set(called) - TARGETS


def test_all_that_a_change_is_held_to_is_called() -> None:
    called = set(targets(yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text("utf-8"))))
    wanted = {"test", "test-floor", "check", "docs", "test-dist", "test-wheel", "coverage"}
    assert called == wanted


def test_the_systems_and_versions_are_those_promised() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text("utf-8"))["jobs"]
    matrix = jobs["tests"]["strategy"]["matrix"]
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    promised = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text("utf-8"))
    assert matrix["python"] == promised


def test_a_command_that_is_no_make_target_is_noticed() -> None:
    job = {"jobs": {"a": {"steps": [{"run": "pip install x"}]}}}
    with pytest.raises(AssertionError, match="pip install x"):
        list(targets(job))


def targets(workflow: dict[str, Any]) -> Any:
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            for line in step.get("run", "").splitlines():
                found = COMMAND.fullmatch(line)
                assert found, f"no call of a make target: {line}"
                axis = found["axis"]
                yield from job["strategy"]["matrix"][axis] if axis else [found["target"]]
