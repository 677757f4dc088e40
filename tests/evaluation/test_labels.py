"""Identities, cameras and the like, from whatever holds whole numbers."""

import numpy as np
import pytest
import torch

from reidblocks.evaluation import FeatureAccumulator, Features, Protocol, extract_features
from reidblocks.evaluation.labels import as_labels

SIGNED = ["i1", "i2", "i4", "i8"]
UNSIGNED = ["u1", "u2", "u4", "u8"]
TORCH = ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]


def labels(given, number=3):
    return as_labels("Features", "ids", given, number)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", SIGNED + UNSIGNED)
def test_arrays_of_any_integer_type_order_and_stride(kind, order):
    array = np.array([4, 0, 7, 0, 9], dtype=order + kind)
    expected = [9, 7, 4]
    found = labels(array[::-2])
    assert found.dtype == torch.int64
    assert found.tolist() == expected
    array[:] = 1
    assert found.tolist() == expected  # a copy


@pytest.mark.parametrize("kind", TORCH)
def test_tensors_of_any_integer_type(kind):
    found = labels(torch.tensor([5, 0, 3], dtype=getattr(torch, kind)))
    assert found.dtype == torch.int64
    assert found.tolist() == [5, 0, 3]


@pytest.mark.parametrize(
    "given",
    [
        [4, 0, 7],
        (4, 0, 7),
        {"a": 4, "b": 0, "c": 7}.values(),
        (number for number in (4, 0, 7)),
        range(4, 7),
        [np.int32(4), np.uint64(0), np.int8(7)],
        [torch.tensor(4), torch.tensor(0), torch.tensor(7)],
        [np.array(4), 0, 7],
        np.array([4, 0, 7], dtype=object),
        [-(2**63), 0, 2**63 - 1],
        np.ma.masked_array([4, 0, 7], mask=False),
    ],
    ids=lambda given: type(given).__name__,
)
def test_collections_of_whole_numbers(given):
    expected = [int(item) for item in given] if not hasattr(given, "send") else [4, 0, 7]
    found = labels(given)
    assert found.dtype == torch.int64
    assert found.tolist() == expected


def test_the_tables_of_pandas():
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    assert labels(pandas.Series([4, 0, 7], index=[9, 8, 7])).tolist() == [4, 0, 7]
    # from pandas 3 on, NumPy sees such a column as floats
    with pytest.raises(TypeError, match=r"got (<NA> in row 1|an array of float64)"):
        labels(pandas.Series([4, None, 7], dtype="Int64"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([2**63, 0, 0], r"below 2\*\*63 in size, got 9223372036854775808 in row 0"),
        ([0, 0, -(2**63) - 1], r"below 2\*\*63 in size, got -9223372036854775809 in row 2"),
        (np.array([0, 2**63, 0], dtype=np.uint64), r"below 2\*\*63 in size, got 92233720368547758"),
        (torch.tensor([0, 2**63, 0], dtype=torch.uint64), r"larger ones in torch.uint64"),
        ([10**30, 0, 0], r"below 2\*\*63 in size"),
    ],
)
def test_what_int64_cannot_hold_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        labels(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([0.0, 1.0, 2.0], r"got 0.0 in row 0; number them.*or give int\(…\) of each if all are w"),
        ([0, 1.5, 2], "got 1.5 in row 1"),
        ([0, float("nan"), 2], r"got nan in row 1 \(an image whose identity is unknown has -1\)"),
        (np.array([0.0, 1.0, 2.0]), r"an array of float64; .*or give ids.astype\(int\) if all"),
        (torch.tensor([0.0, 1.0, 2.0]), r"got torch.float32; .*or give ids.long\(\) if all are"),
        (torch.tensor([0.0, 1.0, 2.0]).bfloat16(), "got torch.bfloat16"),
        (torch.tensor([True, False, True]), "got torch.bool; number them from 0 on, alike in"),
        (np.array([True, False, True]), "got an array of bool"),
        ([0, True, 2], "got True in row 1"),
        ([0, np.True_, 2], "got np.True_ in row 1"),
        ([0, torch.tensor(True), 2], "got True in row 1"),
        ([0, None, 2], r"got None in row 1 \(an image whose identity"),
        (np.array([0, None, 2], dtype=object), "got None in row 1"),
        (np.ma.masked_array([0, 1, 2], mask=[0, 1, 0]), "got None in row 1"),
        (["0", "1", "2"], "got '0' in row 0"),
        (np.array(["a", "b", "c"]), "got an array of <U1"),
        (np.array([b"a", b"b", b"c"]), "got an array of .S1"),
        (np.array([0, 1, 2], "M8[s]"), "got an array of datetime64"),
        (torch.tensor([0j, 1j, 2j]), "got torch.complex64"),
        ([[1], [2, 3], []], r"got \[\[1\]"),
        ({0, 1, 2}, r"got \{0, 1, 2\}"),
        ({0: 1, 1: 1, 2: 1}, r"got \{0: 1"),
        ("012", "got '012'"),
        (None, "got None; number them from 0 on"),
        (3, "got 3"),
    ],
)
def test_what_is_no_whole_number_is_refused_by_name(given, message):
    with pytest.raises(TypeError, match=message):
        labels(given)


