"""train.py as a user runs it, on a handful of small drawn people."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import evaluate
import report
import share
import train
from build import build_backbone, build_model, load_checkpoint, load_model, read_data
from config import PRESETS, from_dict
from model import MDPR
from reidblocks.data import synthetic_people
from reidblocks.training import DistributedContext, StopRequest, save_checkpoint
from run import Training, TrainingStep
from train import StepResult, training_step

SCRIPT = Path(train.__file__)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_people(
        tmp_path_factory.mktemp("people"),
        num_train_identities=8,
        num_test_identities=4,
        images_per_camera=2,
        num_cameras=2,
        size=(32, 16),
    )


def flags(people: Path, out: Path, **changes: object) -> list[str]:
    fields = {
        "data_root": people, "out": out, "dataset": "market1501", "height": 32, "width": 16,
        "identities": 4, "images": 2, "embed_dim": 8, "epochs": 2, "eval_every": 1,
        "warmup_steps": 2, "precision": "float32", **changes,
    }  # fmt: skip
    pairs = [[f"--{name.replace('_', '-')}", str(value)] for name, value in fields.items()]
    return ["--preset", "synthetic", *(word for pair in pairs for word in pair)]


@pytest.fixture(scope="module")
def run(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train.main(flags(people, folder, log_every=2, gradient_shares=4))
    return folder


@pytest.fixture(autouse=True)
def _no_more_pictures(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw those of one run only: that takes longer than to train it."""
    monkeypatch.setattr(train, "draw_run", lambda *_: [])


def test_a_run_leaves_everything_that_it_promises(run: Path) -> None:
    for name in ("curves", "ranked", "attention"):
        with Image.open(run / f"{name}.png") as picture:
            assert min(picture.size) > 100
    figures = json.loads((run / "metrics.json").read_text())
    assert list(figures) == ["untrained", "trained"]
    for row in figures.values():
        assert list(row) == ["mAP", "rank-1", "rank-5", "rank-10", "mINP"]
        assert all(0 <= value <= 1 for value in row.values())
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2]
    assert lines[-1]["test"] == figures["trained"]
    terms = lines[-1]["train"]
    total = sum(value for name, value in terms.items() if name != "total")
    assert terms["total"] == pytest.approx(total, rel=1e-5)
    assert json.loads((run / "config.json").read_text())["embed_dim"] == 8
    assert load_checkpoint(run)["epoch"] == 2
    names = [path.name for path in run.glob("*.pt")]
    assert sorted(names) == ["best.pt", "last.pt", "step-4.pt", "step-8.pt"]
    (here,) = json.loads((run / "environment.json").read_text())
    assert {"commit", "command", "machine", "devices", "versions", "world_size"} <= set(here)
    steps = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps] == [1, 2, 4, 5, 6, 8]
    assert steps[0]["terms"].keys() == terms.keys()
    assert {"lr", "images_per_second", "gradient_norm"} <= steps[0].keys()
    shares = {line["step"]: line["gradient_shares"] for line in steps if "gradient_shares" in line}
    assert list(shares) == [1, 5]
    assert shares[1].keys() == terms.keys() - {"total"}
    assert sum(shares[1].values()) == pytest.approx(1)
    assert lines[-1]["gradient_norm"] > 0
    assert not list(run.glob("*.partial"))


