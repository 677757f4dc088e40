"""The progress of a long task on stderr: one line, rewritten on a terminal, else printed once."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def counted(
    items: Iterable[Item], what: str, total: int | None = None, *, shown: bool, every: int = 100
) -> Iterator[Item]:
    """Yield the items and, if ``shown``, print how many were done: "drawn 200 of 1,000".

    Where stderr is no terminal, as in a log, the count is printed once, at the end.

    Args:
        items: what is worked through.
        what: the words before the count.
        total: how many there will be, where it is known.
        shown: whether anything is printed.
        every: how many items there are between two reports; the last is always reported.
    """
    if not shown or sys.stderr is None:  # as under pythonw
        yield from items
        return
    of_all = "" if total is None else f" of {total:,}"
    start = "\r" if sys.stderr.isatty() else ""
    done = 0
    try:
        for item in items:
            yield item
            done += 1
            if start and done % every == 0 and done != total:
                print(f"{start}{what} {done:,}{of_all}", end="", file=sys.stderr, flush=True)
    finally:
        print(f"{start}{what} {done:,}{of_all}", file=sys.stderr, flush=True)
