"""The command ``reidblocks``, also ``python -m reidblocks``: its parts are loaded when called."""

import importlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence

COMMANDS = {  # module, function and what it does
    "check-data": ("reidblocks.data.commands", "check_data", "examine a data set"),
    "make-table": ("reidblocks.data.commands", "make_table", "a table of a folder of images"),
    "crop-videos": ("reidblocks.data.commands", "crop_videos", "people cut out of MOT videos"),
    "evaluate": ("reidblocks.evaluation.command", "main", "evaluate saved features"),
    "embed": ("reidblocks.gallery.commands", "embed_images", "images of people into a gallery"),
    "search": ("reidblocks.gallery.commands", "search_images", "who it is, with a picture"),
    "gallery": ("reidblocks.gallery.commands", "manage", "list a gallery's people, remove some"),
}
HELP = "\n".join(
    [
        "usage: reidblocks COMMAND ... [--help]",
        "",
        *(f"  {name:<12} {what}" for name, (_, _, what) in COMMANDS.items()),
        "",
        "reidblocks COMMAND --help says what a command takes.",
    ]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the command line names.

    Returns:
        What the command returns, 0 where all is well; 2 for a user's mistake.
    """
    name, *others = [*(sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # paths and signs that the terminal cannot show
    if name in ("-h", "--help"):
        print(HELP)
        return 0
    if name not in COMMANDS:
        print(f"reidblocks: error: there is no command {name}\n{HELP}", file=sys.stderr)
        return 2
    module, function, _ = COMMANDS[name]
    run: Callable[[Sequence[str]], int] = getattr(importlib.import_module(module), function)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(
            f"reidblocks {name}: warning: {message}", file=sys.stderr
        )
        try:
            return run(others)
        except BrokenPipeError:  # who reads it has read enough, as `head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except (OSError, ValueError, ImportError) as error:  # any other is a fault of ours
            print(f"reidblocks {name}: error: {error}", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
