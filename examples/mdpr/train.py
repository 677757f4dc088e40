"""Train MDPR: python examples/mdpr/train.py --preset market1501 --data-root DIR

On several GPUs: torchrun --nproc-per-node 4 examples/mdpr/train.py --preset market1501 ...
A run leaves in its folder config.json, metrics.jsonl (a line for each epoch and each test),
metrics.json, the checkpoints last.pt and best.pt, curves.png, ranked.png,
attention.png and report.html.
"""

import dataclasses
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

import reidblocks
from assemble import (
    augmentation,
    build_criterion,
    build_model,
    eval_loader,
    parameter_groups,
    pick_device,
    pick_precision,
    read_data,
    train_loader,
)
from checkpoint import (
    append_record,
    load_checkpoint,
    read_records,
    save_checkpoint,
    trim_records,
)
from config import MDPRConfig, from_dict, parse
from evaluate import figures, score, table
from visualize import draw_run

MOVABLE = {"data_root", "workers", "cache"}  # what may differ where a run is resumed


class World(NamedTuple):
    """This process among those that train together."""

    rank: int
    size: int
    device: torch.device


class TrainingStep(nn.Module):
    """Augmentation, model and criterion as one module, so that DDP sees all parameters."""

    def __init__(self, augment: nn.Module, model: nn.Module, criterion: nn.Module) -> None:
        super().__init__()
        self.augment = augment
        self.model = model
        self.criterion = criterion

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        images = self.augment(images).contiguous(memory_format=torch.channels_last)
        terms: dict[str, Tensor] = self.criterion(self.model(images), labels)
        return terms


def main(arguments: Sequence[str] | None = None) -> None:
    config, options = parse(
        sys.argv[1:] if arguments is None else arguments,
        out={"type": Path, "default": None, "help": "run folder; runs/DATASET-TIME unless given"},
        resume={"type": Path, "default": None, "help": "run folder to go on with, as it was set"},
        start={"type": Path, "default": None, "help": "checkpoint whose network to train on"},
    )
    changed = options.pop("changed")
    if options["resume"]:
        if fixed := sorted(set(changed) - MOVABLE):
            raise SystemExit(
                f"--resume goes on as the run was set; leave out {', '.join(fixed)}, "
                "or train its network on with --start"
            )
        if options["out"] or options["start"]:
            raise SystemExit("--resume writes to the run's own folder; leave out --out and --start")
    world = join_world()
    try:
        train(config, changed, world, **options)
    finally:
        if world.size > 1:
            distributed.destroy_process_group()


def train(
    config: MDPRConfig,
    changed: dict[str, Any],
    world: World,
    out: Path | None,
    resume: Path | None,
    start: Path | None,
) -> None:
    state = load_checkpoint(resume, world.device) if resume else {}
    started = load_checkpoint(start, world.device) if start else {}
    if state:
        config = from_dict({**state["config"], **changed})
    elif started:
        config = config.with_network_of(from_dict(started["config"]))
    is_main = world.rank == 0
    torch.manual_seed(config.seed)
    data = read_data(config)
    loader, sampler = train_loader(config, data, world.rank, world.size)
    tests = eval_loader(config, data.query), eval_loader(config, data.gallery)

    model = build_model(config, pretrained=not state)
    criterion = build_criterion(config, model, data.num_identities)
    step = TrainingStep(augmentation(config), model, criterion)
    if started:
        begin_from(step, started)
    step.to(world.device).to(memory_format=torch.channels_last)
    parallel = DistributedDataParallel(step) if world.size > 1 else step
    optimizer = torch.optim.Adam(
        parameter_groups(step, config), weight_decay=config.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: lr_factor(config, done, config.epochs * len(sampler))
    )
    precision = pick_precision(config, world.device)
    scaler = torch.amp.GradScaler(world.device.type, enabled=precision is torch.float16)
    keepers: dict[str, Any] = {
        "model": model, "criterion": step.criterion,
        "optimizer": optimizer, "schedule": schedule, "scaler": scaler,
    }  # fmt: skip
    for name in keepers if state else ():
        if name not in state:
            raise ValueError(f"{resume} has no {name} to resume with; train on with --start")
        keepers[name].load_state_dict(state[name])
    epoch, best = state.get("epoch", 0), state.get("best", -1.0)

    if resume and resume.is_file():
        resume = resume.parent
    run = resume or out or Path("runs") / f"{config.dataset}-{time.strftime('%Y%m%d-%H%M%S')}"
    log = run / "metrics.jsonl"
    if is_main and resume:
        trim_records(log, epoch)
    if is_main and not resume:
        begin_run(run, config)
        print(data.summary())
        parameters = sum(p.numel() for p in model.parameters()) / 1e6
        print(f"{parameters:.1f} M parameters, {world.device}, {precision}; the run goes to {run}")
        untrained = figures(score(model, *tests, world.device, precision))
        append_record(log, {"epoch": 0, "test": untrained})

    scored = None
    while epoch < config.epochs:
        sampler.set_epoch(epoch)
        begun = time.perf_counter()
        terms = train_epoch(
            parallel, loader, optimizer, schedule, scaler, precision, world, epoch, config.seed
        )
        epoch += 1
        if not is_main:
            continue
        record: dict[str, Any] = {"epoch": epoch, "train": terms}
        record["seconds"] = round(time.perf_counter() - begun, 1)
        if epoch % config.eval_every == 0 or epoch == config.epochs:
            scored = score(model, *tests, world.device, precision)
            record["test"] = figures(scored)
        append_record(log, record)
        print(line(record))
        is_best = record.get("test", {}).get("mAP", -1.0) > best
        best = max(best, record.get("test", {}).get("mAP", -1.0))
        checkpoint = {name: keeper.state_dict() for name, keeper in keepers.items()} | {
            "config": dataclasses.asdict(config),
            "versions": {"reidblocks": reidblocks.__version__, "torch": str(torch.__version__)},
            "epoch": epoch,
            "best": best,
        }
        for name in ("last", "best") if is_best else ("last",):
            save_checkpoint(run / f"{name}.pt", checkpoint)

    if is_main:
        result = scored or score(model, *tests, world.device, precision)
        tested = [record for record in read_records(log) if "test" in record]
        rows = {"untrained": tested[0]["test"], "trained": figures(result)}
        (run / "metrics.json").write_text(json.dumps(rows, indent=2) + "\n")
        for path in draw_run(run, model, data, result, config):
            print(path)
        print(table(rows))


