from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reidblocks.evaluation import Features


def test_rows_are_taken_with_all_that_is_known_of_them():
    side = Features(torch.eye(3), [5, 6, 7], [1, 2, 3], [0, 0, 1], ["a", "b", "c"])
    for rows in ([2, 0], torch.tensor([2, 0])):
        part = side[rows]
        assert torch.equal(part.values, torch.eye(3)[[2, 0]])
        assert part.ids.tolist() == [7, 5]
        assert part.cameras.tolist() == [3, 1]
        assert part.sequences.tolist() == [1, 0]
        assert part.paths == ["c", "a"]
    assert side[torch.tensor([True, False, True])].ids.tolist() == [5, 7]
    assert side[[]].ids.tolist() == []
    assert Features(torch.eye(3), [5, 6, 7])[[0]].cameras is None


@pytest.mark.parametrize(
    "rows", [slice(2), slice(1, None), slice(None, None, -1), slice(-2, 9), slice(3, 1), slice(0)]
)
def test_a_slice_takes_what_it_takes_of_a_list(rows):
    part = Features(torch.eye(3), [5, 6, 7], [1, 2, 3], paths=["a", "b", "c"])[rows]
    assert part.ids.tolist() == [5, 6, 7][rows]
    assert part.cameras.tolist() == [1, 2, 3][rows]
    assert part.paths == ["a", "b", "c"][rows]
    assert part.values.tolist() == torch.eye(3).tolist()[rows]


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (
            torch.tensor([True]),
            IndexError,
            r"a mask \(3,\), true or false for each row, got \(1,\)",
        ),
        ([True] * 4, IndexError, r"a mask \(3,\).*got \(4,\)"),
        (torch.ones(3, 3).bool(), IndexError, r"a mask \(3,\).*got \(3, 3\)"),
        ([0.5], TypeError, r"a list of whole numbers, a slice or a mask, got \[0.5\]"),
        (1, TypeError, "a list of whole numbers, a slice or a mask, got 1"),
        ([3], IndexError, "out of"),
    ],
)
def test_rows_that_are_none_are_refused_by_name(rows, error, message):
    with pytest.raises(error, match=message):
        Features(torch.eye(3), [5, 6, 7])[rows]


def test_labels_become_int64_tensors_and_follow_the_values():
    side = Features(torch.eye(2), torch.tensor([1, 2], dtype=torch.int16), [3, 4])
    assert side.ids.dtype == side.cameras.dtype == torch.long
    assert side.to("meta").ids.device.type == "meta"


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"values": torch.ones(3, 4, 1)}, ValueError, r"Features expects values \(N, D\)"),
        ({"values": torch.ones(3, 4).long()}, TypeError, r"got torch.int64; give values.float\(\)"),
        ({"ids": None}, TypeError, "ids as whole numbers, got None; number them from 0 on"),
        ({"ids": ["a", "b", "a"]}, TypeError, "ids as whole numbers, got 'a' in row 0; numb"),
        ({"cameras": [[1], [2, 3], []]}, TypeError, r"cameras as whole numbers, got \[\[1\]"),
        ({"ids": [0, 1]}, ValueError, r"ids \(3,\), one for each row of values, got \(2,\)"),
        ({"ids": torch.rand(3)}, TypeError, "ids as whole numbers, got torch.float32"),
        ({"ids": [True, False, True]}, TypeError, "ids as whole numbers, got True in row 0"),
        (
            {"ids": torch.tensor([0, 1, 2**63], dtype=torch.uint64)},
            ValueError,
            r"ids below 2\*\*63",
        ),
        ({"cameras": [0]}, ValueError, r"cameras \(3,\)"),
        ({"sequences": [[0, 0, 0]]}, ValueError, r"sequences \(3,\)"),
        ({"clothes": [1]}, ValueError, r"clothes \(3,\)"),
        ({"clothes": [1, None, 2]}, TypeError, "None in row 1 .an image without one has -1"),
        ({"times": [1.0]}, ValueError, r"times \(3,\), one for each row of values, got \(1,\)"),
        ({"times": "abc"}, TypeError, "times as numbers, got 'abc'"),
        ({"times": 3.0}, TypeError, "times as numbers, got 3.0"),
        ({"times": [1, "2", 3]}, TypeError, "times as numbers, got '2' in row 1"),
        ({"times": [1, True, 3]}, TypeError, "times as numbers, got True in row 1"),
        ({"times": [True, False, True]}, TypeError, "times as numbers, got True in row 0"),
        ({"times": torch.ones(3).bool()}, TypeError, "times as numbers, got torch.bool"),
        ({"times": np.ones(3, bool)}, TypeError, "times as numbers, got True in row 0"),
        ({"times": [0, 1, 2**53]}, ValueError, r"whole times below 2\*\*53 in size"),
        ({"times": torch.tensor([0, 1, -(2**60)])}, ValueError, r"times below 2\*\*53"),
        ({"paths": ["a"]}, ValueError, "a path for each of 3 rows, got 1"),
        ({"paths": "abc"}, TypeError, "paths as a list of strings, got 'abc'"),
        ({"paths": ["a", 2, "c"]}, TypeError, "paths as strings, or None, got 2 in row 1"),
    ],
)
def test_bad_input_is_refused_by_name(fields, error, message):
    with pytest.raises(error, match=message):
        Features(**({"values": torch.ones(3, 4), "ids": [0, 1, 2]} | fields))


