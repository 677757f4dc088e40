"""Vectors of tracks equal naive loops in float64, and are evaluated as images are."""

import math
import statistics
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidblocks.evaluation import Features, Protocol, aggregate, evaluate


def naive_tracks(columns):
    """Row numbers of each track, in the order of their first rows; −1 stays alone."""
    tracks = {}
    for row, key in enumerate(zip(*columns, strict=True)):
        tracks.setdefault((row, key) if -1 in key else key, []).append(row)
    return list(tracks.values())


def unit(vector):
    length = math.sqrt(math.fsum(v * v for v in vector))
    return [v / length for v in vector]


def naive_vector(rows, weights, how, normalize):
    rows = [unit(row) if normalize else row for row in rows]
    if how == "median":
        vector = [statistics.median(column) for column in zip(*rows, strict=True)]
    else:
        total = math.fsum(weights)
        vector = [
            math.fsum(w * v for w, v in zip(weights, column, strict=True)) / total
            for column in zip(*rows, strict=True)
        ]
    return unit(vector) if normalize else vector


@given(
    seed=st.integers(0, 10_000),
    number=st.integers(1, 15),
    size=st.integers(2, 4),
    how=st.sampled_from(["mean", "median"]),
    normalize=st.booleans(),
    weighted=st.booleans(),
    by=st.sampled_from(["sequences", ("ids", "sequences"), "numbers"]),
)
def test_vectors_equal_a_naive_loop(seed, number, size, how, normalize, weighted, by):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(number, size, generator=generator) + 0.5
    sequences = torch.randint(-1, 4, (number,), generator=generator)
    ids = sequences.clamp_min(0) % 2
    weights = torch.rand(number, generator=generator).add(0.01) if weighted else None
    weights = None if how == "median" else weights
    side = Features(values, ids.masked_fill(sequences < 0, 5), sequences=sequences)
    columns = [sequences.tolist()] if by != ("ids", "sequences") else [
        side.ids.tolist(), sequences.tolist()
    ]  # fmt: skip
    tracks = naive_tracks(columns)
    given = sequences.tolist() if by == "numbers" else by
    found = aggregate(side, given, how=how, weights=weights, normalize=normalize)
    assert len(found) == len(tracks)
    assert found.ids.tolist() == [int(side.ids[rows[0]]) for rows in tracks]
    assert found.values.dtype == torch.float32
    plain = values.double().tolist()
    each = [1.0] * number if weights is None else weights.double().tolist()
    for row, rows in enumerate(tracks):
        expected = naive_vector(
            [plain[i] for i in rows], [each[i] for i in rows], how, normalize
        )  # fmt: skip
        got = found.values[row].double()
        torch.testing.assert_close(got, torch.tensor(expected).double(), rtol=1e-5, atol=1e-6)


def test_what_is_known_of_a_track():
    side = Features(
        torch.eye(6),
        [7, 8, 7, 7, 8, 9],
        [1, 2, 1, 1, 2, 3],
        [0, 5, 0, 0, 5, -1],
        list("abcdef"),
        clothes=[1, 1, 1, 1, 1, 0],
        times=[math.nan, 3, 4, -2, None, None],
    )
    found = aggregate(side, "sequences")
    assert found.ids.tolist() == [7, 8, 9]
    assert found.cameras.tolist() == [1, 2, 3]
    assert found.sequences.tolist() == [0, 5, -1]
    assert found.clothes.tolist() == [1, 1, 0]
    assert found.paths == ["a", "b", "f"]
    assert found.times[:2].tolist() == [-2, 3]
    assert found.times.isnan().tolist() == [False, False, True]
    bare = aggregate(Features(torch.eye(3), [1, 1, 2]), "ids")
    assert bare.cameras is bare.times is bare.paths is None


def test_other_types_and_many_columns(monkeypatch):
    values = torch.randn(9, 6)
    side = Features(values, [1, 1, 1, 2, 2, 2, 3, 3, 3])
    expected = aggregate(side, "ids", how="median")
    monkeypatch.setattr("reidblocks.evaluation.tracks._COLUMNS", 10)
    assert aggregate(side, "ids", how="median") == expected
    half = aggregate(Features(values.half(), side.ids), "ids")
    assert half.values.dtype == torch.float32
    assert aggregate(Features(values.double(), side.ids), "ids").values.dtype == torch.float64
    none = aggregate(side[[]], "ids")
    assert none.values.shape == (0, 6)


