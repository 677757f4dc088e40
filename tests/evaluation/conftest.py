"""The naive reference: float64, one query at a time, a stable sort, plain loops."""

import math

import pytest


def naive_distance(x, y, distance):
    if distance == "euclidean":
        return math.fsum((a - b) ** 2 for a, b in zip(x, y, strict=True))
    dot = math.fsum(a * b for a, b in zip(x, y, strict=True))
    if len(x) == 1:  # all images lie on one line: one cosine before, its opposite behind
        return -math.copysign(1, dot) if dot else 0
    # the cosine's order, without the rounding of two square roots
    return -dot * abs(dot) / math.fsum(b * b for b in y)


def naive_ranking(query, gallery, distance):
    """Gallery indices from the nearest on; equal distances keep the gallery's order."""
    far = [naive_distance(query, other, distance) for other in gallery]
    return sorted(range(len(gallery)), key=lambda j: far[j])


def naive_evaluate(
    query,
    query_ids,
    gallery,
    gallery_ids,
    query_cameras=None,
    gallery_cameras=None,
    query_sequences=None,
    gallery_sequences=None,
    distance="cosine",
    max_rank=50,
    junk_ids=(-1,),
    distractor_ids=(),
):
    """(AP, INP, first rank) of each query or None where dropped, and the CMC curve."""
    gallery = [[float(v) for v in row] for row in gallery]
    each = []
    for i, features in enumerate(query):
        hits = []
        features = [float(v) for v in features]
        for j in naive_ranking(features, gallery, distance):
            if int(gallery_ids[j]) in junk_ids:
                continue
            same = int(gallery_ids[j]) == int(query_ids[i])
            if query_cameras is not None and same:
                camera = int(query_cameras[i])
                if camera != -1 and camera == int(gallery_cameras[j]):
                    continue
            if query_sequences is not None:
                sequence = int(query_sequences[i])
                if sequence != -1 and sequence == int(gallery_sequences[j]):
                    continue
            hits.append(same)
        ranks = [rank for rank, hit in enumerate(hits, start=1) if hit]
        if not ranks or int(query_ids[i]) in (*junk_ids, *distractor_ids):
            each.append(None)
            continue
        precision = sum(k / rank for k, rank in enumerate(ranks, start=1)) / len(ranks)
        each.append((precision, len(ranks) / ranks[-1], ranks[0]))
    kept = [values for values in each if values is not None]
    cmc = [sum(v[2] <= k for v in kept) / len(kept) if kept else 0 for k in range(1, max_rank + 1)]
    return each, cmc


@pytest.fixture(scope="session")
def naive():
    return naive_evaluate


@pytest.fixture(scope="session")
def ranking():
    return naive_ranking
