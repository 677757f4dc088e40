import pytest
import torch

from reidblocks.evaluation import MARKET1501, Features, Reason, evaluate, evaluate_open_set


def test_every_reason_is_counted_with_examples():
    features = torch.eye(5)
    result = evaluate(
        Features(features, [1, -1, 0, 9, 2], [1, 1, 1, 1, 3], paths=[f"{c}.jpg" for c in "abcde"]),
        Features(features[:4], [1, 2, 2, 0], [2, 3, 3, 1]),
        protocol=MARKET1501,
    )
    found = {part.reason: part for part in result.report.dropped}
    assert found[Reason.JUNK].count == 2
    assert found[Reason.JUNK].examples == ("b.jpg (identity -1)", "c.jpg (identity 0)")
    assert found[Reason.NO_IDENTITY].examples == ("d.jpg (identity 9)",)
    assert found[Reason.OWN_CAMERA_ONLY].examples == ("e.jpg (identity 2, camera 3)",)
    assert result.report.num_dropped == 4
    assert result.num_valid_queries == 1


def test_an_error_carries_the_report_when_all_are_dropped():
    features = torch.randn(9, 3)
    with pytest.raises(ValueError, match="no gallery image has its identity") as caught:
        evaluate(Features(features, torch.arange(9)), Features(features, torch.arange(9) + 100))
    text = str(caught.value)
    assert "9 of 9 queries dropped" in text
    assert "query 0 (identity 0), query 1 (identity 1), query 2 (identity 2), …" in text
    assert "made contiguous" in text  # what to do about it


def test_people_and_cameras_are_called_by_their_names():
    names = {"identity_names": {0: "anna", 1: "ben"}, "camera_names": {4: "hall"}}
    query = Features(torch.eye(2), [0, 1], [4, 4], paths=["a.jpg", "b.jpg"], **names)
    gallery = Features(torch.eye(2), [0, 0], [4, 5])
    dropped = evaluate(query, gallery).report.dropped
    assert dropped[0].examples == ("b.jpg (identity ben)",)
    dropped = evaluate_open_set(query[[0, 1, 0]], gallery[[1, 0]]).dropped.dropped
    assert dropped == ()
    with pytest.raises(ValueError, match=r"own camera: a\.jpg \(identity anna, camera hall\)"):
        evaluate(query[[0]], gallery[[0]])
