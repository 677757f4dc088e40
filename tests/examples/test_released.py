"""Checkpoints of the authors' code: figures computed with it, and a forward pass written apart."""

import dataclasses
import json
import math
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from released_format import Weights, released_forward, released_shapes, seeded_weights
from torch import Tensor

import share
from build import load_checkpoint, load_model
from config import MDPRConfig, from_dict
from criterion import Criterion
from model import MDPR
from reidblocks.backbones import resnet
from reidblocks.deploy import load_embedder
from released import Released, load_released, main

SMALL: dict[str, Any] = {"ibn": True, "dim": 6, "maps": 3, "parts": 4, "classes": 5}


@pytest.fixture(scope="module")
def small() -> Weights:
    return seeded_weights(released_shapes(18, **SMALL))


def results(model: MDPR, images: Tensor) -> dict[str, Tensor]:
    with torch.inference_mode():
        output = model.eval()(images, everything=True)
    return {
        "embedding": output.embedding(model.features),
        "maps5": output.attention["A5"],
        "maps4": output.attention["A4"],
        "bap5_pooled": output.parts["soft_bap5"],
        "bap4_pooled": output.parts["soft_bap4"],
    }


def compare(released: Released, images: Tensor, expected: dict[str, Tensor]) -> None:
    """Hold all results to 1e-9 of the largest value, in float64.

    In float32 a softmax of numbers in the thousands, as random weights give it, makes of their
    rounding what it will, and each machine rounds its own way.
    """
    found = results(released.model.double(), images)
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        error = (found[name] - value).abs().max() / value.abs().max()
        assert error < 1e-9, (name, error)


