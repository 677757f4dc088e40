"""Train MDPR: python examples/mdpr/train.py --preset market1501 --data-root DIR

On several GPUs: torchrun --nproc-per-node 4 examples/mdpr/train.py --preset market1501 ...
A run leaves in its folder config.json and environment.json, metrics.jsonl (a line for each epoch
and test), steps.jsonl, metrics.json, the checkpoints step-N.pt, last.pt and best.pt, and
curves.png, ranked.png, attention.png, report.html. --resume RUN goes on after any interruption.
"""

import math
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from build import read_data
from commands import parse
from config import MDPRConfig, read_json
from evaluate import figures, table
from reidblocks.training import (
    Checkpoints,
    DistributedContext,
    Recorder,
    StopRequest,
    gradient_shares,
    init_distributed,
    pick_device,
    read_records,
    run_script,
    save_checkpoint,
    seed_step,
)
from report import draw_run
from run import Plan, Training, enter_run, plan_run, write_json

BAR = "{desc}, step {n_fmt}/{total_fmt}{postfix} {bar}"


def main(arguments: Sequence[str] | None = None) -> None:
    config, options = parse(
        sys.argv[1:] if arguments is None else arguments,
        out={"type": Path, "help": "folder to make; runs/DATASET-TIME if left out"},
        resume={"type": Path, "help": "folder of a run to go on with"},
        start={"type": Path, "help": "checkpoint whose network to train on"},
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


def train(config: MDPRConfig, world: DistributedContext, **options: Any) -> None:
    """Train a run from its beginning, or resume it; ``options`` are those of ``plan_run``."""
    began = time.perf_counter()
    plan = plan_run(config, world, **options)
    run, config, state = plan.folder, plan.config, plan.state
    data = read_data(config, to_train=True)
    training = Training(config, data, world, fresh=not state)
    if state:
        training.load(state, run)
    elif plan.start:
        training.begin_from(plan.started)
    recorder = None
    if world.is_main:
        enter_run(plan, training)
        recorder = Recorder(run, *((training.epoch, training.step) if training.step else (-1, -1)))
        announce(training, plan)
    with StopRequest() as stop:
        fit(training, run, stop, recorder)
    del training.loader  # and with it the processes that load images
    if recorder:
        recorder.close()
        print_end(run, config, time.perf_counter() - began)


def announce(training: Training, plan: Plan) -> None:
    """Say what is trained, where, and from which step on."""
    world, config, data = training.world, plan.config, training.data
    print(
        f"{config.dataset}: {len(data.train):,} images of {data.num_identities} people to train "
        f"on, {len(data.query):,} queries and {len(data.gallery):,} gallery images to test on"
    )
    if plan.start:
        print(f"training on the network of {plan.start}: {config.network}, {config.backbone}")
    begun = f"going on after step {training.step} of" if training.step else "the run goes to"
    if training.epoch == config.epochs:
        begun = f"at its end, step {training.step}, is tested and drawn again:"
    parameters = sum(p.numel() for p in training.model.parameters()) / 1e6
    device = f"{world.world_size} × {world.device}, {training.precision}"
    print(f"{parameters:.1f} M parameters, {device}; {begun} {plan.folder}")


def fit(training: Training, run: Path, stop: StopRequest, recorder: Recorder | None) -> None:
    """Train to the last epoch, testing and saving on the way; then show what came of it.

    The first process alone has a recorder, and saves.
    """
    config, scored = training.config, None
    checkpoints = Checkpoints(run, keep=config.keep_checkpoints)
    if training.step == 0:
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
            if "test" in record or not sys.stderr.isatty():  # on a terminal the bar tells the rest
                print(line(record), flush=True)
            mean = record.get("test", {}).get("mAP", -1.0)
            is_best, training.best = mean > training.best, max(mean, training.best)
            checkpoints.save(training.state(), training.step, is_best=is_best)
    result = scored or training.tested()
    if recorder:
        tested = [record for record in read_records(run / "metrics.jsonl") if "test" in record]
        rows = {"untrained": tested[0]["test"], "trained": figures(result)}
        write_json(run / "metrics.json", rows)
        if config.pictures:
            draw_run(run, training.tested_model(), training.data, result, config)


def train_epoch(
    training: Training,
    run: Path,
    stop: StopRequest,
    recorder: Recorder | None,
    saved: Checkpoints,
) -> dict[str, Any]:
    """Train what is left of an epoch; give what is to be recorded of it."""
    config, sums = training.config, training.sums
    training.sampler.set_epoch(training.epoch)
    training.step_module.train()
    total, done = len(training.sampler), training.step - training.epoch * len(training.sampler)
    title = f"epoch {training.epoch + 1}/{config.epochs}"
    bar = tqdm(total=total, initial=done, desc=title, leave=False, bar_format=BAR,
               ncols=min(80, shutil.get_terminal_size().columns) - 1,
               disable=recorder is None or None)  # fmt: skip  # None: unless on a terminal
    begun = ready = time.perf_counter()
    images, waited, pace = 0, 0.0, {}
    for batch in training.loader:
        waited += time.perf_counter() - ready
        step = training_step(training, batch, stop, run)
        ready = time.perf_counter()

        # log
        sums.update({"steps": 1, "gradient_norm": step.gradient_norm, **step.terms})
        images += config.identities * config.images
        rate = images / (ready - begun)
        pace = {"lr": training.rate(), "images_per_second": round(rate, 1)}
        left = (training.steps - training.step) * config.identities * config.images / rate
        bar.set_postfix_str(progress(step.terms["total"], rate, left), refresh=False)
        bar.update()
        due = config.log_every and training.step % config.log_every == 0
        if recorder and (due or step.shares):
            here = {"step": training.step, "epoch": training.epoch, **pace}
            shares = {"gradient_shares": step.shares} if step.shares else {}
            norm = {"gradient_norm": step.gradient_norm}
            recorder.add_step(here | norm | {"terms": step.terms} | shares)

        # save
        due = config.checkpoint_every and training.step % config.checkpoint_every == 0
        if recorder and (step.stop or due):
            saved.save(training.state(), training.step)
        if step.stop:
            bar.close()
            leave(training, run, stop)
    bar.close()
    training.epoch, training.sums = training.epoch + 1, Counter()
    spent, steps = time.perf_counter() - begun, sums.pop("steps")
    train = {name: value / steps for name, value in sums.items()}
    if images:  # none, where the run was cut off between the last step and the test
        pace["waited"] = round(waited / spent, 3)
    return {
        "epoch": training.epoch, "step": training.step, "gradient_norm": train.pop("gradient_norm"),
        "train": train, "lr": training.rate(), **pace, "seconds": round(spent, 1),
    }  # fmt: skip


class StepResult(NamedTuple):
    """What a step was like, the same for every process."""

    terms: dict[str, float]  # and their total: means over the processes
    gradient_norm: float  # before clipping
    shares: dict[str, float]  # of each term in the gradient, where they were measured
    stop: bool  # a process was asked to stop


def training_step(training: Training, batch: Any, stop: StopRequest, run: Path) -> StepResult:
    """Learn from one batch."""
    config, world, precision = training.config, training.world, training.precision
    optimizer, scaler = training.optimizer, training.scaler

    # forward; what is drawn depends on seed, step and rank alone, so that a resumed run repeats
    seed_step(config.seed, training.step, world.rank)
    images = batch.image.to(world.device, non_blocking=True)
    labels = batch.label.to(world.device, non_blocking=True)
    with torch.autocast(world.device.type, precision, enabled=precision != torch.float32):
        terms = training.parallel(images, labels)
    terms["total"] = torch.stack(list(terms.values())).sum()  # Eq. 9

    # backward
    shares: dict[str, float] = {}
    if config.gradient_shares and training.step % config.gradient_shares == 0:
        parts = {n: scaler.scale(t) for n, t in terms.items() if n != "total"}
        shares = gradient_shares(parts, training.model.parameters())
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(terms["total"]).backward()
    scaler.unscale_(optimizer)

    # clip
    parameters = [p for p in training.step_module.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if config.clip_grad is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, config.clip_grad, norm)

    # look at the numbers, all at once: a GPU is waited for no other time but for shares
    own = torch.stack([*terms.values(), norm]).detach()
    asked = own.new_tensor([float(stop.signal is not None)])
    *values, gradient_norm, asked_by = world.mean(torch.cat([own, asked])).tolist()
    told = dict(zip(terms, values, strict=True))
    expect_finite_terms(training, told, batch, run)
    if not scaler.is_enabled():  # which skips such a step, and continues
        expect_finite_terms(training, {"gradient_norm": gradient_norm}, batch, run)

    # step
    scaler.step(optimizer)
    scaler.update()
    training.schedule.step()
    training.step += 1
    if training.ema:
        training.ema.update_parameters(training.model)
    return StepResult(told, gradient_norm, shares, asked_by > 0)


def expect_finite_terms(training: Training, told: dict[str, float], batch: Any, run: Path) -> None:
    """Stop where a term is not finite, and save what is needed to look at it."""
    bad = [f"{name} {value}" for name, value in told.items() if not math.isfinite(value)]
    if not bad:
        return
    paths = [str(training.data.train[n].path) for n in batch.position.tolist()]
    file = run / f"not-finite-step-{training.step}-rank-{training.world.rank}.pt"
    seen = {"terms": told, "images": batch.image, "labels": batch.label, "paths": paths}
    save_checkpoint(file, training.state() | seen)
    listed = "\n".join(f"    {path}" for path in paths)
    raise FloatingPointError(
        f"not finite at step {training.step} (epoch {training.epoch + 1}): {', '.join(bad)}. "
        f"The batch, the network and its optimizer are in {file}. The batch of process "
        f"{training.world.rank}:\n{listed}"
    )


def leave(training: Training, run: Path, stop: StopRequest) -> None:
    """End the process as the signal asks, and say how to go on."""
    name = stop.signal.name if stop.signal else "a signal to another process"
    if training.world.is_main:
        print(f"stopped by {name} after step {training.step}; saved. Go on with --resume {run}")
    raise SystemExit(128 + (stop.signal or 15))


def progress(loss: float, images_per_second: float, seconds: float) -> str:
    """Say what the bar shows besides epoch and step: the loss, the pace, the run's time left."""
    left = tqdm.format_interval(seconds)
    return f"loss {loss:.2f}, {images_per_second:.0f} images/s, {left} left"


def line(record: dict[str, Any]) -> str:
    """Say in a line how an epoch went, the terms of the loss summed by kind."""
    kinds: Counter[str] = Counter()
    for name, value in record["train"].items():
        kinds[name.split("_")[0]] += value
    text = f"epoch {record['epoch']}: loss {kinds.pop('total'):.2f}"
    if test := record.get("test"):
        text += f", mAP {100 * test['mAP']:.1f}, rank-1 {100 * test['rank-1']:.1f}"
    text += f", {tqdm.format_interval(record['seconds'])}"
    if record.get("waited", 0) > 0.1:
        text += f", {record['waited']:.0%} of it waiting for images (more --workers, --cache)"
    return f"{text} ({', '.join(f'{kind} {value:.2f}' for kind, value in kinds.items())})"


def print_end(run: Path, config: MDPRConfig, seconds: float) -> None:
    """Print what came of a run, and what to do next."""
    print(table(read_json(run / "metrics.json")))
    print(f"took {tqdm.format_interval(seconds)}; everything is in {run}")
    if config.pictures:
        print(f"next: open {run / 'report.html'}")
    if config.dataset == "synthetic":
        print("next: train on your own images, see docs/guides/your-cameras.md")


if __name__ == "__main__":
    run_script(main)
