"""Put the house's docstrings into the words that the API pages are made from."""

import re
from textwrap import dedent
from typing import Any

from griffe import Class, Extension, Object

DOCTEST = re.compile(r"^>>> .*?(?=\n\s*\n|\Z)", re.DOTALL | re.MULTILINE)
ARXIV = re.compile(r"arXiv[ :](\d{4}\.\d{4,5})(?![^\[\]]*\]\()")  # outside of a link
SHAPE = re.compile(r"^Shape:(?: (.+)|\n((?: {4}.*(?:\n|\Z)|\n(?= {4}))+))", re.MULTILINE)
SEVERAL = re.compile(r"^ {4}(\w+(?:, \w+)+): (.*(?:\n {8}.*)*)", re.MULTILINE)


class HouseStyle(Extension):
    """Runs while docstrings are still text.

    Doctests become code, Shape a paragraph, numbers of arXiv links, and "mean, std: …" an entry
    for each of the two.
    """

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            text = DOCTEST.sub(lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value)
            text = ARXIV.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", text)
            text = SHAPE.sub(lambda found: f"**Shape:** {found[1] or dedent(found[2])}", text)
            obj.docstring.value = SEVERAL.sub(_one_each, text)

    def on_class(self, *, cls: Class, **_: Any) -> None:
        """Show the fields of a named tuple, with the comments beside them."""
        if cls.docstring and "NamedTuple" in map(str, cls.bases):
            lines = [
                line
                for field in cls.attributes.values()
                for line in field.lines
                if "property" not in field.labels
            ]
            fields = dedent("\n".join(lines))
            cls.docstring.value += f"\n\n```python\n{fields}\n```"


def _one_each(found: re.Match[str]) -> str:
    """Turn "mean, std: of each channel" into an entry for each name."""
    return "\n".join(f"    {name}: {found[2]}" for name in found[1].split(", "))