def test_the_report_holds_everything_of_a_run(run: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(run / "report.html", width=390)
    headings = page.locator("h2").all_inner_texts()
    assert headings == [
        "Metrics", "Queries", "Attention", "Features", "Cameras", "Curves", "Map", "Configuration",
    ]  # fmt: skip
    assert page.locator("h3").all_inner_texts() == ["Worst", "Median", "Best"]
    figures = json.loads((run / "metrics.json").read_text())
    for name, row in figures.items():
        cells = page.locator(f"tr:has(th:text-is('{name}')) td").all_inner_texts()
        assert cells == [f"{100 * value:.1f}%" for value in row.values()]
    for name in ("hard_g5", "hard_p2", "soft_g4", "fusion", "hard, together", "all"):
        assert page.locator(f"#section-4 tr:has(th:text-is('{name}'))").count() == 1
    for camera in (1, 2):  # a table of mAP and one of rank-1; none with itself
        rows = page.locator(f"tr:has(th[scope=row]:text-is('camera {camera}'))")
        assert rows.count() == 2
        assert rows.first.locator("td").nth(camera - 1).inner_text() == "–"
        assert rows.first.locator("td").nth(2 - camera).inner_text().endswith("%")
    assert page.locator("tr:has(th:text-is('embed_dim')) td").all_inner_texts() == ["8", "512"]
    page.get_by_label("Camera of the query").select_option("camera 2")
    assert page.locator("output").inner_text() == "4 of 8 queries"
    assert page.locator(".card:not([hidden]) .maps img").count() == 4 * 6  # A4, A5: 1, 2 and all
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_run_is_not_written_over(run: Path, people: Path) -> None:
    before = (run / "metrics.jsonl").read_bytes()
    with pytest.raises(FileExistsError, match="holds a run already"):
        train.main(flags(people, run))
    assert (run / "metrics.jsonl").read_bytes() == before


def test_another_seed_is_another_run(run: Path, people: Path, tmp_path: Path) -> None:
    train.main(flags(people, tmp_path / "other", seed=1, epochs=1))
    a, b = (load_checkpoint(folder)["model"] for folder in (run, tmp_path / "other"))
    assert not torch.equal(a["stem.0.weight"], b["stem.0.weight"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "9", "--seed", "0"], "as the run was set: epochs 2 and not 9. Leave those"),
        (["--seed", "3"], "or train its network on with --start"),
        (["--preset", "market1501"], "height 32 and not 384, width 16 and not 192"),
        (["--out", "elsewhere"], "leave out --out and --start"),
    ],
)
def test_resuming_refuses_other_settings(run: Path, words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train.main(["--resume", str(run), *words])


def test_a_cache_and_workers_change_nothing(run: Path, people: Path, tmp_path: Path) -> None:
    train.main([*flags(people, tmp_path / "cached", workers=0), "--cache"])
    assert (tmp_path / "cached" / "metrics.json").read_text() == (run / "metrics.json").read_text()
    assert torch.equal(
        *(load_checkpoint(f)["model"]["stem.0.weight"] for f in (run, tmp_path / "cached"))
    )


def test_the_backbone_may_learn_slower(people: Path, tmp_path: Path) -> None:
    fields = {"backbone_lr_factor": 0, "weight_decay": 0, "epochs": 1}
    train.main(flags(people, tmp_path / "run", **fields))
    config = from_dict(load_checkpoint(tmp_path / "run")["config"])
    torch.manual_seed(config.seed)
    before = MDPR(build_backbone(config), config)
    after = load_model(load_checkpoint(tmp_path / "run"))
    changed = {
        name
        for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True)
        if not torch.equal(old, new)
    }
    assert {name for name in changed if name.startswith(("stem", "hard.stage", "soft.st"))} == set()
    assert {"hard.head.whole.projection.conv.weight", "fusion.pool.p"} <= changed


