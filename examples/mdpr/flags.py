"""How a run is told its configuration: by a preset, then a file, then flags."""

import argparse
import dataclasses
import difflib
import io
import itertools
import json
import sys
import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from config import PRESETS, MDPRConfig, check_fields

# Where --help begins a new paragraph: the field, and what is said above it.
GROUPS = {
    "dataset": "the images",
    "network": "the network (sections III-A to III-C)",
    "circle": "the objective (section III-D)",
    "epochs": "the training (section IV-B)",
    "sync_bn": "how it is run",
}


def parse(arguments: Sequence[str], **extra: dict[str, Any]) -> tuple[MDPRConfig, dict[str, Any]]:
    """Read a preset, the fields that a file changes, and those that flags change, in this order.

    ``extra`` are options of the caller's own. The second result holds them, and under "changed"
    the fields that file and flags named.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # --help has signs that not every terminal shows
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="%(prog)s [--preset NAME] [--config FILE] [--FIELD VALUE ...]",
        description="A preset gives every field a value, a file changes some, flags others.\n"
        "The defaults below are the preset market1501, as in the paper.",
    )
    parser.add_argument("--preset", choices=sorted(PRESETS), help="to begin with (market1501)")
    parser.add_argument(
        "--config", metavar="FILE", help="JSON file of fields, as a run's config.json"
    )
    for name, options in extra.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **options)
    fields: Any = parser
    for field in dataclasses.fields(MDPRConfig):
        if field.name in GROUPS:
            fields = parser.add_argument_group(GROUPS[field.name])
        flag = f"--{field.name.replace('_', '-')}"
        fields.add_argument(flag, default=argparse.SUPPRESS, **_reader(field))
    known, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(f"unknown: {' '.join(unknown)}{_meant(unknown[0], arguments, extra)}")
    flags = vars(known)
    preset, file = flags.pop("preset"), flags.pop("config")
    options = {name: flags.pop(name) for name in extra}
    try:
        changed = {**(read_fields(Path(file)) if file else {}), **flags}
        config = dataclasses.replace(PRESETS[preset or "market1501"], **changed)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    options["changed"] = {**changed, **({"preset": preset} if preset else {})}
    return config, options


def read_fields(path: Path) -> dict[str, Any]:
    """Read some of the fields from a JSON file, each of its type."""
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read the configuration {path}: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold an object: {{field: value, ...}}")
    try:
        return check_fields(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _reader(field: dataclasses.Field[Any]) -> dict[str, Any]:
    """Say how a field's flag is read, and what it is for."""
    annotated = typing.get_type_hints(MDPRConfig, include_extras=True)[field.name]
    hint = typing.get_type_hints(MDPRConfig)[field.name]
    words = [*getattr(annotated, "__metadata__", ()), *field.metadata.values()]
    default = " ".join(field.default) if isinstance(field.default, tuple) else field.default
    if isinstance(default, bool):
        default = "yes" if default else "no"
    elif default in (None, ""):
        default = "none" if default is None else "empty"
    reader: dict[str, Any] = {"help": "; ".join([*words, f"default {default}"]).replace("%", "%%")}
    origin = typing.get_origin(hint)
    if origin is Literal:
        return reader | {"choices": typing.get_args(hint)}
    if origin is tuple:
        return reader | {"nargs": "+", "action": _Tuple, "metavar": "NAME"}
    if origin is types.UnionType:
        return reader | {"type": _number_or_none, "metavar": "X|none"}
    if hint is bool:
        return reader | {"action": argparse.BooleanOptionalAction}
    return reader | {"type": hint, "metavar": {int: "N", float: "X", str: "TEXT"}[hint]}


class _Tuple(argparse.Action):
    """Keep several words as a tuple, as a frozen field wants them."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        setattr(namespace, self.dest, tuple(values))


def _number_or_none(text: str) -> float | None:
    try:
        return None if text.lower() == "none" else float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"a number or none is expected, got {text}") from error


def _meant(word: str, arguments: Sequence[str], extra: Iterable[str]) -> str:
    """Name the flag that is nearest to an unknown one, or that wants no such value, if any."""
    hints = typing.get_type_hints(MDPRConfig)
    switches = [name.replace("_", "-") for name, hint in hints.items() if hint is bool]
    if not word.startswith("-"):
        for flag, value in itertools.pairwise(arguments):
            name = flag.removeprefix("--").removeprefix("no-")
            if value == word and flag.startswith("--") and name in switches:
                return f"; --{name} takes no value: use --{name} or --no-{name}"
        return ""
    names = [*hints, *extra, "preset", "config"]
    flags = [*(name.replace("_", "-") for name in names), *(f"no-{name}" for name in switches)]
    near = difflib.get_close_matches(word.split("=")[0].lstrip("-"), flags, 1, cutoff=0.75)
    return f"; is --{near[0]} meant?" if near else ""
