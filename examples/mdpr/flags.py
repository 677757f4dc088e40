"""How a run is told its configuration: by a preset, then a file, then flags."""

import argparse
import dataclasses
import difflib
import io
import itertools
import sys
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from config import NETWORK, PRESETS, MDPRConfig, check_fields
from runs import read_json
from script import TRACEBACK, ScriptParser

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

    ``extra`` are options of the caller's own. The second result holds them, under "changed" the
    fields that file and flags named, and under "flags" those of the flags alone.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # --help has signs that not every terminal shows
    parser = ScriptParser(
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
    parser.add_argument("--traceback", **TRACEBACK)
    for name, options in extra.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **options)
    fields: Any = parser
    for field in dataclasses.fields(MDPRConfig):
        if field.name in GROUPS:
            fields = parser.add_argument_group(GROUPS[field.name])
        fields.add_argument(flag(field.name), default=argparse.SUPPRESS, **_reader(field))
    known, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(f"unknown: {' '.join(unknown)}{_meant(unknown[0], arguments, extra)}")
    flags = vars(known)
    del flags["traceback"]  # `run_script` looks for it
    preset, file = flags.pop("preset"), flags.pop("config")
    options = {name: flags.pop(name) for name in extra}
    of_file: dict[str, Any] = {}
    try:
        of_file = read_fields(Path(file)) if file else {}
        changed = {**of_file, **flags}
        config = dataclasses.replace(PRESETS[preset or "market1501"], **changed)
    except ValueError as error:
        message = str(error)
        name = message.split(" ", 1)[0]
        if name in of_file and name not in flags:
            message = f"{file}: {message}"
        elif name in typing.get_type_hints(MDPRConfig):
            message = flag(name) + message.removeprefix(name)
        parser.error(message)
    options["changed"] = {**changed, **({"preset": preset} if preset else {})}
    options["flags"] = flags
    return config, options


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
    soft = ("num_maps", "guidance", "refine4", "attention4", "shared_pool", "beta")
    both = ("fusion", "distillation", "separate_networks")
    unused: dict[str, str] = {}
    if config.network != "mdpr":
        names = (*soft, *both, "branches", "checkpoint_branches", "features", "num_parts")
        unused = dict.fromkeys(names, f"the network is the baseline {config.network}")
        if config.network == "pcb":
            del unused["num_parts"]
        elif config.network == "bnneck":
            unused["embed_dim"] = "bnneck's embedding is as wide as the backbone's last map"
    elif config.branches == "hard":
        unused = dict.fromkeys((*soft, *both), "the soft branch is not built")
    elif config.branches == "soft":
        unused = dict.fromkeys(("num_parts", *both), "the hard branch is not built")
    if config.circle == "pair":
        unused["label_smoothing"] = "the circle loss is over pairs (--circle pair)"
    if config.cache:
        unused["workers"] = "cached images are loaded by the process that trains (--cache)"
    return unused


def refuse_other_network(theirs: MDPRConfig, changed: Mapping[str, Any], start: Path) -> None:
    """Raise if a flag or the file asks for another network than that of the checkpoint."""
    other = [name for name in NETWORK if name in changed and changed[name] != getattr(theirs, name)]
    if other:
        told = ", ".join(
            f"{name} {getattr(theirs, name)} and not {changed[name]}" for name in other
        )
        raise ValueError(
            f"--start trains on the network of {start}, which has {told}. Leave out "
            f"{', '.join(map(flag, other))}, or train a new network without --start"
        )
    if changed.get("weights"):
        raise ValueError(
            f"--start takes all weights from {start}: leave out --weights {changed['weights']}"
        )


def read_fields(path: Path) -> dict[str, Any]:
    """Read some of the fields from a JSON file, each of its type."""
    try:
        values = read_json(path)
    except OSError as error:
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
