"""Copy files into the pages that show them: python docs/tools/copied.py PAGE...

A block of Python after `<!-- file: PATH -->` becomes what is in that file of the repository.
tests/docs/test_snippets.py fails where the two differ.
"""

import re
import sys
from pathlib import Path

from reidblocks.training import write_file

ROOT = Path(__file__).resolve().parents[2]
COPY = re.compile(r"(<!-- file: (\S+) -->\n+```python\n).*?(^```\n)", re.DOTALL | re.MULTILINE)


def copy(page: Path) -> None:
    def fill(found: re.Match[str]) -> str:
        return found[1] + (ROOT / found[2]).read_text() + found[3]

    write_file(page, COPY.sub(fill, page.read_text()))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        copy(Path(name))
