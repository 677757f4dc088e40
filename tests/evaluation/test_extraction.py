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


def test_paths_and_sequences_are_kept_where_batches_tell_them():
    query, _ = batches(*problem()), None
    plain = extract_features(nn.Identity(), query)
    assert (plain.paths, plain.sequences) == (None, None)
    told = [
        SimpleNamespace(**vars(batch), path=[f"{n}{i}.jpg" for i in range(len(batch.label))],
                        sequence=[n] * len(batch.label))
        for n, batch in enumerate(query)
    ]  # fmt: skip
    features = extract_features(nn.Identity(), told)
    assert features.paths[:2] == ["00.jpg", "01.jpg"]
    assert features.sequences.tolist() == [n for n, b in enumerate(query) for _ in b.label]
    for batch in told:
        batch.sequence = torch.full((len(batch.label),), -1)
        batch.clothes = torch.arange(len(batch.label))
        batch.time = torch.full((len(batch.label),), torch.nan, dtype=torch.float64)
    features = extract_features(nn.Identity(), told)
    assert features.sequences is features.times is None
    assert features.clothes[:2].tolist() == [0, 1]


def test_the_loader_of_an_image_data_set_gives_its_paths(tmp_path):
    data = pytest.importorskip("reidblocks.data")
    people = data.synthetic_people(
        tmp_path, num_train_identities=2, num_test_identities=2, images_per_camera=2,
        num_cameras=2, size=(32, 16),
    )  # fmt: skip
    paths = sorted((people / "query").iterdir())
    samples = [data.Sample(path, 1, 1) for path in paths]
    images = data.ImageDataset(samples, data.eval_transform((16, 8)))
    loader = torch.utils.data.DataLoader(images, batch_size=2)
    found = extract_features(nn.Flatten(), loader)
    assert found.paths == [str(path) for path in paths]
