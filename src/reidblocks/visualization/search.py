"""From features with the paths of their images to ranked lists of them."""

from collections.abc import Sequence

from torch import Tensor

from reidblocks._checks import expect_whole
from reidblocks.evaluation import Evaluation, Features, Match, Protocol, top_matches
from reidblocks.evaluation.protocol import MARKET_RULE
from reidblocks.evaluation.scores import Distance
from reidblocks.visualization.ranked import RankedImage, RankedQuery


def ranked_queries(
    query: Features,
    gallery: Features,
    rows: Sequence[int] | Tensor | None = None,
    *,
    k: int = 10,
    protocol: Protocol = MARKET_RULE,
    distance: Distance = "cosine",
    keep_excluded: bool = False,
    evaluation: Evaluation | None = None,
) -> list[RankedQuery]:
    """Rank the gallery for some queries, with the images that their paths name.

    Args:
        query, gallery: the features of both sides with ``paths``, as ``extract_features`` gives
            them where a loader's batches have a ``path``.
        rows: which queries, in this order; all if None.
        k: images per query that the protocol counts, at most.
        protocol: which gallery images are correct, incorrect or excluded.
        distance: "cosine" or "euclidean".
        keep_excluded: list excluded images that are as near among them, with ``correct`` None; at
            most k.
        evaluation: of all queries, which then have their average precision.

    Raises:
        ValueError: an image to be shown has no path; bad input, as for ``top_matches``.

    >>> import torch
    >>> sides = [Features(torch.eye(2), [1, 2], paths=["a.png", "b.png"]) for _ in range(2)]
    >>> sides[1] = Features(torch.eye(2), [1, 2], paths=["c.png", "d.png"])
    >>> [first.image for first in ranked_queries(*sides, rows=[1])[0].matches]
    ['d.png', 'c.png']
    """
    k = expect_whole("ranked_queries", "k", k)
    rows = range(len(query)) if rows is None else rows
    rows = rows.tolist() if isinstance(rows, Tensor) else list(rows)
    length = 2 * k if keep_excluded else k
    found = top_matches(
        query[rows],
        gallery,
        length,
        protocol=protocol,
        distance=distance,
        keep_excluded=keep_excluded,
    )
    precision = None if evaluation is None else evaluation.average_precision.tolist()
    return [
        RankedQuery(
            _path(query, row, "query"),
            [
                RankedImage(
                    _path(gallery, match.index, "gallery"),
                    match.correct,
                    match.distance,
                    _camera(gallery, match.index),
                )
                for match in _first(matches, k)
            ],
            person_of(query, int(query.ids[row])),
            _camera(query, row),
            None if precision is None else precision[row],
        )
        for row, matches in zip(rows, found, strict=True)
    ]


def _first(matches: Sequence[Match], k: int) -> list[Match]:
    """Return the matches up to the k-th that counts, or all."""
    counted = [place for place, match in enumerate(matches) if match.correct is not None]
    return list(matches[: counted[k]] if len(counted) > k else matches)


def _path(side: Features, row: int, name: str) -> str:
    path = None if side.paths is None else side.paths[row]
    if path is None:
        raise ValueError(
            f"ranked_queries expects {name} with the paths of the images it shows, got none for "
            f"row {row}; let the loader's batches have a path, or give Features(…, paths=)"
        )
    return path


def person_of(side: Features, identity: int) -> str:
    """Call a person by the name, or by the number where there is none."""
    return side.identity_names.get(identity, f"id {identity}")


def _camera(side: Features, row: int) -> str | int | None:
    camera = -1 if side.cameras is None else int(side.cameras[row])
    return None if camera == -1 else side.camera_names.get(camera, camera)
