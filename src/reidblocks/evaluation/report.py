"""Why queries were dropped, with examples and what to do about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from reidblocks.evaluation.features import Features


class Reason(Enum):
    """The reason why a query was dropped; the value is its text in the report.

    Rules of sequence and time come first, because they select the gallery of a query: if they leave
    no image, they are the reason. Among the rules of camera and clothes, the reason is the one that
    excludes all remaining images, or SEVERAL_RULES if none does alone.

    >>> Reason.OWN_CAMERA_ONLY.value
    'its identity is in the gallery only in its own camera'
    """

    JUNK = "its own identity is junk or a distractor"
    NO_IDENTITY = "no gallery image has its identity"
    ITSELF_ONLY = "the gallery holds no other image of its identity than the query itself"
    OWN_CAMERA_ONLY = "its identity is in the gallery only in its own camera"
    OWN_SEQUENCE_ONLY = "its identity is in the gallery only in its own sequence"
    OTHER_SEQUENCES_ONLY = "its identity is in the gallery only outside of its own sequence"
    NOT_LATER = "nothing of its identity that is compared with it is later"
    OWN_CLOTHES_ONLY = "its identity is in the gallery only in the same clothes"
    OTHER_CLOTHES_ONLY = "its identity is in the gallery only in other clothes"
    SEVERAL_RULES = "every gallery image of its identity is excluded, by more than one rule"


_BY_NATURE = "If the labels are right, these queries cannot be scored by this protocol."
_REMEDY = {
    Reason.JUNK: "Remove these images from the query set, or change Protocol.junk_ids and "
    "distractor_ids if the identity is a real one.",
    Reason.NO_IDENTITY: "Check that query and gallery are of the same split and that their "
    "identities are numbered alike (not made contiguous on each side separately).",
    Reason.ITSELF_ONLY: "An image that finds itself proves nothing. If these are two images, give "
    "them different paths; else these queries cannot be scored.",
    Reason.OWN_CAMERA_ONLY: "If the cameras are right, these queries cannot be scored; if all "
    "images come from one camera, give no cameras or use NO_CAMERAS.",
    Reason.OWN_SEQUENCE_ONLY: _BY_NATURE,
    Reason.OTHER_SEQUENCES_ONLY: "Check that sequences are numbered alike in query and gallery, "
    "and that the query has one (-1 is none).",
    Reason.NOT_LATER: "Check that both sides' times count from the same start. A person's last "
    "image has nothing later: remove such queries.",
    Reason.OWN_CLOTHES_ONLY: _BY_NATURE,
    Reason.OTHER_CLOTHES_ONLY: "Check that the clothes are numbered alike in query and gallery; "
    "-1 is unknown and equals none.",
    Reason.SEVERAL_RULES: _BY_NATURE,
}


_NUM_EXAMPLES = 3  # queries named for each reason


@dataclass(frozen=True)
class Dropped:
    """The queries dropped for one reason: how many, and the first few by path or index."""

    reason: Reason
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class DropReport:
    """The dropped queries and the reasons; ``print`` it.

    Attributes:
        num_queries: number of all queries.
        dropped: for each reason the ``reason``, the ``count`` of queries, and the first few of
            them as ``examples``, by path or index.
        num_self_matches: queries that are in the gallery themselves; such an image counts as
            neither a correct nor an incorrect match.

    >>> print(DropReport(num_queries=3, dropped=()))
    all 3 queries have a correct match in the gallery
    """

    num_queries: int
    dropped: tuple[Dropped, ...]
    num_self_matches: int = 0

    @property
    def num_dropped(self) -> int:
        return sum(part.count for part in self.dropped)

    def __str__(self) -> str:
        lines = [f"{self.num_dropped} of {self.num_queries} queries dropped"]
        if not self.dropped:
            lines = [f"all {self.num_queries} queries have a correct match in the gallery"]
        for part in self.dropped:
            more = ", …" if part.count > len(part.examples) else ""
            lines.append(f"  {part.count}: {part.reason.value}: {', '.join(part.examples)}{more}")
            lines.append(f"    {_REMEDY[part.reason]}")
        if self.num_self_matches:
            lines.append(
                f"{self.num_self_matches} of {self.num_queries} queries are in the gallery "
                "themselves: excluded, neither correct nor incorrect"
            )
        return "\n".join(lines)


def drop_report(
    masks: Mapping[Reason, Tensor], query: Features, *, num_self_matches: int
) -> DropReport:
    """Count the queries of each (Q,) mask and name the first few."""
    dropped = []
    for reason, mask in masks.items():
        rows = mask.nonzero().squeeze(1)
        examples = tuple(_example(reason, query, row) for row in rows[:_NUM_EXAMPLES].tolist())
        if len(rows):
            dropped.append(Dropped(reason, len(rows), examples))
    return DropReport(len(query), tuple(dropped), num_self_matches)


def _example(reason: Reason, query: Features, row: int) -> str:
    """Name a query by its path or row, with its person and, where that is why, its camera."""
    told = f"identity {query.identity_name(int(query.ids[row]))}"
    if reason is Reason.OWN_CAMERA_ONLY and query.cameras is not None:
        told += f", camera {query.camera_name(int(query.cameras[row]))}"
    return f"{(query.paths and query.paths[row]) or f'query {row}'} ({told})"
