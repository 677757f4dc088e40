"""How every command of this folder is told its configuration.

A preset gives every field of the configuration a value, then a file, then flags. How a command
ends on a user's mistake, and on a fault of ours, is ``reidblocks.training.run_script``'s matter.
"""

import argparse
import dataclasses
import difflib
import io
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

from config import PRESETS, MDPRConfig, expect_fields, read_json, settings, unlike


class ScriptParser(argparse.ArgumentParser):
    """Raise what is wrong with the flags, as all else that is refused is raised."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def script_parser(description: str | None, **options: Any) -> argparse.ArgumentParser:
    """Begin the parser of a script, which takes ``--traceback``."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = ScriptParser(description=description, formatter_class=raw, **options)
    parser.add_argument("--traceback", action="store_true", help="show where an error was raised")
    return parser


def field_parser() -> argparse.ArgumentParser:
    """Take every field of the configuration as a flag; those not named are not in the result."""
    parser = ScriptParser(add_help=False, allow_abbrev=False)
    group: Any = parser
    for field in dataclasses.fields(MDPRConfig):
        if field.metadata["group"]:
            group = parser.add_argument_group(field.metadata["group"])
        group.add_argument(flag(field.name), default=argparse.SUPPRESS, **_reader(field))
    return parser


def parse(arguments: Sequence[str], **extra: dict[str, Any]) -> tuple[MDPRConfig, dict[str, Any]]:
    """Read a preset, the fields that a file changes, and those that flags change, in this order.

    ``extra`` are options of the caller's own. The second result holds them, under "changed" the
    fields that file and flags named, and under "flags" those of the flags alone.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # --help has signs that not every terminal shows
    parser = script_parser(
        "A preset gives every field a value, a file changes some, flags others.\n"
        "The defaults below are the preset market1501, as in the paper but for --circle.",
        usage="%(prog)s [--preset NAME] [--config FILE] [--FIELD VALUE ...]",
        parents=[field_parser()],
        allow_abbrev=False,
    )
    parser.add_argument("--preset", choices=sorted(PRESETS), help="to begin with (market1501)")
    parser.add_argument("--config", metavar="FILE", help="JSON file of fields: a run's config.json")
    for name, options in extra.items():
        parser.add_argument(flag(name), **options)
    known, unknown = parser.parse_known_args(arguments)
    if unknown:
        names = [*vars(MDPRConfig()), *extra, "preset", "config"]
        flags = [flag(f"{no}{name}") for name in names for no in ("", "no_")]
        near = "".join(difflib.get_close_matches(unknown[0].split("=")[0], flags, 1, cutoff=0.8))
        raise ValueError(f"unknown: {' '.join(unknown)}{near and f'; is {near} meant?'}")
    given = vars(known)
    del given["traceback"]  # `run_script` looks for it
    preset, file = given.pop("preset"), given.pop("config")
    options = {name: given.pop(name) for name in extra}
    of_file = read_fields(Path(file)) if file else {}
    try:
        config = dataclasses.replace(PRESETS[preset or "market1501"], **{**of_file, **given})
    except ValueError as error:
        name, _, rest = str(error).partition(" ")
        if name in of_file and name not in given:
            raise ValueError(f"{file}: {error}") from error
        if name in vars(MDPRConfig()):
            raise ValueError(f"{flag(name)} {rest}") from error
        raise
    named = {name: getattr(config, name) for name in {**of_file, **given}}
    base = {"preset": preset} if preset else {}
    return config, {**options, "changed": named | base, "flags": {n: named[n] for n in given}}


def read_fields(path: Path) -> dict[str, Any]:
    """Read the fields of a JSON file: written as flags, they are read as those are."""
    values, words = read_json(path), []
    try:
        if not isinstance(values, dict):
            raise ValueError("it must hold an object: {field: value, ...}")
        expect_fields(values)
        for name, value in values.items():
            if isinstance(value, bool):
                words.append(flag(name) if value else flag(f"no_{name}"))
            elif isinstance(value, list):
                words += [flag(name), *map(str, value)]
            elif value is None and isinstance(getattr(MDPRConfig(), name), str):
                raise ValueError(f"{name} must not be null")
            else:
                words.append(f"{flag(name)}={'none' if value is None else value}")
        return vars(field_parser().parse_args(words))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def flag(field: str) -> str:
    """Name the flag of a field."""
    return f"--{field.replace('_', '-')}"


def refuse_unused(config: MDPRConfig, flags: Mapping[str, Any]) -> None:
    """Raise if a flag asks for something that does not exist in this configuration.

    A flag that turns a thing off is fine where there is no such thing.
    """
    for name, why in without_effect(config).items():
        if flags.get(name):
            raise ValueError(f"{flag(name)} has no effect, as {why}: leave it out")
    if "features" in flags:
        config.with_features(flags["features"])


def without_effect(config: MDPRConfig) -> dict[str, str]:
    """Name the fields that change nothing in this configuration, each with the reason."""
    parts = {field.name: field.metadata["part"] for field in dataclasses.fields(config)}
    unused: dict[str, str] = {}
    if config.network != "mdpr":
        names = [name for name, part in parts.items() if part]
        unused = dict.fromkeys(names, f"the network is the baseline {config.network}")
        if config.network == "pcb":
            del unused["num_parts"]
        elif config.network == "bnneck":
            unused["embed_dim"] = "bnneck's embedding is as wide as the backbone's last map"
    elif config.branches != "both":
        absent = "soft" if config.branches == "hard" else "hard"
        names = [name for name, part in parts.items() if part in (absent, "both")]
        unused = dict.fromkeys(names, f"the {absent} branch is not built")
    if config.circle == "pair":
        unused["label_smoothing"] = "the circle loss is over pairs (--circle pair)"
    return unused


def refuse_other_network(theirs: MDPRConfig, changed: Mapping[str, Any], start: Path) -> None:
    """Raise if a flag or the file asks for another network than the checkpoint's."""
    own = vars(theirs) | {"weights": "its own"}
    names = (*settings("network"), "weights", "background_bias")
    if other := [name for name in names if changed.get(name, own[name]) not in (own[name], "")]:
        raise ValueError(
            f"--start trains on the network of {start}, which has {unlike(other, own, changed)}. "
            f"Leave out {', '.join(map(flag, other))}, or train a new network without --start"
        )


def _reader(field: dataclasses.Field[Any]) -> dict[str, Any]:
    """Say how a field's flag is read, and what it is for."""
    hint = typing.get_type_hints(MDPRConfig)[field.name]
    default = " ".join(field.default) if isinstance(field.default, tuple) else field.default
    if isinstance(default, bool):
        default = "yes" if default else "no"
    elif default in (None, ""):
        default = "none" if default is None else "empty"
    told = f"{field.metadata['told']}; default {default}".replace("%", "%%")
    reader: dict[str, Any] = {"help": told}
    origin = typing.get_origin(hint)
    if origin is Literal:
        return reader | {"choices": typing.get_args(hint)}
    if origin is tuple:
        return reader | {"nargs": "+", "metavar": "NAME"}
    if origin is types.UnionType:
        return reader | {"type": number_or_none, "metavar": "X|none"}
    if hint is bool:
        return reader | {"action": argparse.BooleanOptionalAction}
    return reader | {"type": hint, "metavar": {int: "N", float: "X", str: "TEXT"}[hint]}


def number_or_none(text: str) -> float | None:
    return None if text.lower() == "none" else float(text)