def test_image_to_track_and_track_to_track_are_ordinary_evaluations():
    """Person 1's track is right on average although its second image lies on person 2."""
    crops = Features(
        torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]]),
        ids=[1, 1, 1, 2, 2],
        sequences=[0, 0, 0, 1, 1],
    )
    tracks = aggregate(crops, "sequences")
    image = Features(torch.tensor([[1.0, 0.2], [0.0, 1.0]]), [1, 2], sequences=[8, 9])
    assert evaluate(image, tracks).rank(1) == 1
    again = aggregate(replace(crops, sequences=torch.tensor([4, 4, 4, 5, 5])), "sequences")
    assert evaluate(again, tracks).mAP == 1
    with pytest.raises(ValueError, match="only in its own sequence"):
        evaluate(tracks, replace(tracks), protocol=Protocol(exclude_same_sequence=True))
    with pytest.raises(ValueError, match="no other image of its identity than the query itself"):
        evaluate(tracks, tracks)


def test_a_query_inside_a_track_is_known_by_the_tracks_path_or_by_its_sequence():
    """Two tracks of person 1, one of person 2; the queries are images of the first track."""
    crops = Features(
        torch.eye(5),
        ids=[1, 1, 1, 1, 2],
        sequences=[0, 0, 3, 3, 4],
        paths=["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"],
    )
    tracks = aggregate(crops, "sequences")
    by_path = evaluate(crops[:2], tracks)
    assert by_path.report.num_self_matches == 1  # a.jpg is the first image of its track
    assert by_path.first_match_rank[1] == 1  # b.jpg is inside of it, and finds itself
    own = Protocol(exclude_same_sequence=True)
    apart = evaluate(crops[:2], tracks, protocol=own)
    alone = evaluate(crops[:2], tracks[1:])  # the gallery without that track
    assert torch.equal(apart.average_precision, alone.average_precision)


SIDE = Features(torch.eye(4), [1, 1, 2, 2], [0, 1, 1, 1], clothes=[0, 0, 0, 1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: aggregate(torch.eye(3), "ids"), TypeError, "features as Features, got Tensor"),
        (lambda: aggregate(SIDE, "sequences"), ValueError, r"\(ids, cameras, clothes\).*'sequenc"),
        (lambda: aggregate(SIDE, "values"), ValueError, "names of labels.*got 'values'"),
        (lambda: aggregate(SIDE, ("ids", "paths")), ValueError, "names of labels.*got 'paths'"),
        (lambda: aggregate(SIDE, [1, 2]), ValueError, r"by \(4,\), one for each row"),
        (lambda: aggregate(SIDE, [0.5] * 4), TypeError, "by as whole numbers, got 0.5 in row 0"),
        (lambda: aggregate(SIDE, None), TypeError, "by as whole numbers, got None"),
        (
            lambda: aggregate(SIDE, [0, 1, 1, 2]),
            ValueError,
            "agree in ids, got 1 in row 1 and 2 in row 2; add 'ids' to by$",
        ),
        (
            lambda: aggregate(SIDE, "ids"),
            ValueError,
            r"agree in cameras, got 0 in row 0 and 1 in row 1; add 'cameras' to by, or leave them "
            r"out: dataclasses.replace\(features, cameras=None\)",
        ),
        (lambda: aggregate(SIDE, ("ids", "cameras")), ValueError, "agree in clothes"),
        (lambda: aggregate(SIDE, range(4), how="max"), ValueError, "'mean' or 'median', got 'max'"),
        (
            lambda: aggregate(SIDE, range(4), how="median", weights=[1] * 4),
            ValueError,
            "weights with how='mean' alone",
        ),
        (lambda: aggregate(SIDE, range(4), weights=[1]), ValueError, r"weights \(4,\)"),
        (lambda: aggregate(SIDE, range(4), weights="high"), TypeError, "weights as numbers"),
        (lambda: aggregate(SIDE, range(4), weights=[1, -1, 1, 1]), ValueError, "from 0 on"),
        (lambda: aggregate(SIDE, range(4), weights=[1, None, 1, 1]), ValueError, "are finite"),
        (lambda: aggregate(SIDE, range(4), weights=[1, 1, 0, 1]), ValueError, "that of row 2"),
        (
            lambda: aggregate(replace(SIDE, values=torch.full((4, 4), torch.nan)), range(4)),
            ValueError,
            "finite values, got NaN or infinity in 4 rows, first in row 0",
        ),
        (
            lambda: aggregate(replace(SIDE, values=torch.zeros(4, 4)), range(4)),
            ValueError,
            "no zero vector, got 4 rows, first row 0; leave them out, or give normalize=False",
        ),
        (
            lambda: aggregate(Features(torch.tensor([[1.0], [-1.0]]), [1, 1]), "ids"),
            ValueError,
            "do not cancel each other, got 1 tracks, first track 0",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_track_of_two_people_is_told_by_their_names():
    crops = Features(torch.eye(2), [0, 1], identity_names={0: "anna", 1: "ben"})
    with pytest.raises(ValueError, match="in ids, got anna in row 0 and ben in row 1"):
        aggregate(crops, by=[7, 7])
