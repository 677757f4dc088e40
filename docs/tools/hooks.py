"""What the site's build adds to the pages: mathematics as SVG, and the pictures."""

import functools
import html
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import ziamath
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))  # mkdocs loads a hook by its path
from pictures import draw_all

EQUATION = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)
POINTS = 18  # any size: the drawing is scaled to the text around it


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the pictures; they are drawn once, also where `mkdocs serve` builds again."""
    for name, content in _pictures().items():
        files.append(File.generated(config, f"pictures/{name}", content=content))
    return files


def on_post_page(output: str, **_: Any) -> str:
    """Set each equation of a page, those of docstrings included."""
    return EQUATION.sub(lambda found: _set_equation(found[2]), output)


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
    """Draw an SVG that scales with the text, takes its colour and stands on its line.

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
