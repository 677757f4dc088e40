"""Train MDPR: python examples/mdpr/train.py --preset market1501 --data-root DIR

On several GPUs: torchrun --nproc-per-node 4 examples/mdpr/train.py --preset market1501 ...
A run leaves in its folder config.json and environment.json, metrics.jsonl (a line for each epoch
and test), steps.jsonl, metrics.json, the checkpoints step-N.pt, last.pt and best.pt, and
curves.png, ranked.png, attention.png, report.html. --resume RUN goes on after any interruption.
"""

import datetime
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from assemble import pick_device, read_data, settle_precision
from checkpoint import load_checkpoint
from commands import parse, refuse_other_network, refuse_unused, run_script
from config import MDPRConfig, from_dict
from engine import RunningMeans, Training
from evaluate import figures, table
from reidblocks.data import ReIDDataset, check_images
from reidblocks.training import (
    Checkpoints,
    DistributedContext,
    Recorder,
    StopRequest,
    init_distributed,
    read_records,
)
from runs import begin_run, expect_no_run, find_run, note_environment, write_json
from visualize import draw_run


def main(arguments: Sequence[str] | None = None) -> None:
    config, options = parse(
        sys.argv[1:] if arguments is None else arguments,
        out={
            "type": Path,
            "metavar": "RUN",
            "help": "folder to make; runs/DATASET-TIME if left out",
        },
        resume={"type": Path, "metavar": "RUN", "help": "folder of a run to go on with"},
        start={"type": Path, "metavar": "FILE", "help": "checkpoint whose network to train on"},
        check_data={"action": "store_true", "help": "decode every image before training"},
    )
    if options["resume"] and (options["start"] or options["out"] not in (None, options["resume"])):
        raise ValueError("--resume writes to the run's own folder; leave out --out and --start")
    launch(config, **options)


def launch(config: MDPRConfig, **options: Any) -> None:
    """Train as `train` does, together with the other processes that torchrun started, if any."""
    world = init_distributed(pick_device(int(os.environ.get("LOCAL_RANK", 0))))
    try:
        train(config, world, **options)
    finally:
        world.destroy()


def train(
    config: MDPRConfig,
    world: DistributedContext,
    *,
    changed: Mapping[str, Any] = {},
    flags: Mapping[str, Any] = {},
    out: Path | None = None,
    resume: Path | None = None,
    start: Path | None = None,
    check_data: bool = False,
) -> None:
    """Train a run from its beginning, or resume it.

    Args:
        changed: the fields that a file or a flag named, and "preset": a resumed run refuses
            others than its own.
        flags: those that a flag named: one that has no effect is refused.
    """
    state: dict[str, Any] = {}
    if resume:
        run, config, state, start = find_run(resume, changed, world.device)
    else:
        name = f"{config.dataset}-{time.strftime('%Y%m%d-%H%M%S')}"
        run = world.broadcast(out or Path("runs") / name)
        expect_no_run(run)
    started = load_checkpoint(start, world.device) if start and not state else {}
    if start and started:
        theirs = from_dict(started["config"])
        if not resume:
            refuse_other_network(theirs, changed, start)
        config = config.with_network_of(theirs)
    if not resume:
        refuse_unused(config, flags)
        config = settle_precision(config, world)
    data = read_data(config)
    if check_data and world.is_main:
        refuse_broken(data)

    training = Training(config, data, world, fresh=not state)
    if state:
        training.load(state, run)
    elif started:
        training.begin_from(started)
    if not world.is_main:
        with StopRequest() as stop:
            fit(training, run, stop, None)
        training.close()
        return

    if resume:
        note_environment(run, training.step, start)
    else:
        begin_run(run, config, start)
    recorder = Recorder(run, *((training.epoch, training.step) if state else (-1, -1)))
    print(data.summary())
    parameters = sum(p.numel() for p in training.model.parameters()) / 1e6
    if started:
        print(f"training on the network of {start}: {config.network}, {config.backbone}")
    print(
        f"{parameters:.1f} M parameters, {world.world_size} × {world.device}, {training.precision}"
    )
    if training.epoch == config.epochs:
        print(f"{run} is at its end, step {training.step}: it is tested and drawn again")
    else:
        print(f"{f'going on after step {training.step} of' if state else 'the run goes to'} {run}")
    with StopRequest() as stop:
        fit(training, run, stop, recorder)
    training.close()
    recorder.close()


def fit(training: Training, run: Path, stop: StopRequest, recorder: Recorder | None) -> None:
    """Train to the last epoch, testing and saving on the way; then show what came of it."""
    config, scored = training.config, None
    checkpoints = Checkpoints(run, keep=config.keep_checkpoints)
    if training.step == 0 and not training.means.count:
        untrained = figures(training.tested())
        if recorder:
            recorder.add_epoch({"epoch": 0, "step": 0, "test": untrained})
    while training.epoch < config.epochs:
        record = train_epoch(training, run, stop, recorder, checkpoints)
        if training.epoch % config.eval_every == 0 or training.epoch == config.epochs:
            scored = training.tested()
            record["test"] = figures(scored)
        if recorder:
            recorder.add_epoch(record)
            print(line(record))
            mean = record.get("test", {}).get("mAP", -1.0)
            is_best, training.best = mean > training.best, max(mean, training.best)
            checkpoints.save(training.state(), training.step, is_best=is_best)
    result = scored or training.tested()
    if recorder:
        tested = [record for record in read_epochs(run) if "test" in record]
        rows = {"untrained": tested[0]["test"], "trained": figures(result)}
        write_json(run / "metrics.json", rows)
        if config.pictures:
            for path in draw_run(run, training.tested_model(), training.data, result, config):
                print(path)
        print(table(rows))


