"""The site builds without a warning and asks nothing of a network."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FETCHED = re.compile(  # what a browser loads by itself: not links, which wait for a click
    r"<(?:script|img|iframe|source)[^>]*?\ssrc=[\"']?(https?:)?//"
    r"|<link[^>]*?rel=[\"']?(?:stylesheet|preconnect|icon|preload)[^>]*?href=[\"']?(https?:)?//"
    r"|@import\s+[\"']?(https?:)?//|url\([\"']?(https?:)?//"
)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None, reason="needs the extra docs (mkdocs)"
)
def test_the_site_builds_and_needs_no_network(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    pages = [*tmp_path.rglob("*.html"), *tmp_path.rglob("*.css")]
    assert pages
    for page in pages:
        text = page.read_text()
        assert not FETCHED.search(text), f"{page.name}: {FETCHED.search(text)}"
        assert 'class="arithmatex"' not in text, f"{page.name} has an equation that was not set"
