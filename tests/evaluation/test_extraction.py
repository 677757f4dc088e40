import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from reidblocks.evaluation import Features, evaluate, evaluate_model, extract_features


def batches(values, ids, cameras, size=2):
    parts = zip(values.split(size), ids.split(size), cameras.split(size), strict=True)
    return [SimpleNamespace(image=v, label=i, camera=c) for v, i, c in parts]


def problem():
    return torch.randn(7, 3), torch.arange(7) % 3, torch.arange(7) % 2


def test_features_are_the_models_in_eval_and_its_mode_comes_back():
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5)).train()
    values, ids, cameras = problem()
    found = extract_features(model, batches(values, ids, cameras))
    assert model.training
    expected = model.eval()(values)
    torch.testing.assert_close(found.values, expected.detach())
    assert torch.equal(found.ids, ids)
    assert torch.equal(found.cameras, cameras)
    assert not found.values.requires_grad


def test_the_mode_comes_back_after_an_error_too():
    model = nn.Linear(4, 2).train()
    with pytest.raises(RuntimeError):
        extract_features(model, batches(*problem()))
    assert model.training


def test_each_part_has_its_own_mode_again():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout()).train()
    model[1].eval()  # a frozen norm
    before = model[1].running_mean.clone()
    extract_features(model, batches(*problem()))
    assert [part.training for part in model.modules()] == [True, True, False, True]
    assert torch.equal(model[1].running_mean, before)


def test_evaluate_model_is_extraction_and_evaluation():
    model = nn.Linear(3, 4)
    query, gallery = batches(*problem()), batches(*problem(), size=3)
    sides = (extract_features(model, loader) for loader in (query, gallery))
    expected = evaluate(*sides, distance="euclidean", max_rank=3)
    result = evaluate_model(model, query, gallery, distance="euclidean", max_rank=3)
    assert torch.equal(result.average_precision, expected.average_precision)
    assert torch.equal(result.cmc, expected.cmc)


def test_progress_counts_the_batches_on_stderr(capsys):
    extract_features(nn.Identity(), batches(*problem()), progress=True)
    assert "batches embedded: 4\n" in capsys.readouterr().err
    assert isinstance(extract_features(nn.Identity(), batches(*problem())), Features)
    assert capsys.readouterr().err == ""


def test_bad_input_is_refused_by_name():
    with pytest.raises(ValueError, match="at least one batch"):
        extract_features(nn.Identity(), [])
    with pytest.raises(ValueError, match=r"model to give \(B, D\), got \(2, 3, 1\)"):
        extract_features(lambda x: x[..., None], batches(*problem()))
    with pytest.raises(ValueError, match=r"model to give \(B, D\), got tuple"):
        extract_features(lambda x: (x, x), batches(*problem()))
    with pytest.raises(TypeError, match=r"got a tuple without image, label, camera; let .*Item"):
        extract_features(nn.Identity(), [problem()])
    with pytest.raises(TypeError, match="got a SimpleNamespace without camera"):
        extract_features(nn.Identity(), [SimpleNamespace(image=torch.ones(1, 2), label=[0])])


def told(number, **fields):
    """Batches of two images that tell these fields too."""
    values, ids, cameras = (part[:number] for part in problem())
    found = batches(values, ids, cameras)
    for n, batch in enumerate(found):
        for name, column in fields.items():
            setattr(batch, name, column[2 * n : 2 * n + 2])
    return found


def test_what_batches_know_is_in_the_features():
    found = extract_features(
        nn.Identity(),
        told(
            4,
            path=["a.jpg", "", Path("b") / "c.jpg", None],
            sequence=torch.tensor([3, -1, 3, 4]),
            clothes=[-1, 0, -1, 5],
            time=[0, 1.5, None, math.nan],
        ),
    )
    assert found.paths == ["a.jpg", None, str(Path("b/c.jpg")), None]
    assert found.sequences.tolist() == [3, -1, 3, 4]
    assert found.clothes.tolist() == [-1, 0, -1, 5]
    assert found.times[:2].tolist() == [0, 1.5]
    assert found.times[2:].isnan().all()


def test_what_is_known_of_no_image_is_none():
    for fields in (
        {},
        {"path": [""] * 3, "sequence": [-1] * 3, "time": torch.full((3,), math.nan)},
    ):
        found = extract_features(nn.Identity(), told(3, **fields))
        assert found.paths is found.sequences is found.clothes is found.times is None


def test_what_some_batches_know_is_kept():
    given = told(4, sequence=[1, 2, 3, 4], path=["a", "b", "c", "d"])
    del given[0].sequence, given[0].path
    found = extract_features(nn.Identity(), given)
    assert found.sequences.tolist() == [-1, -1, 3, 4]
    assert found.paths == [None, None, "c", "d"]


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"path": ["a"]}, ValueError, r"path as a list of 2, one for each image, got \['a'\]"),
        ({"path": "ab"}, ValueError, "path as a list of 2"),
        ({"sequence": [0.5, 1]}, TypeError, "sequence as whole numbers, got 0.5"),
        ({"clothes": [1]}, ValueError, r"clothes \(2,\)"),
        ({"time": ["noon", 1]}, TypeError, "time as numbers, got 'noon' in row 0"),
    ],
)
def test_what_batches_tell_wrongly_is_refused_by_name(fields, error, message):
    with pytest.raises(error, match=f"extract_features expects {message}"):
        extract_features(nn.Identity(), told(2, **fields))


def test_names_of_a_data_set_are_kept():
    names = SimpleNamespace(identity_names={0: "anna"}, camera_names={1: "hall"})
    values, ids, cameras = problem()
    side = extract_features(nn.Identity(), batches(values, ids, cameras), names=names)
    assert (side.identity_names, side.camera_names) == ({0: "anna"}, {1: "hall"})
    one = batches(values[:2], torch.tensor([0, 1]), torch.tensor([1, 1]))
    other = batches(values[:2], torch.tensor([1, 0]), torch.tensor([2, 1]))
    report = evaluate_model(nn.Identity(), one, other, names=names).report
    assert report.dropped[0].examples == ("query 0 (identity anna, camera hall)",)
