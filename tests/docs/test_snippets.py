"""Every Python block of the README and of the site's pages runs, page by page, in order.

A page's blocks share one namespace and a folder of their own. A block of text right after one of
Python is what the Python prints. `<!-- needs: NAME -->` before a block names a package without
which the page is skipped from there on. `<!-- file: PATH -->` before a block says that it is that
file of the repository, which has tests of its own: it is compared with it, and not run.
"""

import ast
import contextlib
import importlib.util
import io
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- needs: (?P<needs>\w+) -->\n+|<!-- file: (?P<file>\S+) -->\n+)?"
    r"^(?P<indent> *)```python\n(?P<code>.*?)^(?P=indent)```\n"
    r"(?:\n*(?P=indent)```text\n(?P<printed>.*?)^(?P=indent)```\n)?",
    re.DOTALL | re.MULTILINE,
)
WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text())]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_on_the_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = ModuleType("snippet")
    monkeypatch.setitem(sys.modules, "snippet", module)  # pickle finds the page's classes in it
    namespace = vars(module)
    text = page.read_text()
    for block in BLOCK.finditer(text):
        if block["needs"] and importlib.util.find_spec(block["needs"]) is None:
            pytest.skip(f"the page needs {block['needs']} from here on, which is not installed")
        if block["file"]:
            assert block["code"] == (ROOT / block["file"]).read_text(), (
                f"copy it: python docs/tools/copied.py {page.relative_to(ROOT)}"
            )
            continue
        printed = run(without_indent(block, "code"), page, text, block.start("code"), namespace)
        if block["printed"] is not None:
            assert printed.split() == without_indent(block, "printed").split()


def run(code: str, page: Path, text: str, start: int, namespace: dict[str, Any]) -> str:
    """Run code as if it stood in the page's file, so that a traceback names the page's line."""
    tree = ast.parse(code, str(page))
    ast.increment_lineno(tree, text.count("\n", 0, start))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, str(page), "exec"), namespace)
    return printed.getvalue()


def without_indent(block: re.Match[str], name: str) -> str:
    indent = len(block["indent"])
    return "".join(line[indent:] for line in block[name].splitlines(keepends=True))
