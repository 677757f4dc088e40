import pytest
import torch

from reidblocks.evaluation import Features

TOO_LARGE = torch.tensor([0, 1, 2**63], dtype=torch.uint64)


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
    assert Features(torch.eye(3), [5, 6, 7])[[0]].cameras is None


def test_labels_become_int64_tensors_and_follow_the_values():
    side = Features(torch.eye(2), torch.tensor([1, 2], dtype=torch.int16), [3, 4])
    assert side.ids.dtype == side.cameras.dtype == torch.long
    assert side.to("meta").ids.device.type == "meta"


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"values": torch.ones(3, 4, 1)}, ValueError, r"Features expects values \(N, D\)"),
        ({"values": torch.ones(3, 4).long()}, TypeError, "floating-point values, got torch.int64"),
        ({"ids": [0, 1]}, ValueError, r"ids \(3,\), one for each row of values, got \(2,\)"),
        ({"ids": torch.rand(3)}, TypeError, "ids as whole numbers, got torch.float32"),
        ({"ids": [True, False, True]}, TypeError, "ids as whole numbers, got torch.bool"),
        (
            {"ids": torch.tensor([0, 1, 2**63], dtype=torch.uint64)},
            ValueError,
            r"ids below 2\*\*63",
        ),
        ({"cameras": [0]}, ValueError, r"cameras \(3,\)"),
        ({"sequences": [[0, 0, 0]]}, ValueError, r"sequences \(3,\)"),
        ({"paths": ["a"]}, ValueError, "a path for each of 3 rows, got 1"),
    ],
)
def test_bad_input_is_refused_by_name(fields, error, message):
    with pytest.raises(error, match=message):
        Features(**({"values": torch.ones(3, 4), "ids": [0, 1, 2]} | fields))
