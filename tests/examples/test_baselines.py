"""The baselines: what they give, what each is trained for, and that train.py trains them."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from tiny import TINY, tiny_backbone

import evaluate
import train
from baselines import Baseline
from criterion import Criterion
from reidblocks.data import synthetic_people

NAMES = {
    "bnneck": ["whole"],
    "pcb": ["p1", "p2", "p3", "p4"],
    "mgn": [
        "whole", "whole_of_2", "p1_of_2", "p2_of_2",
        "whole_of_4", "p1_of_4", "p2_of_4", "p3_of_4", "p4_of_4",
    ],
}  # fmt: skip
TRIPLETS = {"bnneck": ["whole"], "pcb": [], "mgn": ["whole", "whole_of_2", "whole_of_4"]}


@pytest.mark.parametrize("circle", ["class", "pair"])
@pytest.mark.parametrize("network", list(NAMES))
def test_a_baseline_trains_all_that_it_has(network: str, circle: str) -> None:
    config = dataclasses.replace(TINY, network=network, num_parts=4, circle=circle)
    backbone = tiny_backbone()
    model = Baseline(backbone, config)
    criterion = Criterion(config, model.sizes, 5)
    images, labels = torch.rand(8, 3, 16, 8), torch.arange(4).repeat_interleave(2)
    output = model(images)
    assert list(output.features) == NAMES[network]
    terms = criterion(output, labels)
    assert sorted(terms) == sorted(
        [f"circle_{name}" for name in NAMES[network]]
        + [f"triplet_{name}" for name in TRIPLETS[network]]
    )
    torch.stack(list(terms.values())).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), name
    assert all(parameter.grad is None for parameter in backbone.parameters())  # it is copied
    assert model.embed(images).shape == (8, sum(model.sizes.values()))


def test_the_triplet_loss_of_bnneck_sees_the_vector_before_bn() -> None:
    config = dataclasses.replace(TINY, network="bnneck", circle="class")
    whole = Baseline(tiny_backbone(), config)(torch.rand(4, 3, 16, 8)).features["whole"]
    assert whole.metric is not None
    torch.testing.assert_close(whole.embedding.mean(0), torch.zeros(10), atol=1e-5, rtol=0)
    assert whole.metric.mean() > 0.01


def test_stripes_come_from_their_own_rows() -> None:
    model = Baseline(tiny_backbone(), dataclasses.replace(TINY, network="pcb", num_parts=4)).eval()
    one = torch.rand(1, 3, 32, 8)
    other = one.clone()
    other[:, :, 28:] = 0  # the lowest stripe alone, and what a 3×3 convolution carries up from it
    before, after = model(one).features, model(other).features
    torch.testing.assert_close(before["p1"].embedding, after["p1"].embedding)
    assert not torch.allclose(before["p4"].embedding, after["p4"].embedding, atol=1e-3)


@pytest.mark.parametrize("network", list(NAMES))
def test_train_py_trains_and_evaluate_py_reads_a_baseline(network: str, tmp_path: Path) -> None:
    people = synthetic_people(
        tmp_path, num_train_identities=4, num_test_identities=3, images_per_camera=2,
        num_cameras=2, size=(64, 16),
    )  # fmt: skip
    fields = {
        "dataset": "market1501", "data-root": people, "out": tmp_path / "run", "network": network,
        "height": 64, "width": 16, "identities": 4, "images": 2, "epochs": 1, "workers": 0,
        **{"bnneck": {}, "pcb": {"embed-dim": 8, "num-parts": 4}, "mgn": {"embed-dim": 8}}[network],
    }  # fmt: skip
    words = [word for name, value in fields.items() for word in (f"--{name}", str(value))]
    train.main(["--preset", "synthetic", *words])
    evaluate.main([str(tmp_path / "run")])
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(figures) == {"untrained", "trained"}
