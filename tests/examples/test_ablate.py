"""ablate.py: the tables name what the paper's do, and the queue runs each training once."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import ablate
import train
from ablate import plan, run_name
from comparison import over_seeds
from config import MDPRConfig
from held_out import hold_out
from held_out import main as write_held_out
from reidblocks.data import ReIDDataset, Sample, from_csv, synthetic_people
from tables import Row, studies

PAPER = MDPRConfig()


def test_the_tables_hold_the_papers_settings() -> None:
    tables = studies(PAPER)
    values = {
        name: [dataclasses.replace(PAPER, **row.changes) for row in tables[name].rows]
        for name in tables
    }
    assert [config.embed_dim for config in values["M"]] == [256, 512, 768]
    assert [config.num_maps for config in values["K"]] == [2, 4, 8]
    assert [config.guidance for config in values["guidance"]] == [True, False]
    assert sorted(config.beta for config in values["beta"]) == [0, 0.0001, 0.001, 0.01, 0.1]
    assert [(c.distillation, c.fusion, c.separate_networks) for c in values["parts"]] == [
        (False, False, False), (True, False, False), (False, True, False), (True, True, False),
        (False, False, True), (True, True, True),
    ]  # fmt: skip
    for row in tables["features"].rows:
        dataclasses.replace(PAPER, **row.changes).feature_names(row.features or None)
    for table in tables.values():  # the reference is the paper's own setting, or the baseline
        reference = table.rows[table.reference]
        changed = ablate.differences(PAPER, reference)
        assert changed in ({}, {"network": "bnneck"}), table.title
        titles = [row.title for row in table.rows]
        assert len(set(titles)) == len(titles)


def test_a_run_that_several_tables_need_is_in_the_queue_once(tmp_path: Path) -> None:
    queue = plan(PAPER, studies(PAPER), [0, 1], tmp_path)
    names = [run.folder.name for run in queue]
    assert len(set(names)) == len(names)
    configs = [dataclasses.replace(run.config, seed=0) for run in queue]
    assert len(set(configs)) == len(configs) / 2  # no setting is trained under two names
    base = next(run for run in queue if run.folder.name == "base-seed1")
    assert base.config == dataclasses.replace(PAPER, seed=1)
    assert ("hard", "soft") in base.features
    assert () in base.features
    assert all(run.config.seed == 0 for run in queue[: len(queue) // 2])


def test_a_row_of_the_bases_own_values_is_the_base() -> None:
    assert run_name(PAPER, Row("M = 512", {"embed_dim": 512})) == "base"
    assert run_name(PAPER, Row("none", {"fusion": False, "beta": 0.0})) == "beta_0.0-fusion_False"


def test_over_seeds_each_query_has_the_mean_of_its_figures() -> None:
    def run(precision: list[float], rank: list[float]) -> dict[str, torch.Tensor]:
        return {
            "average_precision": torch.tensor(precision, dtype=torch.float64),
            "inverse_negative_penalty": torch.tensor(precision, dtype=torch.float64),
            "first_match_rank": torch.tensor(rank, dtype=torch.float64),
            "query_ids": torch.tensor([1, 2, 3]),
        }

    nan = float("nan")
    result = over_seeds([run([1.0, 0.2, nan], [1, 3, nan]), run([0.5, 0.4, nan], [2, 1, nan])])
    assert result.mAP == pytest.approx((0.75 + 0.3) / 2)
    assert result.rank(1) == pytest.approx((0.5 + 0.5) / 2)
    assert result.rank(2) == pytest.approx((1.0 + 0.5) / 2)
    assert result.rank(3) == 1
    assert result.matched_within(1).tolist() == [0.5, 0.5]
    assert result.num_valid_queries == 2


@pytest.mark.slow
def test_all_tables_run_on_drawn_people(tmp_path: Path) -> None:
    ablate.main(["--tiny", "--out", str(tmp_path), "--seeds", "0", "1"])
    tables = json.loads((tmp_path / "results.json").read_text())["tables"]
    for table in tables.values():
        for row in table["rows"]:
            assert row["seeds"] == [0, 1], row["title"]
            assert row["trained mAP"] > row["untrained mAP"], row["title"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One table of one seed, run; while it is in use --tiny is tinier still."""

    def few(root: Path, **_: object) -> Path:
        return synthetic_people(
            root, num_train_identities=8, num_test_identities=4, images_per_camera=2,
            num_cameras=2, size=(64, 32),
        )  # fmt: skip

    folder = tmp_path_factory.mktemp("ablations")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablate, "synthetic_people", few)
        patch.setattr(train, "draw_run", lambda *_: [])  # pictures take seconds
        ablate.main(arguments(folder, "guidance"))
        yield folder


def arguments(out: Path, *names: str, **changes: object) -> list[str]:
    fields = {"epochs": 1, "embed_dim": 4, **changes}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in fields.items()]
    return ["--tiny", "--out", str(out), "--studies", *names, *words]


def test_a_table_is_written_as_json_and_markdown(out: Path) -> None:
    results = json.loads((out / "results.json").read_text())
    table = results["tables"]["guidance"]
    with_guidance, without = table["rows"]
    assert table["reference"] == with_guidance["title"] == "with"
    assert with_guidance["seeds"] == without["seeds"] == [0]
    assert "difference mAP" not in with_guidance
    difference = without["difference mAP"]
    gap = without["trained mAP"] - with_guidance["trained mAP"]
    assert difference["value"] == pytest.approx(gap, abs=2e-5)
    assert 0 < difference["p_value"] <= 1
    run = json.loads((out / "base-seed0" / "metrics.json").read_text())
    assert with_guidance["trained mAP"] == pytest.approx(run["trained"]["mAP"], abs=1e-5)
    assert with_guidance["untrained mAP"] == pytest.approx(run["untrained"]["mAP"], abs=1e-5)
    text = (out / "results.md").read_text()
    assert f"{100 * without['trained mAP']:.1f}" in text
    assert text.startswith("market1501, small_resnet, 64×32, 1 epochs of batches of 8×4.\n\nIn per")
    assert str(out) not in json.dumps(results)
    titles = [run["title"] for run in results["runs"]]
    assert titles == ["MDPR, circle loss over classes", "without"]