def test_figures_of_the_released_code(shared: Path) -> None:
    folder = shared / "reference"
    shapes = json.loads((folder / "released_mdpr_r50.keys.json").read_text())
    reference = np.load(folder / "released_mdpr_r50.npz")
    released = load_released({"model": seeded_weights(shapes), "epoch": 59})
    # The released code keeps mean and deviation in float32.
    mean, std = (
        torch.tensor([255 * value for value in values]).double().view(3, 1, 1)
        for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    images = (torch.from_numpy(reference["images"]).double() - mean) / std
    names = ("embedding", "maps5", "maps4", "bap5_pooled", "bap4_pooled")
    compare(released, images, {name: torch.from_numpy(reference[name]) for name in names})


def test_the_format_here_is_the_released_one(shared: Path) -> None:
    shapes = json.loads((shared / "reference/released_mdpr_r50.keys.json").read_text())
    ours = released_shapes(50, ibn=True, dim=32, maps=2, parts=2, classes=10)
    assert ours == {name: tuple(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("depth", "sizes"),
    [
        (18, SMALL),
        (18, {"ibn": False, "dim": 4, "maps": 1, "parts": 1, "classes": 2, "guided": False}),
        (34, {"ibn": True, "dim": 4, "maps": 2, "parts": 5, "classes": 2}),
        (50, {"ibn": False, "dim": 8, "maps": 2, "parts": 2, "classes": 3}),
        pytest.param(
            101,
            {"ibn": True, "dim": 24, "maps": 4, "parts": 2, "classes": 7},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_any_depth_and_sizes(depth: int, sizes: dict[str, Any]) -> None:
    weights = seeded_weights(released_shapes(depth, **sizes), seed=7)
    released = load_released(weights)
    config = released.config
    assert config.backbone == f"resnet{depth}" + ("_ibn" if sizes["ibn"] else "")
    assert config.guidance is sizes.get("guided", True)
    found = config.embed_dim, config.num_maps, config.num_parts, released.num_classes
    assert found == tuple(sizes[name] for name in ("dim", "maps", "parts", "classes"))
    height = 16 * math.lcm(sizes["parts"], 4)
    images = torch.randn(2, 3, height, 32, dtype=torch.float64)
    compare(released, images, released_forward(weights, images))


def test_the_criterion_gets_class_weights_and_predictors(small: Weights) -> None:
    criterion = load_released(small).criterion
    heads = {
        "hard_g5": "hard_global_head", "hard_p1": "hard_part_head.0", "hard_p4": "hard_part_head.3",
        "soft_g5": "attn_feature4_head", "soft_g4": "attn_feature3_head",
        "soft_bap5": "attn_bap_feature4_head", "soft_bap4": "attn_bap_feature3_head",
        "fusion": "fusion_feat_head",
    }  # fmt: skip
    for ours, theirs in heads.items():
        assert torch.equal(criterion.circles[ours].weight, small[f"{theirs}.weight"])
    hard, soft = torch.randn(4, 6), torch.randn(4, 6)

    def predict(number: int, x: Tensor) -> Tensor:
        leaves = ("0.weight", "1.weight", "1.bias", "3.weight", "3.bias")
        first, scale, shift, second, bias = (small[f"predictor{number}.{leaf}"] for leaf in leaves)
        hidden = x @ first.T
        hidden = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt()
        return (hidden * scale + shift).relu() @ second.T + bias

    one = torch.cosine_similarity(predict(1, hard), soft).mean()
    two = torch.cosine_similarity(predict(2, soft), hard).mean()
    torch.testing.assert_close(criterion.distiller(hard, soft), -(one + two) / 2)


def test_class_weights_in_the_order_of_the_identities(small: Weights) -> None:
    theirs = small["hard_global_head.weight"]
    criterion = load_released(small, classes=[1, 10, 11, 2, 9]).criterion
    assert torch.equal(criterion.circles["hard_g5"].weight, theirs[[0, 3, 4, 1, 2]])
    with pytest.raises(ValueError, match="it has 5 classes, the data set 2"):
        load_released(small, classes=[1, 2])


def rebuilt(path: Path) -> tuple[MDPR, MDPRConfig, dict[str, Any]]:
    state = load_checkpoint(path)
    return load_model(state), from_dict(state["config"]), state


def test_converted_and_read_again(
    small: Weights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "released.pth", tmp_path / "ours.pt"
    torch.save({"model": small, "epoch": 3, "metric": np.float64(0.9)}, source)
    main([str(source), str(out), "--dataset", "dukemtmc"])
    assert "resnet18_ibn, M = 6, K = 3, N = 4, 5 classes" in capsys.readouterr().out
    model, config, state = rebuilt(out)
    assert (config.dataset, config.data_root) == ("dukemtmc", "")
    released, images = load_released(source), torch.randn(2, 3, 64, 32)
    expected = results(released.model, images)
    for name, value in results(model, images).items():
        assert torch.equal(value, expected[name])
    criterion = Criterion(config, model.sizes, num_classes=5)
    criterion.load_state_dict(state["criterion"])


def test_the_whole_model_as_a_program_that_the_library_loads(
    small: Weights, tmp_path: Path
) -> None:
    source, out, program = (tmp_path / name for name in ("a.pth", "ours.pt", "person.pt2"))
    torch.save({"model": small}, source)
    with pytest.raises(ValueError, match=r"it is one of the authors' released MDPR. Convert it"):
        load_embedder(source, "osnet_x1_0")
    main([str(source), str(out)])
    share.main([str(out), str(program)])
    embedder = load_embedder(program)
    coarse = torch.rand(1, 3, 6, 4)
    images = torch.nn.functional.interpolate(coarse, embedder.size).mul(255).to(torch.uint8)
    mean, std = (
        torch.tensor([255 * value for value in values]).double().view(3, 1, 1)
        for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    expected = released_forward(small, (images - mean) / std)["embedding"]
    found = embedder(images)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-3 * expected.abs().max()


def test_the_data_set_sorts_the_class_weights(small: Weights, tmp_path: Path) -> None:
    for folder, identities in (("bounding_box_train", (1, 2, 9, 10, 11)), ("query", (3,))):
        (tmp_path / folder).mkdir()
        for identity in identities:
            (tmp_path / folder / f"{identity:04}_c1s1_000001_00.jpg").touch()
    (tmp_path / "query").rename(tmp_path / "bounding_box_test")
    (tmp_path / "query").mkdir()
    (tmp_path / "query" / "0003_c2s1_000001_00.jpg").touch()
    torch.save(small, tmp_path / "released.pth")
    main([str(tmp_path / "released.pth"), str(tmp_path / "ours.pt"), "--data-root", str(tmp_path)])
    rows = rebuilt(tmp_path / "ours.pt")[2]["criterion"]["circles.fusion.weight"]
    # As text the identities are 1, 10, 11, 2, 9.
    assert torch.equal(rows, small["fusion_feat_head.weight"][[0, 3, 4, 1, 2]])


def test_training_goes_on(small: Weights) -> None:
    released = load_released(small)
    parts = torch.nn.ModuleList((released.model.train(), released.criterion.train()))
    before = {name: tensor.clone() for name, tensor in parts.state_dict().items()}
    optimizer = torch.optim.SGD(parts.parameters(), lr=1e-3)
    images, labels = torch.randn(8, 3, 64, 32), torch.arange(8) // 2
    terms = released.criterion(released.model(images), labels)
    assert all(term.isfinite() for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    optimizer.step()
    after = parts.state_dict()
    still = [name for name in before if torch.equal(before[name], after[name])]
    # The BN of the neck keeps its bias, the predictors' first bias has nothing to do.
    assert not [name for name in still if not name.endswith(("neck.bn.bias", ".0.bias"))]


def test_the_network_is_taken_over_and_the_rest_stays(small: Weights) -> None:
    theirs = load_released(small).config
    mine = MDPRConfig(
        dataset="synergyreid", weights="moco.pth", circle="class", diversity="maps", epochs=3
    )
    both = mine.with_network_of(theirs)
    MDPR(resnet(18, ibn=True, ceil_pool=True), both).load_state_dict(
        load_released(small).model.state_dict()
    )
    assert both == dataclasses.replace(theirs, dataset="synergyreid", epochs=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fusion.merge.0.weight": None}, "lacks fusion.merge.0.weight of the released MDPR"),
        ({"generate.attn_bap4.embedding_layer.1.bn.bias": None}, r"lacks generate.attn_bap4.*1.bn"),
        ({"hard_global_head.weight": None}, "lacks hard_global_head.weight"),
        ({"generate.backbone.4.0.se.fc.weight": torch.ones(1)}, r"should not have .*4.0.se.fc"),
        ({f"heads.{n}.bias": torch.ones(1) for n in range(6)}, "heads.3.bias and 2 more"),
        ({"fusion.output.0.weight": torch.ones(2, 2, 1, 1)}, "size mismatch"),
        ({"generate.backbone_part.0.2.conv1.weight": torch.ones(1)}, "has 3 blocks in res-conv4"),
    ],
)
def test_a_checkpoint_that_does_not_fit(
    small: Weights, change: dict[str, Tensor | None], message: str
) -> None:
    changed = {**small, **change}
    with pytest.raises(ValueError, match=message):
        load_released({name: value for name, value in changed.items() if value is not None})


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"state_dict": {"conv1.weight": torch.ones(1)}}, path)
    with pytest.raises(ValueError, match=r"other.pth is no checkpoint of the released.*state_dict"):
        load_released(path)
    with pytest.raises(ValueError, match="the mapping is no checkpoint of the released MDPR"):
        load_released({"model": torch.ones(1)})

    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "harm"),)

    path.write_bytes(pickle.dumps({"model": Harm()}, protocol=2))
    with pytest.raises(ValueError, match="could run code"):
        load_released(path)
    assert not (tmp_path / "harm").exists()


def test_ceil_pool_is_for_resnets() -> None:
    with pytest.raises(ValueError, match="ceil_pool is an option of the ResNets, not of mobilenet"):
        MDPRConfig(backbone="mobilenet_v2", ceil_pool=True)
