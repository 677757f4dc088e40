"""The example can be read from the top: no file uses one that its README lists below it."""

import ast
import re
from pathlib import Path

import pytest

import train

EXAMPLE = Path(train.__file__).parent


def listed(readme: Path) -> list[str]:
    """Name the files of a README's first table, in its order."""
    table = readme.read_text().split("|---|---|\n")[1].split("\n\n")[0]
    return re.findall(r"`(\w+)\.py`", "\n".join(row.split("|")[1] for row in table.splitlines()))


def used_by(file: Path) -> set[str]:
    """Name the modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("folder", [EXAMPLE, EXAMPLE / "ablation"], ids=lambda path: path.name)
def test_the_readme_lists_every_file(folder: Path) -> None:
    names = listed(folder / "README.md")
    assert sorted(names) == sorted(path.stem for path in folder.glob("*.py"))


def test_a_file_uses_only_those_above_it() -> None:
    names = listed(EXAMPLE / "README.md")
    for place, name in enumerate(names):
        below = used_by(EXAMPLE / f"{name}.py") & {*names[place:]}
        assert not below, f"{name}.py uses {', '.join(sorted(below))}"


def test_the_example_does_not_use_its_ablation() -> None:
    there = {path.stem for path in (EXAMPLE / "ablation").glob("*.py")}
    for path in EXAMPLE.glob("*.py"):
        assert not used_by(path) & there, path.name


def handed_on(node: ast.AST) -> list[str]:
    """Name what a function hands ``config`` to, or the training that has it, line by line."""
    calls = [call for call in ast.walk(node) if isinstance(call, ast.Call)]
    found = []
    for call in sorted(calls, key=lambda call: (call.lineno, call.col_offset)):
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        names = {getattr(each, "id", getattr(each, "attr", "")) for each in given}
        if names & {"config", "training"} and isinstance(call.func, ast.Name):
            found.append(call.func.id)
    return found


def walk_of_config() -> list[str]:
    """Follow ``config`` from train.py on; name each file where it first gets there."""
    places: dict[tuple[str, str], tuple[str, ast.AST]] = {}  # of a name as a file knows it
    for file in EXAMPLE.glob("*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                places[file.stem, node.name] = (file.stem, node)
    for file in EXAMPLE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                for name in (alias.name for alias in node.names):
                    if (node.module, name) in places:
                        places[file.stem, name] = places[node.module, name]
    files: list[str] = []
    seen: set[ast.AST] = set()

    def follow(file: str, name: str) -> None:
        place, node = places.get((file, name), (file, None))
        if node is None or node in seen:
            return
        seen.add(node)
        if place not in files:
            files.append(place)
        for target in handed_on(node):
            follow(place, target)

    follow("train", "main")
    return files


def test_who_follows_config_climbs_back_up_three_times_at_most() -> None:
    names, walk = listed(EXAMPLE / "README.md"), walk_of_config()
    assert {"train", "run", "build", "model", "criterion", "report"} <= {*walk}
    places = [names.index(file) for file in walk]
    climbs = [
        f"{walk[n]} → {walk[n + 1]}" for n in range(len(walk) - 1) if places[n + 1] < places[n]
    ]
    assert len(climbs) <= 3, climbs


@pytest.mark.parametrize("number", range(1, 10))
def test_every_equation_of_the_paper_is_named_where_it_is(number: int) -> None:
    lines = [*(EXAMPLE / "model.py").open(), *(EXAMPLE / "criterion.py").open()]
    assert any(re.search(rf"Eq\. (\d and )?{number}\b", line) for line in lines)
