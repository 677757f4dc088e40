"""ablate.py: the tables name what the paper's do, and the queue runs each training once."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from filelock import FileLock

import ablate
import train
from ablate import plan, run_name
from comparison import over_seeds
from config import MDPRConfig
from measure import OF_A_QUERY
from reidblocks.data import synthetic_people
from reidblocks.evaluation import DropReport, Evaluation, compare
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


def test_a_base_without_fusion_is_not_searched_by_it() -> None:
    base = dataclasses.replace(PAPER, fusion=False)
    tables = studies(base)
    searched = [row.features for row in tables["features"].rows if not row.changes]
    every = [row.features for row in studies(PAPER)["features"].rows if not row.changes]
    assert searched == [names for names in every if "fusion" not in names]
    assert searched[-1] == ("hard", "soft")
    for table in tables.values():
        changed = ablate.differences(base, table.rows[table.reference])
        assert changed in ({}, {"network": "bnneck"}), table.title
    assert tables["baselines"].rows[-1].title.startswith("MDPR without fusion, ")


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


def test_over_seeds_an_identity_has_all_its_queries() -> None:
    """The differences, intervals and p are those of each query's mean over the runs."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.arange(12) // 2

    def run(better: float) -> dict[str, torch.Tensor]:
        precision = (torch.rand(12, generator=draw, dtype=torch.float64) / 2 + better).clamp(max=1)
        precision[3] = torch.nan  # a query without a match
        rank = torch.randint(1, 4, (12,), generator=draw).double()
        rank[3] = torch.nan
        return dict(zip(OF_A_QUERY, (precision, precision, rank, ids), strict=True))

    def mean(runs: list[dict[str, torch.Tensor]]) -> Evaluation:
        values = [torch.stack([each[name] for each in runs]) for name in OF_A_QUERY]
        within = (values[2][:, :, None] <= torch.arange(1, 11)).double().mean(0)
        within[3] = torch.nan
        first, second, rank = (value.mean(0) for value in values[:3])
        return Evaluation(first, second, rank, within, within.nanmean(0), ids, DropReport(12, ()))

    before, after = [run(0.0), run(0.1)], [run(0.2), run(0.3)]
    found = compare(over_seeds(before), over_seeds(after))
    for name, expected in compare(mean(before), mean(after)).items():
        assert found[name] == pytest.approx(expected, abs=1e-12), name


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
    assert "| without (1 seed) | " in capsys.readouterr().out
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


def test_two_processes_do_not_take_one_run(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ablate, "carry_out", None)
    with FileLock(out / "base-seed0.lock", timeout=0):
        ablate.main(arguments(out, "guidance"))
    assert "base-seed0: another process is at it" in capsys.readouterr().out
    ablate.main(arguments(out, "guidance"))
    assert "another process" not in capsys.readouterr().out


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
