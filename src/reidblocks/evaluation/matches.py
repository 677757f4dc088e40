"""The gallery images nearest to each query, for ranked lists."""

from dataclasses import dataclass

import torch

from reidblocks._checks import expect_whole
from reidblocks.evaluation.blocks import full_precision, score_blocks
from reidblocks.evaluation.features import Features
from reidblocks.evaluation.neighbors import best_of_rows
from reidblocks.evaluation.protocol import MARKET_RULE, Matching, Protocol
from reidblocks.evaluation.reranking import KReciprocal, make_scorer
from reidblocks.evaluation.scores import Distance


@dataclass(frozen=True)
class Match:
    """A gallery image by index; ``correct`` is None if the protocol excludes it."""

    index: int
    distance: float
    correct: bool | None


class TopMatches(list[list[Match]]):
    """A list of matches for each query.

    Attributes:
        num_candidates: how many gallery images count for each query, listed or not.
    """

    num_candidates: list[int]


@full_precision()
def top_matches(
    query: Features,
    gallery: Features,
    k: int = 10,
    *,
    protocol: Protocol = MARKET_RULE,
    distance: Distance = "cosine",
    reranking: KReciprocal | None = None,
    keep_excluded: bool = False,
) -> TopMatches:
    """Return the k nearest gallery images that count for each query; ties in gallery order.

    What the protocol excludes is not listed: junk, images of the query's own identity and camera,
    and the query itself where it is in the gallery (see ``evaluate``). A gallery without
    identities (all −1) is junk: `search` needs none.

    Args:
        query, gallery: the features of both sides.
        k: images per query; fewer where fewer count.
        protocol: which gallery images are correct, incorrect or excluded.
        distance: "cosine" (1 − cos) or "euclidean".
        reranking: k-reciprocal re-ranking, if wanted; the distances are then the re-ranked ones.
        keep_excluded: list the images that the protocol excludes too, with ``correct`` None.

    Returns:
        A list for each query, and in ``num_candidates`` how many images count for it.

    Raises:
        ValueError: no image counts for any query; bad input, as for ``evaluate``.
        TypeError: likewise.

    >>> query, gallery = (Features(torch.eye(2), ids=[1, 2]) for _ in range(2))
    >>> found = top_matches(query, gallery, k=1)
    >>> found[1], found.num_candidates
    ([Match(index=1, distance=0.0, correct=True)], [2, 2])
    """
    k = expect_whole("top_matches", "k", k)
    matching = Matching("top_matches", protocol, query, gallery)
    scorer = make_scorer("top_matches", query, gallery, distance, reranking)
    every = torch.arange(len(query), device=query.ids.device)
    found = TopMatches()
    found.num_candidates = []
    for rows, scores in score_blocks(scorer, every, matching.num_same_id):
        pairs = matching.pairs(rows)
        ignored = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
        right = ignored.clone()
        right[pairs.row[pairs.valid], pairs.column[pairs.valid]] = True
        ignored[pairs.row[~pairs.valid], pairs.column[~pairs.valid]] = True
        matching.fill_excluded(ignored, rows, True)
        found.num_candidates += (~ignored).sum(1).tolist()
        if not keep_excluded:
            scores.masked_fill_(ignored, -torch.inf)
        row, column = best_of_rows(scorer, rows, scores, k)
        far = scorer.distances(rows[row], scorer.exact(rows[row], column))
        counts = torch.bincount(row, minlength=len(rows)).tolist()
        answers = torch.where(ignored, -1, right.int())[row, column]
        listed = zip(column.tolist(), far.tolist(), answers.tolist(), strict=True)
        matches = [Match(j, away, None if a < 0 else bool(a)) for j, away, a in listed]
        for count in counts:
            found.append(matches[:count])
            matches = matches[count:]
    if not (keep_excluded or any(found.num_candidates)):
        raise ValueError(_nothing_left(matching))
    return found


def _nothing_left(matching: Matching) -> str:
    junk, every = len(matching.junk_columns), len(matching.gallery)
    return (
        f"top_matches has nothing to list: of {every} gallery images none counts for any of "
        f"{len(matching.query)} queries; {junk} are of a junk identity "
        f"({', '.join(map(str, matching.protocol.junk_ids)) or 'none'}), {every - junk} are the "
        "query itself or of its own camera, or excluded by another rule. To search images without "
        "identities use search(query.values, gallery.values, k); keep_excluded=True lists these too"
    )
