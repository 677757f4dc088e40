"""How a training script ends: with a message, or with a traceback."""

import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MISTAKES = (OSError, ValueError, ImportError, FloatingPointError, MemoryError)
PATIENCE = 60.0  # seconds


def run_script(main: Callable[[], Any]) -> None:
    """Run a script's ``main``; a user's mistake ends in its message and exit code 2.

    User errors are OSError, ValueError, ImportError, FloatingPointError and MemoryError, which the
    system, a check or a reader raises. An error of another type, such as torch's RuntimeError,
    keeps its traceback. With ``--traceback`` among the script's arguments, which its parser must
    accept, every error does. Of several processes of torchrun only the first prints the message.

    >>> import sys
    >>> def main() -> None:
    ...     raise ValueError("expected --lr above 0, got -1")
    >>> run_script(main)
    Traceback (most recent call last):
    SystemExit: 2
    """
    try:
        main()
    except MISTAKES as error:
        if "--traceback" in sys.argv[1:]:
            raise
        if os.environ.get("RANK", "0") != "0":  # torchrun ends this process once the first ended
            time.sleep(PATIENCE)
        name = Path(sys.argv[0]).name
        print(f"{name}: error: {message_of(error)}\n(--traceback shows where)", file=sys.stderr)
        raise SystemExit(2) from None


def message_of(error: BaseException) -> str:
    """Return an error's message, without the traceback that a loader's process puts before it."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"  # without the system's number
    text = str(error)
    if text.startswith("Caught ") and "Original Traceback" in text:
        text = re.split(rf"\n(?:\w+\.)*{type(error).__name__}: ", text)[-1].rstrip()
    return text or type(error).__name__
