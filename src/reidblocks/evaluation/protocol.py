"""Which gallery images count for which query, and why a query was dropped."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reidblocks.evaluation._spans import spread
from reidblocks.evaluation.features import Features
from reidblocks.evaluation.report import DropReport, Reason


@dataclass(frozen=True)
class Protocol:
    """The rules by which gallery images are right, wrong or left out for a query.

    The default is the Market rule: a gallery image of the query's own identity and own camera is
    left out of that query's ranking (it applies where cameras are given; camera −1 means "none"
    and equals no other). A gallery image of a junk identity is left out for every query.

    Args:
        exclude_same_camera: leave out gallery images of the query's identity and camera.
        exclude_same_sequence: leave out every gallery image of the query's sequence, whatever
            its identity (a tracklet, a scene, an action); sequence −1 means "none".
        junk_ids: identities of images that never count, neither as right nor as wrong.
        distractor_ids: identities of gallery images that are wrong for every query. A query that
            bears one is dropped. An identity which no query has needs no mention here.
        single_shot: CUHK03's first rule. A ranking holds one image of each identity, drawn at
            random; the metrics are expectations over all draws, computed, not simulated.

    >>> Protocol().exclude_same_camera
    True
    """

    exclude_same_camera: bool = True
    exclude_same_sequence: bool = False
    junk_ids: tuple[int, ...] = (-1,)
    distractor_ids: tuple[int, ...] = ()
    single_shot: bool = False


MARKET_RULE = Protocol()
MARKET1501 = Protocol(distractor_ids=(0,))
NO_CAMERAS = Protocol(exclude_same_camera=False)
CUHK03_SINGLE_SHOT = Protocol(single_shot=True)


@dataclass(frozen=True)
class Pairs:
    """(query row, gallery column) pairs of a block of queries, listed row by row.

    ``row[i], column[i]`` is a right match where ``valid[i]``; the other pairs are left out.
    """

    row: Tensor
    column: Tensor
    valid: Tensor


class Matching:
    """A protocol applied to the labels of both sides; no Q×G matrix is ever made."""

    def __init__(self, caller: str, protocol: Protocol, query: Features, gallery: Features) -> None:
        one_side = (query.cameras is None) != (gallery.cameras is None)
        if protocol.exclude_same_camera and one_side:
            raise ValueError(f"{caller} expects cameras of both query and gallery, or of neither")
        if protocol.exclude_same_sequence and (
            query.sequences is None or gallery.sequences is None
        ):
            raise ValueError(
                f"{caller} expects sequences of query and gallery, since the protocol leaves out "
                "a query's own sequence"
            )
        self.protocol, self.query, self.gallery = protocol, query, gallery
        self.by_id = _Index(gallery.ids)
        self.use_cameras = protocol.exclude_same_camera and query.cameras is not None
        self.by_sequence = (
            _Index(gallery.sequences)
            if protocol.exclude_same_sequence and gallery.sequences is not None
            else None
        )
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
        """Every gallery image that is right or left out, junk aside, for these query rows."""
        query, gallery = self.query, self.gallery
        row, column = self.by_id.lookup(query.ids[rows])
        valid = ~self._ignored[rows][row]
        if self.use_cameras and query.cameras is not None and gallery.cameras is not None:
            camera = query.cameras[rows][row]
            valid &= (camera != gallery.cameras[column]) | (camera == -1)
        if self.by_sequence is None or query.sequences is None or gallery.sequences is None:
            return Pairs(row, column, valid)
        sequences = query.sequences[rows]
        valid &= (sequences[row] != gallery.sequences[column]) | (sequences[row] == -1)
        known = (sequences != -1).nonzero().squeeze(1)
        extra_row, extra_column = self.by_sequence.lookup(sequences[known])
        return Pairs(
            torch.cat([row, known[extra_row]]),
            torch.cat([column, extra_column]),
            torch.cat([valid, torch.zeros_like(extra_row, dtype=torch.bool)]),
        )

    def groups(self) -> tuple[Tensor, Tensor]:
        """The identities of both sides numbered from 0; −1 for junk; each distractor its own."""
        ids = torch.cat([self.query.ids, self.gallery.ids]).cpu()
        _, group = torch.unique(ids, return_inverse=True)
        alone = _is_one_of(ids, self.protocol.distractor_ids)
        group[alone] = len(ids) + torch.arange(int(alone.sum()))
        _, group = torch.unique(group, return_inverse=True)
        group[_is_one_of(ids, self.protocol.junk_ids)] = -1
        group[: len(self.query)][self._ignored.cpu()] = -1
        return group[: len(self.query)], group[len(self.query) :]

    def report(self) -> DropReport:
        """How many queries were dropped, why, and what to do about it."""
        nothing = self.num_positives == 0
        return DropReport.from_masks(
            {
                Reason.JUNK: self._ignored,
                Reason.NO_IDENTITY: ~self._ignored & nothing & (self.num_same_id == 0),
                Reason.OWN_CAMERA_ONLY: ~self._ignored & nothing & (self.num_same_id > 0),
            },
            self.query,
        )


class _Index:
    """Finds the gallery columns that hold a value, in gallery order."""

    def __init__(self, values: Tensor) -> None:
        self.sorted, self.columns = torch.sort(values, stable=True)

    def _span(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        first = torch.searchsorted(self.sorted, wanted)
        return first, torch.searchsorted(self.sorted, wanted, right=True) - first

    def counts(self, wanted: Tensor) -> Tensor:
        return self._span(wanted)[1]

    def lookup(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """(index into ``wanted``, gallery column) of every hit."""
        row, place = spread(*self._span(wanted))
        return row, self.columns[place]


def _is_one_of(values: Tensor, wanted: Sequence[int]) -> Tensor:
    return torch.isin(values, torch.tensor(wanted, dtype=values.dtype, device=values.device))
