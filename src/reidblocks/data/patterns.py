"""What a file's path tells of its image, by a pattern such as ``{camera}/{person}_*``."""

import re
from typing import NamedTuple

FIELDS = ("person", "camera", "sequence", "clothes", "modality", "time", "split")
_TOKEN = re.compile(r"\{(?P<field>[^{}]*)\}|(?P<any>\*\*/?|\*)|(?P<digits>#)|(?P<text>[^{}*#]+)|.")


class Pattern(NamedTuple):
    """A pattern ready to match paths with; see `compile_pattern`."""

    text: str
    fields: tuple[str, ...]
    regex: re.Pattern[str]

    def match(self, path: str) -> dict[str, str] | None:
        """Return what a path tells, or None if it is not of this pattern."""
        found = self.regex.fullmatch(path)
        return None if found is None else found.groupdict()


def compile_pattern(text: str) -> Pattern:
    """Compile a pattern of paths below a folder; ``read_folder`` tells its rules.

    Raises:
        ValueError: it has no {person}, a field that does not exist or is there twice, two fields
            with nothing between them, or a brace that is not closed.

    >>> compile_pattern("{camera}/{person}_*.jpg").match("hall/anna_03.JPG")
    {'camera': 'hall', 'person': 'anna'}
    """
    told = f"the pattern {text!r}"
    tokens = list(_TOKEN.finditer(text))
    fields: list[str] = []
    parts: list[str] = []
    for place, token in enumerate(tokens):
        kind = token.lastgroup
        if kind is None:
            raise ValueError(f"{told} has a brace that is not closed or not opened")
        if kind == "text":
            parts.append(re.escape(token["text"]))
        elif kind == "digits":
            parts.append("[0-9]+")
        elif kind == "any":
            parts.append({"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}[token["any"]])
        else:
            field = token["field"]
            if field not in FIELDS or field in fields:
                why = "twice" if field in fields else f"which is none of {', '.join(FIELDS)}"
                raise ValueError(f"{told} has {{{field}}}, {why}")
            fields.append(field)
            parts.append(f"(?P<{field}>[^/{_end(told, token, tokens[place + 1 :])}]+)")
    if "person" not in fields:
        raise ValueError(f"{told} has no {{person}}: it must tell whom an image shows")
    return Pattern(text, tuple(fields), re.compile("".join(parts), re.IGNORECASE))


def _end(told: str, field: re.Match[str], rest: list[re.Match[str]]) -> str:
    """What a field cannot hold, as the pattern continues with it."""
    if not rest:
        return ""
    if rest[0]["text"]:
        return re.escape(rest[0]["text"][0])
    if rest[0]["digits"]:
        return "0-9"
    raise ValueError(
        f"{told} does not say where {field[0]} ends: after it comes {rest[0][0]}; put what stands "
        "between them in the names, such as _ or /"
    )
