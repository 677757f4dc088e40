"""The site builds without a warning, asks nothing of a network, and fits a desk and a phone."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FETCHED = re.compile(  # what a browser loads by itself: not links, which wait for a click
    r"<(?:script|img|iframe|source)[^>]*?\ssrc=[\"']?(https?:)?//"
    r"|<link[^>]*?rel=[\"']?(?:stylesheet|preconnect|icon|preload)[^>]*?href=[\"']?(https?:)?//"
    r"|@import\s+[\"']?(https?:)?//|url\([\"']?(https?:)?//"
)
# What reaches beyond the page's right edge, other than inside a box that scrolls.
BEYOND = """() => [...document.querySelectorAll('.md-content *')].filter((element) => {
  if (element.getBoundingClientRect().right <= innerWidth + 1) return false;
  for (let box = element.parentElement; box.tagName !== 'BODY'; box = box.parentElement)
    if (getComputedStyle(box).overflowX !== 'visible') return false;
  return true;
}).map((element) => `${element.tagName} ${element.textContent.slice(0, 60)}`)"""
# Nothing in between may hide what is cut off: these boxes scroll, and must have something to.
HIDDEN = """() => [...document.querySelectorAll('.md-content *')].filter((element) =>
  ['hidden', 'clip'].includes(getComputedStyle(element).overflowX)
  && element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 1
).map((element) => `${element.tagName}.${element.className} ${element.textContent.slice(0, 60)}`)"""
# An equation that was made smaller to fit can no longer be read.
SHRUNK = """() => [...document.querySelectorAll('.equation svg')].filter((svg) =>
  svg.getBoundingClientRect().width > 0 && svg.getBoundingClientRect().width
  < 0.95 * parseFloat(svg.getAttribute('width')) * parseFloat(getComputedStyle(svg).fontSize)
).map((svg) => `shrunk: ${svg.getAttribute('aria-label')}`)"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("mkdocs") is None, reason="needs the extra docs (mkdocs)"
    ),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


def test_the_site_needs_no_network(site: Path) -> None:
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert pages
    for page in pages:
        text = page.read_text()
        assert not FETCHED.search(text), f"{page.name}: {FETCHED.search(text)}"
        assert 'class="arithmatex"' not in text, f"{page.name} has an equation that was not set"


@pytest.mark.parametrize("width", [1280, 390])
def test_the_search_works_by_double_click(
    site: Path, open_page: Callable[..., Any], width: int
) -> None:
    page = open_page(site / "index.html", width=width)
    if width < 1000:  # behind a button there
        page.locator(".md-header__button[for=__search]").click()
    page.get_by_role("textbox", name="Search").press_sequentially("dropped query")
    found = page.locator(".md-search-result__link[href*='faq.html']")
    found.first.wait_for(timeout=20_000)
    found.first.click()
    page.wait_for_url("**/faq.html*")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_page_fits(
    site: Path, open_page: Callable[..., Any], width: int, scheme: str
) -> None:
    faults = []
    pages = sorted(page for page in site.rglob("*.html") if page.name != "404.html")
    view = open_page(pages[0], width=width, color_scheme=scheme)
    for page in pages:
        view.goto(page.as_uri())
        view.wait_for_function("[...document.images].every((image) => image.complete)")
        broken = "[...document.images].filter((i) => !i.naturalWidth).map((i) => i.src)"
        found = [
            *view.evaluate(BEYOND),
            *view.evaluate(HIDDEN),
            *view.evaluate(SHRUNK),
            *view.evaluate(broken),
        ]
        if view.evaluate("document.documentElement.scrollWidth") > width:
            found.append("the page scrolls sideways")
        faults += [f"{page.relative_to(site)}: {fault}" for fault in found]
    assert len(pages) > 30
    assert not faults, "\n".join(faults)