def train_epoch(
    training: Training,
    run: Path,
    stop: StopRequest,
    recorder: Recorder | None,
    checkpoints: Checkpoints,
) -> dict[str, Any]:
    """Train what is left of an epoch; give what is to be recorded of it."""
    config, means = training.config, training.means
    training.sampler.set_epoch(training.epoch)
    training.step_module.train()
    total, done = len(training.sampler), training.step - training.epoch * len(training.sampler)
    title = f"epoch {training.epoch + 1}/{config.epochs}"
    bar = tqdm(total=total, initial=done, desc=title, unit="step", leave=False,
               disable=recorder is None, dynamic_ncols=True)  # fmt: skip
    begun = ready = time.perf_counter()
    images, waited = 0, 0.0
    for batch in training.loader:
        waited += time.perf_counter() - ready
        step = training.training_step(batch, stop, run)
        ready = time.perf_counter()
        means.add(step.terms | {"gradient_norm": step.gradient_norm})
        images += len(batch.image) * training.world.world_size
        pace = {"lr": float(training.schedule.get_last_lr()[0]),
                "images_per_second": round(images / (ready - begun), 1)}  # fmt: skip
        seconds = (ready - begun) / (images / (config.identities * config.images))
        bar.set_postfix_str(progress(step.terms, pace, seconds * (training.steps - training.step)))
        bar.update()
        due = config.log_every and training.step % config.log_every == 0
        if recorder and (due or step.shares):
            here = {"step": training.step, "epoch": training.epoch, **pace}
            shares = {"gradient_shares": step.shares} if step.shares else {}
            norm = {"gradient_norm": step.gradient_norm}
            recorder.add_step(here | norm | {"terms": step.terms} | shares)
        if step.stop or (config.checkpoint_every and training.step % config.checkpoint_every == 0):
            if recorder:
                checkpoints.save(training.state(), training.step)
            if step.stop:
                bar.close()
                leave(training, run, stop)
    bar.close()
    training.epoch += 1
    train = means.means()
    record: dict[str, Any] = {"epoch": training.epoch, "step": training.step,
              "gradient_norm": train.pop("gradient_norm"), "train": train}  # fmt: skip
    spent = time.perf_counter() - begun
    record["lr"] = float(training.schedule.get_last_lr()[0])
    if images:  # none, where the run was cut off between the last step and the test
        record |= pace | {"waited": round(waited / spent, 3)}
    training.means = RunningMeans()
    return record | {"seconds": round(spent, 1)}


def leave(training: Training, run: Path, stop: StopRequest) -> None:
    """End the process as the signal asks, and say how to go on."""
    name = stop.signal.name if stop.signal else "a signal to another process"
    if training.world.is_main:
        print(f"stopped by {name} after step {training.step}; saved. Go on with --resume {run}")
    raise SystemExit(128 + (stop.signal or 15))


def refuse_broken(data: ReIDDataset) -> None:
    """Decode every image; stop if some cannot be read."""
    broken = check_images((*data.train, *data.query, *data.gallery), progress=True)
    if broken:
        raise ValueError("\n".join([*broken, f"{len(broken)} images cannot be read"]))


def read_epochs(run: Path) -> list[dict[str, Any]]:
    path = run / "metrics.jsonl"
    return read_records(path) if path.exists() else []


def progress(terms: dict[str, float], pace: dict[str, float], seconds: float) -> str:
    """The loss, its terms summed by kind, the pace, and the time left for the whole run."""
    kinds: dict[str, float] = {}
    for name, value in terms.items():
        kind = name.split("_")[0]
        kinds[kind] = kinds.get(kind, 0.0) + value
    shown = [f"loss {kinds.pop('total'):.2f}", *(f"{k} {v:.2f}" for k, v in kinds.items())]
    left = datetime.timedelta(seconds=round(seconds))
    rate = f"lr {pace['lr']:.1e}, {pace['images_per_second']:.0f} images/s, {left} left"
    return f"{' '.join(shown)}, {rate}"


def line(record: dict[str, Any]) -> str:
    """Say in a line how an epoch went."""
    text = f"epoch {record['epoch']}: loss {record['train']['total']:.2f}, {record['seconds']} s"
    if record.get("waited", 0) > 0.1:
        text += f", {record['waited']:.0%} of it waiting for images (more --workers, --cache)"
    if test := record.get("test"):
        text += f", mAP {100 * test['mAP']:.1f}, rank-1 {100 * test['rank-1']:.1f}"
    return text


if __name__ == "__main__":
    run_script(main)
