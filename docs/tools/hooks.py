"""What the site's build adds to the pages: mathematics as SVG, the pictures, tables of names.

`<!-- api: reidblocks.NAME -->` becomes a table of the subpackage's public names, then each of them
with its docstring; `<!-- names: reidblocks.NAME -->` is the table alone. Functions and modules of
torch come first, then other classes, constants, and exceptions last.
"""

import functools
import html
import importlib
import inspect
import re
import sys
import types
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import ziamath
from mkdocs.structure.files import File, Files
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))  # mkdocs loads a hook by its path
from pictures import draw_all

EQUATION = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)
NAMES = re.compile(r"^<!-- (api|names): (\S+) -->$", re.MULTILINE)
POINTS = 18  # any size: the drawing is scaled to the text around it


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the pictures; they are drawn once, also where `mkdocs serve` builds again."""
    for name, content in _pictures().items():
        files.append(File.generated(config, f"pictures/{name}", content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Write the public names of a subpackage where a page asks for them."""
    return NAMES.sub(lambda found: _public_names(found[2], whole=found[1] == "api"), markdown)


def on_post_page(output: str, **_: Any) -> str:
    """Set each equation of a page, those of docstrings included."""
    return EQUATION.sub(lambda found: _set_equation(found[2]), output)


def _public_names(subpackage: str, whole: bool) -> str:
    module = importlib.import_module(subpackage)
    kinds = sorted((_kind(getattr(module, name)), name) for name in module.__all__)
    # blocks and losses have pages of their own, which know them under the package's name
    prefix = subpackage if whole else subpackage.partition(".")[0]
    rows = [f"| [`{name}`][{prefix}.{name}] | {_summary(module, name)} |" for _, name in kinds]
    table = "\n".join(["| name | what it does |", "|---|---|", *rows])
    if not whole:
        return table
    return "\n\n".join([table, *(f"::: {subpackage}.{name}" for _, name in kinds)])


def _kind(thing: object) -> int:
    """Return the place on the page: what acts, other classes, constants, exceptions."""
    if not inspect.isclass(thing):
        return 0 if callable(thing) else 2
    return 3 if issubclass(thing, BaseException) else int(not issubclass(thing, nn.Module))


def _summary(module: Any, name: str) -> str:
    thing = getattr(module, name)
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        kind = type(thing)
        return "a type" if kind is types.UnionType or callable(thing) else f"a `{kind.__name__}`"
    text = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return text.replace("|", "\\|")


@functools.cache
def _pictures() -> dict[str, bytes]:
    return draw_all()


def _set_equation(source: str) -> str:
    r"""Set \(…\) in the line, and \[…\] on lines of its own, cut at each \qquad to fit a phone."""
    latex = html.unescape(source).strip()
    inline, latex = latex.startswith(r"\("), latex[2:-2].strip()
    pieces = [latex] if inline else [piece.strip() for piece in latex.split(r"\qquad")]
    drawn = " ".join(_draw(piece, inline) for piece in pieces)
    return f'<span class="equation{"" if inline else " display"}">{drawn}</span>'


@functools.cache
def _draw(latex: str, inline: bool) -> str:
    """Draw an SVG that scales with the text, takes its color and stands on its line.

    An error here names the equation and ends the build.
    """
    try:
        drawn = ziamath.Latex(latex, size=POINTS, inline=inline, color="currentColor")
    except Exception as error:
        raise ValueError(f"cannot set the equation {latex!r}: {error}") from error
    svg = drawn.svgxml()
    width, height = (float(svg.attrib[side]) / POINTS for side in ("width", "height"))
    top = float(svg.attrib["viewBox"].split()[1]) / POINTS
    svg.attrib |= {"width": f"{width:.3f}em", "height": f"{height:.3f}em"}
    svg.attrib |= {"role": "img", "aria-label": latex}
    svg.attrib["style"] = f"vertical-align:{-(height + top):.3f}em"
    return ElementTree.tostring(svg, encoding="unicode")
