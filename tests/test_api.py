"""The public API, name by name, as it stands in tests/api.txt: a change to it is seen in review.

``python tests/test_api.py`` writes the file again, after a change that is meant.
"""

import ast
import difflib
import importlib
import inspect
import itertools
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "reidblocks"
SNAPSHOT = Path(__file__).with_name("api.txt")

Definition = ast.ClassDef | ast.FunctionDef


def subpackages() -> list[str]:
    inner = (path.parent.name for path in SOURCE.glob("*/__init__.py"))
    return ["reidblocks", *sorted(f"reidblocks.{name}" for name in inner if name[0] != "_")]


def public_api() -> list[str]:
    """Return a line for each public name, and one for each public field and method of a class."""
    lines = []
    for package in subpackages():
        module = importlib.import_module(package)
        for name in sorted(module.__all__):
            lines += [f"{package}.{line}" for line in described(module, name)]
    return lines


def described(module: ModuleType, name: str) -> Iterator[str]:
    value = getattr(module, name)
    told = inspect.isclass(value) or inspect.isfunction(value)
    if not (told and value.__module__.startswith("reidblocks")):
        yield f"{name}: a constant or an alias"
        return
    if module.__name__ == "reidblocks":
        yield f"{name} of {value.__module__.rpartition('.')[0]}"  # told in full there
        return
    node = definition(value)
    if isinstance(node, ast.FunctionDef):
        yield f"{name}{signature(node)}"
        return
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    yield f"{name}({bases})"
    bodies = [node.body, *(definition(base).body for base in value.__mro__[1:] if is_hidden(base))]
    own: set[str] = set()
    for part in itertools.chain.from_iterable(bodies):
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            if not part.target.id.startswith("_"):
                yield f"{name}.{ast.unparse(part)}"
        elif isinstance(part, ast.FunctionDef) and part.name not in own:
            overloaded = any(ast.unparse(mark) == "overload" for mark in part.decorator_list)
            if (part.name in ("__init__", "__call__") or part.name[0] != "_") and not overloaded:
                own.add(part.name)
                is_property = any(ast.unparse(mark) == "property" for mark in part.decorator_list)
                yield f"{name}.{part.name}{': a property' if is_property else signature(part)}"


def is_hidden(base: type) -> bool:
    """Return whether a class is ours and not public; what it defines is told with its heirs."""
    if not base.__module__.startswith("reidblocks."):
        return False
    package = importlib.import_module(base.__module__.rpartition(".")[0])
    return base.__name__ not in getattr(package, "__all__", ())


def definition(value: type | object) -> Definition:
    """Return the syntax of a class or function: the same on every version of Python."""
    path = importlib.import_module(value.__module__).__file__
    assert path is not None
    tree = ast.parse(Path(path).read_text("utf-8"))
    found = [
        node
        for node in tree.body
        if isinstance(node, Definition) and node.name == value.__name__  # type: ignore[attr-defined]
    ]
    return found[-1]  # after its overloads


def signature(node: ast.FunctionDef) -> str:
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(node.args)}){result}"


def test_the_public_api_is_as_it_was_reviewed() -> None:
    reviewed, now = SNAPSHOT.read_text("utf-8").splitlines(), public_api()
    difference = "\n".join(difflib.unified_diff(reviewed, now, "reviewed", "now", lineterm="", n=0))
    assert not difference, f"{difference}\nIf this is meant: python tests/test_api.py"


@pytest.mark.parametrize("package", subpackages())
def test_what_is_public_is_there_and_told_once(package: str) -> None:
    module = importlib.import_module(package)
    names = module.__all__
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(module, name)] == []


if __name__ == "__main__":
    SNAPSHOT.write_text("\n".join(public_api()) + "\n", "utf-8")
