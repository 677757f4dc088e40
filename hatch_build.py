"""What PyPI shows: the README with absolute links, and the project's addresses.

Both come from one constant, `address` in pyproject.toml, such as https://github.com/me/reidblocks.
While it is empty, links stay relative and there are no addresses.
"""

import re
from pathlib import Path
from typing import Any

try:
    from hatchling.metadata.plugin.interface import MetadataHookInterface
except ModuleNotFoundError:  # the tests use the two functions alone
    MetadataHookInterface = object

LINK = re.compile(
    r"(!?)(\[(?:[^\[\]]|!?\[[^\[\]]*\](?:\([^)]*\))?)*\]\()(?!https?:|#|mailto:)([^)\s]+)\)"
)
IMAGE = re.compile(r'(<img\b[^>]*?\ssrc=")(?!https?:)([^"]+)"')
CODE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def absolute(readme: str, address: str) -> str:
    """Make links to files of the repository absolute, other than in code."""
    if not address:
        return readme

    def link(found: re.Match[str]) -> str:
        kind = "raw" if found[1] else "blob"
        return f"{found[1]}{found[2]}{address}/{kind}/main/{found[3]})"

    parts = CODE.split(readme)
    parts[::2] = (
        IMAGE.sub(rf'\1{address}/raw/main/\2"', LINK.sub(link, part)) for part in parts[::2]
    )
    return "".join(parts)


def urls(address: str) -> dict[str, str]:
    """Name the pages that PyPI links next to the README."""
    if not address:
        return {}
    return {
        "Source": address,
        "Documentation": f"{address}/tree/main/docs",
        "Changelog": f"{address}/blob/main/CHANGELOG.md",
        "Issues": f"{address}/issues",
    }


class ProjectAddress(MetadataHookInterface):
    """Fill the metadata that pyproject.toml calls dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        address = self.config["address"].rstrip("/")
        readme = Path(self.root, "README.md").read_text("utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": absolute(readme, address),
        }
        if address:
            metadata["urls"] = urls(address)
