"""Which gallery images count for which query, and why a query was dropped."""

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor

from reidblocks.evaluation._arguments import expect_sides
from reidblocks.evaluation._spans import Index
from reidblocks.evaluation.features import Features
from reidblocks.evaluation.labels import as_labels
from reidblocks.evaluation.report import DropReport, Reason, drop_report
from reidblocks.evaluation.rules import rules_for_all, rules_for_identity
from reidblocks.evaluation.self_matches import self_matches


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The rules by which gallery images are correct, incorrect or excluded for a query.

    The default is the Market rule: a gallery image of the query's own identity and own camera is
    excluded from that query's ranking (it applies where cameras are given; camera −1 means "none"
    and equals no other). A gallery image of a junk identity is excluded for every query. By every
    protocol a query that is itself in the gallery (see `Features`) is excluded from its ranking.

    Args:
        exclude_same_camera: exclude gallery images of the query's identity and camera.
        exclude_same_sequence: exclude every gallery image of the query's sequence, whatever its
            identity; sequence −1 means "none" and equals no other.
        junk_ids: identities of images that never count, neither as correct nor as incorrect.
        distractor_ids: identities of gallery images that are incorrect for every query. A query
            that has one is dropped. An identity which no query has needs no mention here.
        single_shot: CUHK03's first rule. A ranking holds one image of each identity, drawn at
            random; the metrics are expectations over all draws, computed, not simulated.
        exclude_other_sequences: exclude every gallery image that is not of the query's own
            sequence: each sequence (a video, an action of a match) is a gallery of its own.
        exclude_earlier: exclude every gallery image that is not later than the query. An image
            whose time is unknown is later than none.
        exclude_same_clothes: exclude gallery images of the query's identity in the same clothes.
        exclude_other_clothes: exclude those of the query's identity in other clothes, or in
            unknown ones (−1).

    Raises:
        TypeError: junk_ids or distractor_ids are not a list of integers, or another field is
            no bool.
        ValueError: a pair of opposite rules would exclude everything.

    >>> Protocol().exclude_same_camera
    True
    """

    exclude_same_camera: bool = True
    exclude_same_sequence: bool = False
    junk_ids: tuple[int, ...] = (-1,)
    distractor_ids: tuple[int, ...] = ()
    single_shot: bool = False
    exclude_other_sequences: bool = False
    exclude_earlier: bool = False
    exclude_same_clothes: bool = False
    exclude_other_clothes: bool = False

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not name.endswith("_ids") and not isinstance(value, bool):
                raise TypeError(f"Protocol expects {name} as True or False, got {value!r}")
        for name in ("junk_ids", "distractor_ids"):
            ids = getattr(self, name)
            number = len(ids) if isinstance(ids, Sized) else 1
            labels = as_labels("Protocol", name, ids, number)
            object.__setattr__(self, name, tuple(labels.tolist()))
        for same, other in (
            ("exclude_same_sequence", "exclude_other_sequences"),
            ("exclude_same_clothes", "exclude_other_clothes"),
        ):
            if getattr(self, same) and getattr(self, other):
                raise ValueError(
                    f"Protocol expects {same} or {other}, got both, which leave a query no match"
                )


MARKET_RULE = Protocol()
MARKET1501 = Protocol(distractor_ids=(0,))
NO_CAMERAS = Protocol(exclude_same_camera=False)
CUHK03_SINGLE_SHOT = Protocol(single_shot=True)
OWN_SEQUENCE = Protocol(exclude_same_camera=False, exclude_other_sequences=True)
LATER_IN_SEQUENCE = replace(OWN_SEQUENCE, exclude_earlier=True)
CLOTHES_CHANGING = Protocol(exclude_same_clothes=True)
SAME_CLOTHES = Protocol(exclude_other_clothes=True)

#: Every protocol by the name that the command knows it by.
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "market": MARKET_RULE,
        "market1501": MARKET1501,
        "no-cameras": NO_CAMERAS,
        "cuhk03-single-shot": CUHK03_SINGLE_SHOT,
        "own-sequence": OWN_SEQUENCE,
        "later-in-sequence": LATER_IN_SEQUENCE,
        "clothes-changing": CLOTHES_CHANGING,
        "same-clothes": SAME_CLOTHES,
    }
)


@dataclass(frozen=True)
class Pairs:
    """(query row, gallery column) pairs of a block of queries, listed row by row.

    ``row[i], column[i]`` is a correct match where ``valid[i]``; the other pairs are excluded.
    """

    row: Tensor
    column: Tensor
    valid: Tensor


class Matching:
    """A protocol applied to the labels of both sides; no Q×G matrix is ever made."""

    def __init__(self, caller: str, protocol: Protocol, query: Features, gallery: Features) -> None:
        expect_sides(caller, query, gallery)
        if not isinstance(protocol, Protocol):
            raise TypeError(
                f"{caller} expects protocol as a Protocol, such as Protocol(), MARKET1501 or "
                f"NO_CAMERAS of reidblocks.evaluation, got {protocol!r:.80}"
            )
        self._for_identity = rules_for_identity(caller, protocol, query, gallery)
        self._for_all = rules_for_all(caller, protocol, query, gallery)
        self._selves = self_matches(query, gallery)
        self.protocol, self.query, self.gallery = protocol, query, gallery
        self.by_id = Index(gallery.ids)
        self.junk_columns = _is_one_of(gallery.ids, protocol.junk_ids).nonzero().squeeze(1)
        self._ignored = _is_one_of(query.ids, protocol.junk_ids + protocol.distractor_ids)
        self.countable_queries = (~self._ignored).nonzero().squeeze(1)
        self.num_same_id = self.by_id.counts(query.ids)
        self.num_positives = torch.zeros_like(query.ids)
        for rows in torch.split(self.countable_queries, 1024):
            pairs = self.pairs(rows)
            counts = torch.bincount(pairs.row[pairs.valid], minlength=len(rows))
            self.num_positives[rows] = counts
        self.valid_queries = (self.num_positives > 0).nonzero().squeeze(1)

    def pairs(self, rows: Tensor) -> Pairs:
        """Return every gallery image of the query's identity, and itself, for these query rows."""
        row, column = self.by_id.lookup(self.query.ids[rows])
        valid = ~self._ignored[rows][row]
        for rule in (*self._for_identity, *self._for_all):
            valid &= ~rule.of_pairs(rows[row], column)
        if self._selves is None:
            return Pairs(row, column, valid)
        valid &= ~self._selves.holds(rows[row], column)
        extra = self._selves.pairs(rows)
        row, column = (torch.cat(both) for both in zip((row, column), extra, strict=True))
        return Pairs(row, column, torch.nn.functional.pad(valid, (0, len(row) - len(valid))))

    def fill_excluded(self, out: Tensor, rows: Tensor, value: float) -> None:
        """Write a value into (R, G) of these query rows where an image is excluded, in place.

        Those that ``pairs`` lists (of the query's identity, or the query itself) are not among
        them; those of junk, and by rules of sequence and time, are.
        """
        if len(self.junk_columns):
            out.index_fill_(1, self.junk_columns, value)
        for rule in self._for_all:
            out.masked_fill_(rule.of_rows(rows), value)

    def self_pairs(self) -> tuple[Tensor, Tensor]:
        """Return (query row, gallery column) of every query that is itself in the gallery."""
        every = torch.arange(len(self.query), device=self.query.ids.device)
        return (every[:0], every[:0]) if self._selves is None else self._selves.pairs(every)

    def groups(self) -> tuple[Tensor, Tensor]:
        """Number the identities of both sides from 0; −1 for junk; each distractor its own."""
        ids = torch.cat([self.query.ids, self.gallery.ids]).cpu()
        _, group = torch.unique(ids, return_inverse=True)
        alone = _is_one_of(ids, self.protocol.distractor_ids)
        group[alone] = len(ids) + torch.arange(int(alone.sum()), device="cpu")
        _, group = torch.unique(group, return_inverse=True)
        group[_is_one_of(ids, self.protocol.junk_ids)] = -1
        group[: len(self.query)][self._ignored.cpu()] = -1
        return group[: len(self.query)], group[len(self.query) :]

    def report(self, unless: Tensor | None = None) -> DropReport:
        """Report how many queries were dropped (these rows aside), why, and what to do about it."""
        reasons = self.reasons()
        if unless is not None:
            reasons[unless] = -1
        masks = {reason: reasons == place for place, reason in enumerate(Reason)}
        row, _ = self.self_pairs()
        return drop_report(masks, self.query, num_self_matches=len(torch.unique(row)))

    def unknown_queries(self) -> Tensor:
        """Return the rows of queries whose person is not among the gallery images compared.

        A person whom a rule of camera or clothes excludes is there all the same.
        """
        absent = [Reason.NO_IDENTITY, Reason.ITSELF_ONLY, *(rule.reason for rule in self._for_all)]
        places = [list(Reason).index(reason) for reason in absent]
        return _is_one_of(self.reasons(), places).nonzero().squeeze(1)

    def reasons(self) -> Tensor:
        """Return for each query (Q,) the place among `Reason` of why it is dropped, or −1.

        Step by step, images of its identity are taken away: the query itself, and what the rules
        for all images exclude. The step that takes the last one is the reason; else it is the one
        rule of camera or clothes that excludes all that are left, if one does.
        """
        place = {reason: at for at, reason in enumerate(Reason)}
        found = torch.full_like(self.query.ids, -1)
        found[self._ignored] = place[Reason.JUNK]
        steps = [(rule.reason, rule.of_pairs) for rule in self._for_all]
        if self._selves is not None:
            steps.insert(0, (Reason.ITSELF_ONLY, self._selves.holds))
        dropped = ~self._ignored & (self.num_positives == 0)
        found[dropped & (self.num_same_id == 0)] = place[Reason.NO_IDENTITY]
        for rows in torch.split((dropped & (found == -1)).nonzero().squeeze(1), 1024):
            row, column = self.by_id.lookup(self.query.ids[rows])
            for reason, excludes in steps:
                left = ~excludes(rows[row], column)
                row, column = row[left], column[left]
                gone = torch.bincount(row, minlength=len(rows)) == 0
                found[rows[gone & (found[rows] == -1)]] = place[reason]
            number = torch.bincount(row, minlength=len(rows))
            for rule in self._for_identity:
                mask = rule.of_pairs(rows[row], column)
                every = torch.bincount(row[mask], minlength=len(rows)) == number
                found[rows[every & (found[rows] == -1)]] = place[rule.reason]
            found[rows[found[rows] == -1]] = place[Reason.SEVERAL_RULES]
        return found


def _is_one_of(values: Tensor, wanted: Sequence[int]) -> Tensor:
    return torch.isin(values, torch.tensor(wanted, dtype=values.dtype, device=values.device))
