"""How every command of this folder is told its configuration, and how it ends.

A preset gives every field of the configuration a value, then a file, then flags. What is refused
(a value, a file, the data, the weights) ends in its message and exit code 2; ``--traceback`` shows
where. Any other error, such as one of torch's, is a fault of ours and ends in its traceback.
"""

import argparse
import dataclasses
import difflib
import io
import itertools
import os
import re
import sys
import time
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

from config import PRESETS, MDPRConfig, expect_fields, read_json, settings, unlike

MISTAKES = (OSError, ValueError, ImportError, FloatingPointError, MemoryError)
PATIENCE = 60.0  # seconds


class ScriptParser(argparse.ArgumentParser):
    """Parse a script's flags; of several processes, the first alone complains of them."""

    def error(self, message: str) -> NoReturn:
        wait_for_the_first()
        super().error(message)


def script_parser(description: str | None, **options: Any) -> argparse.ArgumentParser:
    """Begin the parser of a script, which takes ``--traceback``."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = ScriptParser(description=description, formatter_class=raw, **options)
    parser.add_argument("--traceback", action="store_true", help="show where an error was raised")
    return parser


def field_parser(**options: Any) -> argparse.ArgumentParser:
    """Take every field of the configuration as a flag; those not named are not in the result."""
    parser: Any = ScriptParser(add_help=False, allow_abbrev=False, **options)
    group = parser
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
        parser.error(f"unknown: {' '.join(unknown)}{_meant(unknown[0], arguments, extra)}")
    flags = vars(known)
    del flags["traceback"]  # `run_script` looks for it
    preset, file = flags.pop("preset"), flags.pop("config")
    options = {name: flags.pop(name) for name in extra}
    of_file: dict[str, Any] = {}
    try:
        if file:
            reader = field_parser(prog=file, usage=argparse.SUPPRESS)
            of_file = vars(reader.parse_args(as_flags(Path(file))))
        config = dataclasses.replace(PRESETS[preset or "market1501"], **{**of_file, **flags})
    except (OSError, ValueError) as error:
        message = told(error)
        name = message.split(" ", 1)[0]
        if name in of_file and name not in flags:
            message = f"{file}: {message}"
        elif name in vars(MDPRConfig()):
            message = flag(name) + message.removeprefix(name)
        parser.error(message)
    named = {"preset": preset} if preset else {}
    return config, {**options, "changed": {**of_file, **flags, **named}, "flags": flags}


def as_flags(path: Path) -> list[str]:
    """Write the fields of a JSON file as flags, which are then read as those are."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold an object: {{field: value, ...}}")
    try:
        expect_fields(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    words: list[str] = []
    for name, value in values.items():
        if isinstance(value, bool):
            words.append(flag(name) if value else flag(f"no_{name}"))
        elif isinstance(value, list):
            words += [flag(name), *map(str, value)]
        else:
            words.append(f"{flag(name)}={'none' if value is None else value}")
    return words


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
    if config.cache:
        unused["workers"] = "cached images are loaded by the process that trains (--cache)"
    return unused


def refuse_other_network(theirs: MDPRConfig, changed: Mapping[str, Any], start: Path) -> None:
    """Raise if a flag or the file asks for another network than that of the checkpoint."""
    named, own = [name for name in settings("network") if name in changed], vars(theirs)
    if other := [name for name in named if changed[name] != own[name]]:
        raise ValueError(
            f"--start trains on the network of {start}, which has {unlike(other, own, changed)}. "
            f"Leave out {', '.join(map(flag, other))}, or train a new network without --start"
        )
    if changed.get("weights"):
        raise ValueError(
            f"--start takes all weights from {start}: leave out --weights {changed['weights']}"
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
    switches = [flag(name) for name, hint in hints.items() if hint is bool]
    offs = [name.replace("--", "--no-", 1) for name in switches]
    if not word.startswith("-"):
        for name, value in itertools.pairwise(arguments):
            if value == word and name in (*switches, *offs):
                on = name.replace("--no-", "--", 1)
                return f"; {on} takes no value: use {on} or {on.replace('--', '--no-', 1)}"
        return ""
    flags = [*map(flag, [*hints, *extra, "preset", "config"]), *offs]
    near = difflib.get_close_matches(word.split("=")[0], flags, 1, cutoff=0.8)
    return f"; is {near[0]} meant?" if near else ""


def run_script(main: Callable[[], Any]) -> None:
    """Run a script's ``main``; exit with code 2 and the message alone on a user's mistake."""
    try:
        main()
    except MISTAKES as error:
        if "--traceback" in sys.argv[1:]:
            raise
        wait_for_the_first()
        name = Path(sys.argv[0]).name
        print(f"{name}: error: {told(error)}\n(--traceback shows where)", file=sys.stderr)
        raise SystemExit(2) from None


def told(error: Exception) -> str:
    """Return an error's message; without the traceback that a loader's process puts before it."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"  # without the system's number
    text = str(error)
    if text.startswith("Caught ") and "Original Traceback" in text:
        text = re.split(rf"\n(?:\w+\.)*{type(error).__name__}: ", text)[-1].rstrip()
    return text or type(error).__name__


def wait_for_the_first() -> None:
    """Have the first of several processes complain: torchrun ends the others once it has ended.

    All processes of a run make the same mistake. Where it is another's alone, that one speaks in
    the end.
    """
    if os.environ.get("RANK", "0") != "0":
        time.sleep(PATIENCE)
