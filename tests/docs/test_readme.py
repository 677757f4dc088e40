"""The README's links: to files that read well; absolute where the project has an address."""

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "https://example.org/me/reidblocks"
TARGET = re.compile(r'\]\(([^)\s]+)\)|\ssrc="([^"]+)"')


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def targets(readme: str) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", readme, flags=re.DOTALL | re.MULTILINE)
    return [first or second for first, second in TARGET.findall(text)]


def test_every_link_is_of_a_file_that_reads_well_as_it_is() -> None:
    local = [target for target in targets(readme()) if "://" not in target]
    assert len(local) > 20
    for target in local:
        path = ROOT / target.partition("#")[0]
        assert path.exists(), target
        if path.suffix == ".md":
            text = path.read_text("utf-8")
            directives = re.search(r"^(::: |--8<--|<!-- (api|names): )", text, re.MULTILINE)
            assert directives is None, f"{target} is made of directives: link another page"


def test_without_an_address_links_stay_relative(hook: ModuleType) -> None:
    assert hook.absolute(readme(), "") == readme()
    assert hook.urls("") == {}


def test_with_an_address_every_link_and_picture_is_absolute(hook: ModuleType) -> None:
    written = hook.absolute(readme(), ADDRESS)
    assert all("://" in target for target in targets(written))
    assert f"{ADDRESS}/raw/main/docs/assets/quickstart.jpg" in targets(written)
    assert f"{ADDRESS}/blob/main/docs/install.md" in targets(written)
    assert len(targets(written)) == len(targets(readme()))
    assert all(page.startswith(ADDRESS) for page in hook.urls(ADDRESS).values())


def test_code_and_foreign_links_stay(hook: ModuleType) -> None:
    text = "[a](https://b.org) [c](#d)\n\n```python\nx[0](y)\n```\n"
    assert hook.absolute(text, ADDRESS) == text
    assert hook.absolute("[a](b.md#c)", ADDRESS) == f"[a]({ADDRESS}/blob/main/b.md#c)"


def test_the_metadata_comes_from_the_constant(
    hook: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    constant = project["tool"]["hatch"]["metadata"]["hooks"]["custom"]["address"]
    assert {"readme", "urls"} <= set(project["project"]["dynamic"])
    for address in {constant, "", ADDRESS}:
        metadata: dict[str, object] = {}
        plugin = object.__new__(hook.ProjectAddress)
        monkeypatch.setattr(hook.ProjectAddress, "config", {"address": address}, raising=False)
        monkeypatch.setattr(hook.ProjectAddress, "root", str(ROOT), raising=False)
        plugin.update(metadata)
        assert metadata["readme"]["text"] == hook.absolute(readme(), address)  # type: ignore[index]
        assert metadata.get("urls", {}) == hook.urls(address)


def readme() -> str:
    return (ROOT / "README.md").read_text("utf-8")