def test_training_on_starts_from_a_checkpoint(
    run: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = flags(people, tmp_path / "on", epochs=1, lr=1e-12, first_lr=1e-12)
    place = arguments.index("--embed-dim")
    del arguments[place : place + 2]
    train.main([*arguments, "--start", str(run)])
    before, after = load_checkpoint(run), load_checkpoint(tmp_path / "on")
    assert after["config"]["embed_dim"] == 8  # the checkpoint's
    weight = "hard.head.whole.projection.conv.weight"
    torch.testing.assert_close(before["model"][weight], after["model"][weight])
    printed = capsys.readouterr().out
    assert "criterion starts anew" not in printed
    assert f"training on the network of {run}: mdpr, small_resnet" in printed
    train.main([*flags(people, tmp_path / "pair", epochs=1, circle="pair"), "--start", str(run)])
    assert "criterion starts anew" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--network", "bnneck", "--backbone", "resnet18"],
         r"network mdpr and not bnneck, backbone small_resnet and not resnet18\. Leave out "
         r"--network, --backbone, or train a new network without --start"),
        (["--embed-dim", "4"], "embed_dim 8 and not 4"),
        (["--no-fusion"], r"fusion True and not False\. Leave out --fusion"),
        (["--weights", "gone.pth"], r"weights its own and not gone\.pth\. Leave out --weights,"),
    ],
)  # fmt: skip
def test_training_on_refuses_another_network(
    words: list[str], message: str, run: Path, people: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        train.main([*flags(people, tmp_path / "on"), *words, "--start", str(run)])


def test_training_on_refuses_another_network_of_a_file(run: Path, tmp_path: Path) -> None:
    (tmp_path / "network.json").write_text('{"embed_dim": 4}')
    words = ["--preset", "synthetic", "--config", str(tmp_path / "network.json")]
    with pytest.raises(ValueError, match="embed_dim 8 and not 4"):
        train.main([*words, "--start", str(run)])


def test_a_flag_without_effect_is_refused(people: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--num-maps has no effect, as .*baseline pcb"):
        train.main([*flags(people, tmp_path / "on"), "--network", "pcb", "--num-maps", "4"])
    assert not (tmp_path / "on").exists()


def test_weights_that_are_not_finite_are_refused(run: Path, people: Path, tmp_path: Path) -> None:
    state = load_checkpoint(run)
    state["model"]["stem.0.weight"][0] = float("nan")
    save_checkpoint(tmp_path / "last.pt", state)
    message = r"NaN or infinite values in 1 of its .*stem\.0\.weight"
    with pytest.raises(ValueError, match=message):
        evaluate.main([str(tmp_path)])
    with pytest.raises(ValueError, match=message):
        train.main([*flags(people, tmp_path / "on"), "--start", str(tmp_path)])


def test_features_cannot_be_chosen_of_a_baseline(tmp_path: Path) -> None:
    config = dataclasses.replace(PRESETS["synthetic"], network="bnneck")
    model = build_model(config).state_dict()
    state = {"config": dataclasses.asdict(config), "epoch": 0, "model": model}
    save_checkpoint(tmp_path / "bnneck.pt", state)
    message = "the baseline bnneck always holds all of its features: leave out --features"
    for main, more in (
        (evaluate.main, []),
        (share.main, [str(tmp_path / "out.pt2")]),
        (share.main, [str(tmp_path / "shared")]),
    ):
        with pytest.raises(ValueError, match=message):
            main([str(tmp_path / "bnneck.pt"), *more, "--features", "hrd"])


def test_a_checkpoint_without_an_optimizer_cannot_be_resumed(run: Path, tmp_path: Path) -> None:
    state = load_checkpoint(run)
    del state["optimizer"]
    (tmp_path / "run").mkdir()
    save_checkpoint(tmp_path / "run" / "last.pt", state)
    with pytest.raises(ValueError, match="has no optimizer to resume with; train on with --start"):
        train.main(["--resume", str(tmp_path / "run")])


def test_evaluate_reads_a_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.main([str(run), "--features", "hard", "soft_g4"])
    printed = capsys.readouterr().out
    assert "features hard_g5, hard_p1, hard_p2, soft_g4" in printed
    assert "mAP" in printed


def test_visualize_draws_a_run_again(run: Path) -> None:
    before = (run / "ranked.png").read_bytes()
    (run / "ranked.png").unlink()
    report.main([str(run)])
    assert (run / "ranked.png").read_bytes() == before


def test_several_processes_train_one_model(people: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(SCRIPT), *flags(people, tmp_path / "two", epochs=1), "--no-pictures"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("trained ") == 2, done.stdout  # untrained and trained, by one rank
    assert "2 × cpu" in done.stdout
    assert load_checkpoint(tmp_path / "two")["epoch"] == 1
    assert not [*(tmp_path / "two").glob("*.png"), *(tmp_path / "two").glob("*.html")]


def test_what_is_no_checkpoint_is_named(tmp_path: Path, run: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*last\.pt"):
        load_checkpoint(tmp_path)
    (tmp_path / "page.pt").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"page\.pt is no checkpoint"):
        load_checkpoint(tmp_path / "page.pt")
    whole = (run / "last.pt").read_bytes()
    (tmp_path / "half.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="truncated"):
        load_checkpoint(tmp_path / "half.pt")
    torch.save({"weights": 1}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="has no config, model and epoch"):
        load_checkpoint(tmp_path / "other.pt")


def test_a_broken_checkpoint_is_named_and_the_older_one_used(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    for name in ("last.pt", "step-8.pt"):
        whole = (run / name).read_bytes()
        (copy / name).unlink()
        (copy / name).write_bytes(whole[: len(whole) // 2])
    train.main(["--resume", str(copy)])
    printed = capsys.readouterr().out
    assert "step-8.pt is no checkpoint, or is truncated" in printed
    assert f"going on with the older {copy / 'step-4.pt'}" in printed
    assert f"going on after step 4 of {copy}" in printed
    for name, tensor in load_checkpoint(run)["model"].items():
        assert torch.equal(tensor, load_checkpoint(copy)["model"][name]), name
    assert len(json.loads((copy / "environment.json").read_text())) == 2


def test_a_run_killed_before_it_had_a_configuration_gets_one(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "config.json").unlink()
    (copy / "environment.json").unlink()
    train.main(["--resume", str(copy), "--config", str(run / "config.json")])
    assert (copy / "config.json").read_text() == (run / "config.json").read_text()


def test_there_must_be_a_run_to_resume(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no checkpoint at"):
        train.main(["--resume", str(tmp_path / "nothing")])


def test_other_data_are_noticed_on_resuming(run: Path, people: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    fewer = shutil.copytree(people, tmp_path / "people")
    next((fewer / "bounding_box_train").iterdir()).unlink()
    with pytest.raises(ValueError, match="with total_images=32, here it is 31"):
        train.main(["--resume", str(copy), "--data-root", str(fewer)])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_leaves(
    number: signal.Signals, people: Path, run: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    handler = signal.getsignal(number)

    def struck(training: Training, *arguments: object) -> object:
        if training.step == 5:
            signal.raise_signal(number)
        return training_step(training, *arguments)

    monkeypatch.setattr(train, "training_step", struck)
    out = tmp_path / "run"
    command = flags(people, out, log_every=2, gradient_shares=4)
    with pytest.raises(SystemExit) as leaving:
        train.main(command)
    monkeypatch.undo()
    assert leaving.value.code == 128 + number
    assert signal.getsignal(number) == handler
    said = f"stopped by {number.name} after step 6; saved. Go on with --resume {out}"
    assert said in capsys.readouterr().out
    if number == signal.SIGTERM:
        train.main([*command, "--resume", str(out)])
        assert (out / "metrics.json").read_text() == (run / "metrics.json").read_text()


def test_numbers_gone_wrong_stop_the_run_and_are_kept(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = TrainingStep.forward
    calls = []

    def broken(self: TrainingStep, images: torch.Tensor, labels: torch.Tensor) -> dict:
        terms = forward(self, images, labels)
        calls.append(labels)
        if len(calls) == 3:
            terms["distillation"] = terms["distillation"] * float("nan")
        return terms

    monkeypatch.setattr(TrainingStep, "forward", broken)
    said = r"not finite at step 2 \(epoch 1\): distillation nan, total nan\."
    with pytest.raises(FloatingPointError, match=said) as stopped:
        train.main(flags(people, tmp_path / "run"))
    kept = torch.load(tmp_path / "run" / "not-finite-step-2-rank-0.pt")
    assert kept["images"].shape == (8, 3, 32, 16)
    assert torch.equal(kept["labels"], calls[2])
    assert len(kept["paths"]) == 8
    assert all(path in str(stopped.value) and Path(path).is_file() for path in kept["paths"])
    assert all(value.isfinite().all() for value in kept["model"].values())  # before the step
    assert {"optimizer", "terms", "config", "step"} <= kept.keys()


def one_step(people: Path, folder: Path, **changes: object) -> tuple[Training, StepResult]:
    config = dataclasses.replace(
        PRESETS["synthetic"], dataset="market1501", data_root=str(people), height=32, width=16,
        workers=0, identities=4, images=2, embed_dim=8, precision="float32", **changes,
    )  # fmt: skip
    training = Training(
        config, read_data(config), DistributedContext(0, 1, torch.device("cpu")), fresh=True
    )
    return training, training_step(training, next(iter(training.loader)), StopRequest(), folder)


def test_a_gradient_gone_wrong_stops_the_run_too(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = TrainingStep.forward

    def broken(self: TrainingStep, images: torch.Tensor, labels: torch.Tensor) -> dict:
        terms = forward(self, images, labels)
        zero = self.model.fusion.pool.p.sum() * 0  # its root is 0, with an infinite slope
        return {**terms, "distillation": terms["distillation"] + zero.sqrt()}

    monkeypatch.setattr(TrainingStep, "forward", broken)
    with pytest.raises(FloatingPointError, match=r"not finite at step 0 .*gradient_norm nan"):
        one_step(people, tmp_path)


def test_a_large_gradient_is_clipped(people: Path, tmp_path: Path) -> None:
    seen = []
    for clip in (None, 1e-3):
        training, taken = one_step(people, tmp_path, clip_grad=clip)
        gradients = [p.grad for p in training.step_module.parameters() if p.grad is not None]
        seen.append((taken.gradient_norm, torch.nn.utils.get_total_norm(gradients).item()))
    assert seen[0][0] == seen[1][0] == pytest.approx(seen[0][1])
    assert seen[1][1] == pytest.approx(1e-3, rel=1e-4)


def test_the_scaler_can_be_asked_for(people: Path, tmp_path: Path) -> None:
    scaled, taken = one_step(people, tmp_path, scaler="on")
    plain, other = one_step(people, tmp_path)
    assert scaled.state()["scaler"]["scale"] > 1
    assert not plain.state()["scaler"]
    assert taken.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-4)


def test_the_average_of_the_weights_is_what_is_tested(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    train.main(flags(people, out, ema=0.9, epochs=1))
    state = load_checkpoint(out)
    loaded = load_model(state).state_dict()
    assert not torch.equal(loaded["stem.0.weight"], state["trained"]["stem.0.weight"])
    assert state["ema_updates"] == 4
    capsys.readouterr()
    evaluate.main([str(out)])
    trained = json.loads((out / "metrics.json").read_text())["trained"]
    assert f"{100 * trained['mAP']:.2f}%" in capsys.readouterr().out


def test_a_save_that_fails_keeps_the_older_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", {"epoch": 1})
    with pytest.raises(TypeError, match=r'state\["epoch"\], of type function'):
        save_checkpoint(tmp_path / "last.pt", {"epoch": lambda: 2})
    assert torch.load(tmp_path / "last.pt") == {"epoch": 1}


def test_missing_data_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs --data-root"):
        train.main(["--preset", "market1501", "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()
