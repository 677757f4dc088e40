"""Settings every test shares: hypothesis without deadlines, seeds, and where the real files lie."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile(
    "house",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("house")

if "PYTEST_XDIST_WORKER" in os.environ and "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(1)  # one worker per core: no threads of their own


def pytest_report_header() -> str:
    """Say what the tests compute with; tests/cpus.py changes it."""
    return f"torch {torch.__version__}, CPU kernels: {torch.backends.cpu.get_cpu_capability()}"


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images, weights and reference outputs beside the project."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder ../shared (real images, weights, reference outputs)")
    return folder


@pytest.fixture
def open_page() -> Iterator[Callable[..., Any]]:
    """Open a file in headless Chromium, offline; what its console says fails the test.

    The browser ends with the test: its driver leaves when all that hold its pipe have closed it,
    and a process forked meanwhile, as a loader's is, would hold it for as long as it lives.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra dev)")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    said: list[str] = []
    with playwright.sync_playwright() as driver:
        path = found or driver.chromium.executable_path
        if not Path(path).exists():
            pytest.skip("needs a browser: apt-get install chromium, or playwright install chromium")
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])

        def opened(path: Path, width: int = 1280, **options: Any) -> Any:
            page = browser.new_page(viewport={"width": width, "height": 900}, **options)
            page.context.set_offline(True)
            page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on(
                "request",
                lambda request: request.url.startswith("http") and said.append(request.url),
            )
            page.goto(path.as_uri())
            return page

        yield opened
        browser.close()
    assert not said, said
