"""The progress of a long task, as one line on stderr that is overwritten."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def counted(
    items: Iterable[Item], what: str, total: int | None = None, *, shown: bool, every: int = 100
) -> Iterator[Item]:
    """Yield the items and, if ``shown``, print how many were done: "drawn 200 of 1,000".

    Args:
        items: what is worked through.
        what: the words before the count.
        total: how many there will be, where it is known.
        shown: whether anything is printed.
        every: how many items there are between two reports; the last is always reported.
    """
    if not shown:
        yield from items
        return
    of_all = "" if total is None else f" of {total:,}"
    done = 0
    try:
        for item in items:
            yield item
            done += 1
            if done % every == 0 and done != total:
                print(f"\r{what} {done:,}{of_all}", end="", file=sys.stderr, flush=True)
    finally:
        print(f"\r{what} {done:,}{of_all}", file=sys.stderr, flush=True)
