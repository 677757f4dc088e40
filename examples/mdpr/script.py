"""How a script of this folder ends: a user's mistake in a message, a fault of ours in a traceback.

What is the user's to mend is told by where an error was raised:

- the system refused a file (OSError, anywhere): a wrong path, no permission, a full disk;
- a check refused a setting, the data or the weights: a `raise` statement in this folder or in
  reidblocks, while no network was running.

Anything else is ours: what Python or torch raise by themselves, also in a line of ours, and what a
block refuses in its forward pass, where the user has no part in what it is given.
"""

import argparse
import datetime
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from torch import distributed
from torch.nn.modules import module

import reidblocks

OURS = (str(Path(__file__).parent), str(Path(reidblocks.__file__).parent))
REFUSALS = (ValueError, ImportError, FloatingPointError)
TRACEBACK: dict[str, Any] = {"action": "store_true", "help": "show where an error was raised"}


class ScriptParser(argparse.ArgumentParser):
    """Parse a script's flags; of several processes, the first alone complains of them."""

    def error(self, message: str) -> NoReturn:
        if not speaks():
            raise SystemExit(2)
        super().error(message)


def script_parser(description: str | None) -> argparse.ArgumentParser:
    """Begin the parser of a script that has a few flags, and ``--traceback``."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = ScriptParser(description=description, formatter_class=raw)
    parser.add_argument("--traceback", **TRACEBACK)
    return parser


def run_script(main: Callable[[], Any]) -> None:
    """Run a script's ``main``; exit with code 2 and the message alone on a user's mistake."""
    try:
        main()
    except Exception as error:
        if "--traceback" in sys.argv[1:] or not is_mistake(error):
            raise
        if speaks():
            name = Path(sys.argv[0]).name
            print(f"{name}: error: {told(error)}\n(--traceback shows where)", file=sys.stderr)
        raise SystemExit(2) from None


def is_mistake(error: Exception) -> bool:
    """Whether an error is the user's to mend; see the top of this file."""
    if isinstance(error, OSError):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    raised = frames[-1]
    refused = raised.filename.startswith(OURS) and (raised.line or "").startswith("raise")
    running = any(frame.filename == module.__file__ for frame in frames)
    return isinstance(error, REFUSALS) and refused and not running


def told(error: Exception) -> str:
    """Return an error's message; without the traceback that a loader's process puts before it."""
    text = str(error)
    if text.startswith("Caught ") and "Original Traceback" in text:
        text = re.split(rf"\n(?:\w+\.)*{type(error).__name__}: ", text)[-1].rstrip()
    return text or type(error).__name__


def speaks() -> bool:
    """Whether this process is the first of its run to report, which one that is alone always is.

    All processes of a run make the same mistake, and torchrun ends the others once one has ended.
    So the first speaks, whichever it is: torchrun's own store counts them.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return os.environ.get("RANK", "0") == "0"
    try:
        store = distributed.TCPStore(  # type: ignore[attr-defined]  # torch's stubs lack it
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            timeout=datetime.timedelta(seconds=10),
        )
        count = store.add(f"told-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", 1)
    except (KeyError, ValueError, RuntimeError):  # better twice than not at all
        return True
    return bool(count == 1)
