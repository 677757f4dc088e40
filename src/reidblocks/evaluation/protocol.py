"""Which gallery images count for which query, and why a query was dropped."""

from collections.abc import Sequence, Sized
from dataclasses import dataclass

import torch
from torch import Tensor

from reidblocks.evaluation._arguments import expect_sides
from reidblocks.evaluation._spans import Index, SharedLabels
from reidblocks.evaluation.features import Features
from reidblocks.evaluation.labels import as_labels
from reidblocks.evaluation.report import DropReport, Reason, drop_report
from reidblocks.evaluation.self_matches import self_matches


@dataclass(frozen=True)
class Protocol:
    """The rules by which gallery images are right, wrong or left out for a query.

    The default is the Market rule: a gallery image of the query's own identity and own camera is
    left out of that query's ranking (it applies where cameras are given; camera −1 means "none"
    and equals no other). A gallery image of a junk identity is left out for every query. By every
    protocol a query that is itself in the gallery (see `Features`) is left out of its ranking.

    Args:
        exclude_same_camera: leave out gallery images of the query's identity and camera.
        exclude_same_sequence: leave out every gallery image of the query's sequence, whatever
            its identity (a tracklet, a scene, an action); sequence −1 means "none".
        junk_ids: identities of images that never count, neither as right nor as wrong.
        distractor_ids: identities of gallery images that are wrong for every query. A query that
            bears one is dropped. An identity which no query has needs no mention here.
        single_shot: CUHK03's first rule. A ranking holds one image of each identity, drawn at
            random; the metrics are expectations over all draws, computed, not simulated.

    Raises:
        TypeError: junk_ids or distractor_ids are no list of whole numbers.

    >>> Protocol().exclude_same_camera
    True
    """

    exclude_same_camera: bool = True
    exclude_same_sequence: bool = False
    junk_ids: tuple[int, ...] = (-1,)
    distractor_ids: tuple[int, ...] = ()
    single_shot: bool = False

    def __post_init__(self) -> None:
        for name in ("junk_ids", "distractor_ids"):
            ids = getattr(self, name)
            number = len(ids) if isinstance(ids, Sized) else 1
            labels = as_labels("Protocol", name, ids, number)
            object.__setattr__(self, name, tuple(labels.tolist()))


MARKET_RULE = Protocol()
MARKET1501 = Protocol(distractor_ids=(0,))
NO_CAMERAS = Protocol(exclude_same_camera=False)
CUHK03_SINGLE_SHOT = Protocol(single_shot=True)


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
        one_side = (query.cameras is None) != (gallery.cameras is None)
        if protocol.exclude_same_camera and one_side:
            raise ValueError(f"{caller} expects cameras of both query and gallery, or of neither")
        self._selves = self_matches(query, gallery)
        self._apart = [] if self._selves is None else [self._selves]  # whatever the identity
        if protocol.exclude_same_sequence:
            if query.sequences is None or gallery.sequences is None:
                raise ValueError(
                    f"{caller} expects sequences of query and gallery, since the protocol leaves "
                    "out a query's own sequence"
                )
            self._apart.append(SharedLabels(query.sequences, gallery.sequences))
        self.protocol, self.query, self.gallery = protocol, query, gallery
        self.by_id = Index(gallery.ids)
        self.use_cameras = protocol.exclude_same_camera and query.cameras is not None
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
        """Return every gallery image that is correct or excluded, junk aside, for query rows."""
        query, gallery = self.query, self.gallery
        row, column = self.by_id.lookup(query.ids[rows])
        valid = ~self._ignored[rows][row]
        if self.use_cameras and query.cameras is not None and gallery.cameras is not None:
            camera = query.cameras[rows][row]
            valid &= (camera != gallery.cameras[column]) | (camera == -1)
        if not self._apart:
            return Pairs(row, column, valid)
        rows_found, columns_found = [row], [column]
        for shared in self._apart:
            valid &= ~shared.holds(rows[row], column)
            extra_row, extra_column = shared.pairs(rows)
            rows_found.append(extra_row)
            columns_found.append(extra_column)
        row, column = torch.cat(rows_found), torch.cat(columns_found)
        return Pairs(row, column, torch.nn.functional.pad(valid, (0, len(row) - len(valid))))

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

    def report(self) -> DropReport:
        """Report how many queries were dropped, why, and what to do about it."""
        nothing = ~self._ignored & (self.num_positives == 0)
        row, column = self.self_pairs()
        of_own_id = self.gallery.ids[column] == self.query.ids[row]
        num_others = self.num_same_id - torch.bincount(row[of_own_id], minlength=len(self.query))
        return drop_report(
            {
                Reason.JUNK: self._ignored,
                Reason.NO_IDENTITY: nothing & (self.num_same_id == 0),
                Reason.ITSELF_ONLY: nothing & (self.num_same_id > 0) & (num_others == 0),
                Reason.OWN_CAMERA_ONLY: nothing & (num_others > 0),
            },
            self.query,
            num_self_matches=len(torch.unique(row)),
        )


def _is_one_of(values: Tensor, wanted: Sequence[int]) -> Tensor:
    return torch.isin(values, torch.tensor(wanted, dtype=values.dtype, device=values.device))