def test_each_caller_speaks_of_its_own_argument():
    values = torch.eye(2)
    with pytest.raises(TypeError, match=r"Features expects cameras .*without one has -1\)"):
        Features(values, [0, 1], cameras=[0, None])
    with pytest.raises(TypeError, match=r"Features expects sequences .*without one has -1\)"):
        Features(values, [0, 1], sequences=[0, None])
    with pytest.raises(TypeError, match="FeatureAccumulator expects positions as whole numbers"):
        FeatureAccumulator().update(values, [0, 1], positions=[0.0, 1.0])
    with pytest.raises(TypeError, match="Protocol expects junk_ids as whole numbers, got -1"):
        Protocol(junk_ids=-1)
    with pytest.raises(TypeError, match=r"Protocol expects distractor_ids .*got 'a' in row 1"):
        Protocol(distractor_ids=(0, "a"))
    assert Protocol(junk_ids=[-1, np.int16(3)]).junk_ids == (-1, 3)


@pytest.mark.parametrize(
    ("label", "camera", "error", "message"),
    [
        (["a", "b"], [0, 0], TypeError, "extract_features expects label as whole numbers, got 'a'"),
        ([0, 1], [0, None], TypeError, "camera as whole numbers, got None in row 1"),
        ([0, 1], None, TypeError, "camera as whole numbers, got None"),
        ([0, 1, 2], [0, 0], ValueError, r"label \(2,\), one for each row of values, got \(3,\)"),
        (torch.tensor([2**63, 0], dtype=torch.uint64), [0, 0], ValueError, r"label below 2\*\*63"),
    ],
)
def test_a_loader_that_gives_others_is_told(label, camera, error, message):
    batch = type("Batch", (), {"image": torch.eye(2), "label": label, "camera": camera})
    with pytest.raises(error, match=message):
        extract_features(torch.nn.Identity(), [batch])


def test_a_loader_may_give_lists_and_arrays():
    fields = {"image": torch.eye(2), "label": [3, 4], "camera": np.array([1, 2], ">i2")}
    found = extract_features(torch.nn.Identity(), [type("Batch", (), fields)])
    assert (found.ids.tolist(), found.cameras.tolist()) == ([3, 4], [1, 2])


def test_a_model_of_two_sizes_is_told():
    batches = [
        type("Batch", (), {"image": torch.eye(size), "label": range(size), "camera": range(size)})
        for size in (2, 3)
    ]
    with pytest.raises(ValueError, match=r"to give \(B, 2\) for every batch, got \(3, 3\)"):
        extract_features(torch.nn.Identity(), batches)
