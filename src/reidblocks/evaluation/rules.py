"""The rules of a protocol: comparisons of what is known of a query and of a gallery image."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from torch import Tensor

from reidblocks.evaluation.features import Features
from reidblocks.evaluation.report import Reason

if TYPE_CHECKING:
    from reidblocks.evaluation.protocol import Protocol

Compared: TypeAlias = Callable[[Tensor, Tensor], Tensor]


class Rule(NamedTuple):
    """One comparison by which pairs are excluded.

    ``reason`` tells why a query is dropped whose matches all fall under this rule.
    """

    reason: Reason
    query: Tensor
    gallery: Tensor
    excludes: Compared

    def of_pairs(self, rows: Tensor, columns: Tensor) -> Tensor:
        """(N,), true where the pair (rows[i], columns[i]) is excluded."""
        return self.excludes(self.query[rows], self.gallery[columns])

    def of_rows(self, rows: Tensor) -> Tensor:
        """(R, G), true where the gallery image is excluded for the query row."""
        return self.excludes(self.query[rows, None], self.gallery)


def rules_for_identity(
    caller: str, protocol: "Protocol", query: Features, gallery: Features
) -> list[Rule]:
    """The rules that exclude images of the query's own identity alone."""
    wanted = [
        (protocol.exclude_same_clothes, Reason.OWN_CLOTHES_ONLY, _same),
        (protocol.exclude_other_clothes, Reason.OTHER_CLOTHES_ONLY, _other),
    ]
    rules = list(_rules(caller, "clothes", query, gallery, wanted))
    if protocol.exclude_same_camera:
        if (query.cameras is None) != (gallery.cameras is None):
            raise ValueError(f"{caller} expects cameras of both query and gallery, or of neither")
        if query.cameras is not None and gallery.cameras is not None:
            rules.insert(0, Rule(Reason.OWN_CAMERA_ONLY, query.cameras, gallery.cameras, _same))
    return rules


def rules_for_all(
    caller: str, protocol: "Protocol", query: Features, gallery: Features
) -> list[Rule]:
    """The rules that exclude an image whoever it shows."""
    by_sequence = [
        (protocol.exclude_same_sequence, Reason.OWN_SEQUENCE_ONLY, _same),
        (protocol.exclude_other_sequences, Reason.OTHER_SEQUENCES_ONLY, _other),
    ]
    by_time = [(protocol.exclude_earlier, Reason.NOT_LATER, _not_later)]
    return [
        *_rules(caller, "sequences", query, gallery, by_sequence),
        *_rules(caller, "times", query, gallery, by_time),
    ]


def _rules(
    caller: str,
    name: str,
    query: Features,
    gallery: Features,
    wanted: Sequence[tuple[bool, Reason, Compared]],
) -> Iterator[Rule]:
    for asked, reason, excludes in wanted:
        if not asked:
            continue
        theirs, others = getattr(query, name), getattr(gallery, name)
        if theirs is None or others is None:
            raise ValueError(
                f"{caller} expects {name} of query and gallery, since the protocol excludes images "
                "by them; give Features both, or use another protocol"
            )
        yield Rule(reason, theirs, others, excludes)


def _same(query: Tensor, gallery: Tensor) -> Tensor:
    return (query == gallery) & (query != -1)


def _other(query: Tensor, gallery: Tensor) -> Tensor:
    return (query != gallery) | (query == -1)


def _not_later(query: Tensor, gallery: Tensor) -> Tensor:
    return ~(gallery > query)  # true where a time is unknown (NaN)
