"""A report's tables are right for any network; those of its evaluation: test_sections.py."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from tiny import TINY, tiny, tiny_backbone

from baselines import Baseline
from evaluate import Score
from reidblocks.data import read_market1501, synthetic_people
from reidblocks.evaluation import Features, evaluate
from reidblocks.visualization import ReportTable
from report import attention_maps, by_feature, examined


def scored(values: torch.Tensor, ids: list[int], cameras: list[int] | None) -> Score:
    side = Features(values, ids, cameras)
    return Score(side, side, evaluate(side, side))


@pytest.mark.parametrize("network", ["mdpr", "bnneck", "pcb", "mgn"])
def test_the_features_of_every_network_add_up(network: str) -> None:
    config = dataclasses.replace(TINY, network=network, num_parts=2)
    model = tiny() if network == "mdpr" else Baseline(tiny_backbone(), config)
    model.eval()
    widths = [model.sizes[name] for name in model.features]
    with torch.inference_mode():
        assert sum(widths) == model.embed(torch.rand(2, 3, 48, 24)).shape[1]
    if network != "mdpr":
        assert attention_maps(model, [], config) == {}


def test_each_feature_is_searched_with_its_own_numbers() -> None:
    right = torch.eye(3).repeat(2, 1)
    wrong = torch.eye(3).repeat(2, 1)[[0, 1, 2, 1, 2, 0]]
    both = scored(torch.cat([wrong, right, right], 1), [1, 2, 3] * 2, [1] * 3 + [2] * 3)
    table = by_feature(both, {"hard_g5": 3, "soft_g5": 3, "soft_g4": 3})
    found = {row[0]: (row[1], row[3]) for row in table.rows}  # numbers and rank-1
    assert found["hard_g5"] == (3, "0.0%")
    assert found["soft_g5"] == found["soft_g4"] == (3, "100.0%")
    assert found["soft, together"] == (6, "100.0%")
    assert found["all"][0] == 9


def test_a_dead_feature_does_not_end_the_report() -> None:
    both = scored(torch.cat([torch.zeros(4, 2), torch.eye(2).repeat(2, 1)], 1), [1, 2] * 2, None)
    table = by_feature(both, {"hard_g5": 2, "soft_g5": 2})
    assert list(table.rows[0][2:]) == ["–"] * 4


def test_a_network_on_synthetic_people_is_measured(tmp_path: Path) -> None:
    """Masks, as drawn beside the images, reach the table; without them its column is not there."""
    folder = synthetic_people(
        tmp_path, num_train_identities=1, num_test_identities=2, num_cameras=2, size=(48, 24)
    )
    queries = read_market1501(folder).query
    config = dataclasses.replace(TINY, height=48, width=24)
    model = tiny().eval()

    def tables() -> list[ReportTable]:
        parts = examined(model, queries, config)
        return [part for part in parts if isinstance(part, ReportTable)]

    masked = tables()
    assert len(masked) == 2
    for table in masked:
        assert table.header[-1] == "on the person (1: chance)"
        found = [float(row[-1]) for row in table.rows if row[-1]]
        assert len(found) == len(table.rows) - 1
    shutil.rmtree(folder / "masks")
    assert [table.header for table in tables()] == [table.header[:-1] for table in masked]