def begin_from(step: TrainingStep, started: dict[str, Any]) -> None:
    """Take over a checkpoint's network, and its criterion where that is the same."""
    step.model.load_state_dict(started["model"])
    own, theirs = step.criterion.state_dict(), started["criterion"]
    same = {name: value.shape for name, value in own.items()}
    if same == {name: value.shape for name, value in theirs.items()}:
        step.criterion.load_state_dict(theirs)
    else:
        print("other identities or losses than the checkpoint's: the criterion starts anew")


def train_epoch(
    step: nn.Module,
    loader: Any,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
    scaler: torch.amp.GradScaler,
    precision: torch.dtype,
    world: World,
    epoch: int,
    seed: int,
) -> dict[str, float]:
    """Go through one epoch; give the mean of each loss term over it."""
    step.train()
    sums: dict[str, Tensor] = {}
    bar = tqdm(loader, f"epoch {epoch + 1}", unit="batch", disable=world.rank > 0, leave=False)
    for number, batch in enumerate(bar):
        # What is drawn depends on the step and the rank alone, so that a resumed run repeats.
        place = f"{seed} {epoch} {number} {world.rank}"
        torch.manual_seed(int.from_bytes(hashlib.blake2b(place.encode(), digest_size=7).digest()))
        images = batch.image.to(world.device, non_blocking=True)
        labels = batch.label.to(world.device, non_blocking=True)
        with torch.autocast(world.device.type, precision, enabled=precision != torch.float32):
            terms = step(images, labels)
        terms["total"] = torch.stack(list(terms.values())).sum()  # Eq. 9
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(terms["total"]).backward()
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        for name, term in terms.items():
            sums[name] = sums.get(name, torch.zeros((), device=term.device)) + term.detach()
        loss = terms["total"].item()
        if not math.isfinite(loss):
            bad = [f"{name} {term.item()}" for name, term in terms.items() if not term.isfinite()]
            raise FloatingPointError(f"not finite in epoch {epoch + 1}: {', '.join(bad)}")
        bar.set_postfix(loss=f"{loss:.2f}", lr=f"{schedule.get_last_lr()[0]:.1e}")
    return {name: (total / len(loader)).item() for name, total in sums.items()}


def lr_factor(config: MDPRConfig, done: int, steps: int) -> float:
    """Linear from first_lr to lr during the warm-up, then a cosine down to last_lr."""
    if done < config.warmup_steps:
        share = done / config.warmup_steps
        return (config.first_lr + share * (config.lr - config.first_lr)) / config.lr
    share = min(1.0, (done - config.warmup_steps) / max(1, steps - config.warmup_steps))
    cosine = (1 + math.cos(math.pi * share)) / 2
    return (config.last_lr + cosine * (config.lr - config.last_lr)) / config.lr


def join_world() -> World:
    """Join the processes that torchrun started, or be alone."""
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    device = pick_device(int(os.environ.get("LOCAL_RANK", 0)))
    if size > 1:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return World(rank, size, device)


def begin_run(run: Path, config: MDPRConfig) -> None:
    """Make the run's folder; one that holds a run already is not written over."""
    if (run / "metrics.jsonl").exists():
        raise FileExistsError(f"{run} holds a run already; name another --out, or --resume {run}")
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")


def line(record: dict[str, Any]) -> str:
    """Say in a line how an epoch went."""
    text = f"epoch {record['epoch']}: loss {record['train']['total']:.2f}, {record['seconds']} s"
    if test := record.get("test"):
        text += f", mAP {100 * test['mAP']:.1f}, rank-1 {100 * test['rank-1']:.1f}"
    return text


if __name__ == "__main__":
    main()