def test_what_is_finished_is_not_run_again(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "launch", None)
    monkeypatch.setattr(ablate, "measure", None)
    ablate.main(arguments(out, "guidance"))
    assert "without | 1" in capsys.readouterr().out
    ablate.main([*arguments(out, "guidance", "K"), "--list"])
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == ["done", "done", "open", "open"]


def test_sets_of_features_are_measured_on_one_training(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        train, "launch", None
    )  # it is trained already: "features" asks for more sets
    run = next(r for r in plan(*planned(out, "features")) if r.folder.name == "base-seed0")
    ablate.carry_out(run)
    found = json.loads((out / "base-seed0" / "outcome.json").read_text())["features"]
    assert found["all"]["trained"] == found["hard soft fusion"]["trained"]
    assert found["hard"]["trained"] != found["soft"]["trained"]
    assert found["hard"]["size"] == 3 * 4
    assert found["all"]["size"] == 9 * 4
    assert found["hard"]["gmacs"] < found["hard soft"]["gmacs"] < found["all"]["gmacs"]
    assert found["hard"]["parameters"] < found["hard soft"]["parameters"]


def planned(out: Path, name: str) -> tuple[MDPRConfig, dict[str, object], list[int], Path]:
    base = dataclasses.replace(ablate.tiny_base(out), epochs=1, embed_dim=4)
    return base, {name: studies(base)[name]}, [0], out


def test_a_run_cut_short_goes_on_and_a_failed_one_does_not_stop_the_others(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "people").symlink_to(out / "people")
    begun = tmp_path / "base-seed0"
    begun.mkdir()
    (begun / "metrics.jsonl").write_text("")  # killed in its first epoch
    calls = []

    def broken(config: MDPRConfig, **options: Path) -> None:
        calls.append((config.dataset, options))
        raise RuntimeError("no such luck")

    monkeypatch.setattr(train, "launch", broken)
    with pytest.raises(SystemExit, match="failed: base-seed0, guidance_False-seed0"):
        ablate.main(arguments(tmp_path, "guidance"))
    assert [(data, [*options]) for data, options in calls] == [("market1501", ["out"])] * 2
    told = capsys.readouterr()
    assert "not run" in told.out
    assert told.err.count("Traceback") == 2  # a RuntimeError is a fault of ours
    begun.mkdir(exist_ok=True)
    for name in ("metrics.jsonl", "last.pt"):
        (begun / name).write_text("")
    (begun / "config.json").write_text((out / "base-seed0" / "config.json").read_text())
    with pytest.raises(SystemExit, match="failed"):
        ablate.main(arguments(tmp_path, "guidance"))
    assert calls[2][1] == {"resume": begun}


def test_a_folder_of_other_settings_is_refused(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / "base-seed0" / "outcome.json").rename(out / "base-seed0" / "aside")
    try:
        with pytest.raises(SystemExit, match="failed: base-seed0"):
            ablate.main(arguments(out, "guidance", beta=0.5))
    finally:
        (out / "base-seed0" / "aside").rename(out / "base-seed0" / "outcome.json")
    said = capsys.readouterr().err
    assert "base-seed0: " in said
    assert "other settings of beta" in said
    assert "Traceback" not in said  # a mistake of the user's


def test_two_processes_do_not_take_one_run(tmp_path: Path) -> None:
    with ablate.claim(tmp_path / "run") as first, ablate.claim(tmp_path / "run") as second:
        assert (first, second) == (True, False)
    with ablate.claim(tmp_path / "run") as again:
        assert again


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--studies", "Q"], "no table Q; there are baselines, M"),
        (["--network", "pcb"], "the base of the tables is MDPR"),
        (["--branches", "hard"], "the base of the tables is MDPR"),
    ],
)
def test_what_cannot_be_run_is_refused(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        ablate.main([*words, "--out", str(tmp_path)])


def test_holding_out_leaves_no_identity_on_both_sides(tmp_path: Path) -> None:
    people = synthetic_people(
        tmp_path, num_train_identities=6, num_test_identities=2, images_per_camera=3,
        num_cameras=2, size=(32, 16),
    )  # fmt: skip
    table = tmp_path / "chosen" / "held.csv"
    write_held_out([str(table), "--data-root", str(people), "--identities", "2", "--seed", "3"])
    data = from_csv(table)
    assert data.num_identities == 4
    assert len(data.train) == 4 * 6
    assert len(data.query) == 2 * 2  # one for each identity and camera
    assert len(data.gallery) == 2 * 2 * 2
    assert {s.identity for s in data.query} == {s.identity for s in data.gallery}
    assert "query" not in {s.path.parent.name for s in data.query}  # all are training images


@pytest.mark.parametrize("identities", [0, 2])
def test_holding_out_all_or_none_is_refused(identities: int) -> None:
    samples = tuple(Sample(Path(f"{n}.jpg"), n // 2, n % 2) for n in range(4))
    test = (Sample(Path("other.jpg"), 9, 0),)
    data = ReIDDataset("four", samples, test, test)
    with pytest.raises(ValueError, match="from 1 to 1 of the 2 training identities"):
        hold_out(data, identities)