def test_no_images_need_no_type_of_labels():
    for none in ([], (), np.array([]), torch.tensor([])):
        side = Features(torch.empty(0, 8), ids=none, cameras=none)
        assert side.ids.shape == side.cameras.shape == (0,)
        assert side.ids.dtype == side.cameras.dtype == torch.int64


def test_paths_may_be_path_objects_of_any_collection_or_none():
    given = {0: Path("a") / "b.jpg", 1: None, 2: np.str_("c.jpg")}.values()
    side = Features(torch.eye(3), [0, 1, 2], paths=given)
    assert side.paths == [str(Path("a/b.jpg")), None, "c.jpg"]
    assert side[[1, 0]].paths == [None, side.paths[0]]
    assert side.to("cpu").paths == side.paths


def test_rows_may_be_a_reversed_array():
    side = Features(torch.eye(3), [5, 6, 7])
    assert side[np.arange(3)[::-1]].ids.tolist() == [7, 6, 5]
    assert side[np.arange(3, dtype=">i8")].ids.tolist() == [5, 6, 7]


def test_features_of_the_same_contents_are_equal():
    def made(**changed):
        fields = {"values": torch.eye(3), "ids": [1, 2, 3], "cameras": [0, 0, 1], "paths": "abc"}
        fields |= changed
        return Features(**fields | {"paths": list(fields["paths"])})

    assert made() == made()
    others = (
        made(values=torch.eye(3).double()),
        made(values=torch.ones(3, 3)),
        made(values=torch.eye(3)[:, :2]),
        made(ids=[1, 2, 4]),
        made(cameras=None),
        made(paths="abd"),
        made().to("meta"),
        "features",
    )
    assert all(made() != other for other in others)
    with pytest.raises(TypeError, match="unhashable"):
        hash(made())


@pytest.mark.parametrize(
    "given",
    [
        [1.5, None, 3],
        (np.float32(1.5), np.nan, 3),
        np.array([1.5, np.nan, 3]),
        np.array([1.5, np.nan, 3], dtype=">f8"),
        np.array([1.5, None, 3], dtype=object),
        np.ma.masked_values([1.5, -1, 3], -1),
        torch.tensor([1.5, torch.nan, 3]),
        [torch.tensor(1.5), torch.nan, 3],
    ],
    ids=str,
)
def test_times_become_float64_with_nan_for_none(given):
    side = Features(torch.eye(3), [5, 6, 7], times=given)
    assert side.times.dtype == torch.float64
    assert side.times.isnan().tolist() == [False, True, False]
    assert side.times[[0, 2]].tolist() == [1.5, 3]


def test_frames_are_kept_to_the_last_one():
    frames = [0, 2**53 - 1, -(2**53) + 1]
    for given in (frames, np.array(frames), torch.tensor(frames)):
        assert Features(torch.eye(3), [5, 6, 7], times=given).times.tolist() == frames


def test_clothes_and_times_go_where_the_rows_go():
    side = Features(torch.eye(3), [5, 6, 7], clothes=[1, 2, -1], times=[0.5, None, 2])
    part = side[[2, 0]]
    assert part.clothes.tolist() == [-1, 1]
    assert part.times.tolist() == [2, 0.5]
    assert part.sequences is None
    assert side.to("meta").times.device.type == "meta"
    assert side == replace(side)
    assert side != replace(side, times=[0.5, None, 3])
    assert side != replace(side, clothes=None)


def test_names_stay_with_the_features():
    side = Features(
        torch.eye(2), [3, 5], [0, -1], identity_names={3: "anna"}, camera_names={0: "hall"}
    )
    assert [side.identity_name(n) for n in (3, 5)] == ["anna", "5"]
    assert [side.camera_name(n) for n in (0, 1, -1)] == ["hall", "1", "unknown"]
    for kept in (side[[1]], side.to("meta"), side[:0]):
        assert (kept.identity_names, kept.camera_names) == ({3: "anna"}, {0: "hall"})
    assert side != Features(torch.eye(2), [3, 5], [0, -1])


@pytest.mark.parametrize("names", [["anna"], {"3": "anna"}, {3: 4}, "anna"])
def test_names_that_are_none(names):
    message = r"Features expects camera_names as a mapping of whole numbers to names, such as \{0: "
    with pytest.raises(TypeError, match=message):
        Features(torch.eye(2), [3, 5], camera_names=names)
