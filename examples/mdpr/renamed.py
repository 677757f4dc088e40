"""What older versions called otherwise in the folders that ``share.py`` writes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor


class Renaming(NamedTuple):
    """What one format calls otherwise than the one before it."""

    fields: Mapping[str, str | None] = {}  # of the configuration, old → new; None: there no longer
    weights: Mapping[str, str] = {}  # beginnings of the weights' names, whole words up to a dot


# By the number of the format that brought the new names. A name that changes gets an entry here,
# ``share.FORMAT`` goes up by one, and tests/examples/pretrained keeps a folder of the old format.
RENAMED: Mapping[int, Renaming] = {}


def with_new_names(
    fields: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    written: int,
    renamed: Mapping[int, Renaming] = RENAMED,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Rename what a folder of format ``written`` holds, one format after another."""
    fields, weights = dict(fields), dict(weights)
    for number in sorted(number for number in renamed if number > written):
        names = renamed[number]
        pairs = [(names.fields.get(name, name), value) for name, value in fields.items()]
        fields = {name: value for name, value in pairs if name is not None}
        weights = {_rename(name, names.weights): value for name, value in weights.items()}
    return fields, weights


def _rename(name: str, beginnings: Mapping[str, str]) -> str:
    """Change the longest beginning that the name has, once."""
    fitting = [old for old in beginnings if f"{name}.".startswith(f"{old}.")]
    if not fitting:
        return name
    old = max(fitting, key=len)
    return beginnings[old] + name.removeprefix(old)
