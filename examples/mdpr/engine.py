"""A run as it goes: network, optimizer and what else changes, one step, and how it is saved."""

import dataclasses
import math
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

import reidblocks
from assemble import (
    augmentation,
    build_model,
    eval_loader,
    parameter_groups,
    pick_precision,
    train_loader,
)
from baselines import Baseline
from checkpoint import expect_finite
from config import MDPRConfig
from criterion import Criterion
from evaluate import Score, score
from model import MDPR
from recompute import recompute
from reidblocks.data import ReIDDataset
from reidblocks.training import (
    DistributedContext,
    StopRequest,
    ema_with_warmup,
    gradient_shares,
    save_checkpoint,
    seed_step,
)


class TrainingStep(nn.Module):
    """Augmentation, model and criterion as one module, so that DDP sees all parameters."""

    def __init__(self, augment: nn.Module, model: nn.Module, criterion: nn.Module) -> None:
        super().__init__()
        self.augment = augment
        self.model = model
        self.criterion = criterion
        # Of the last batch. The next one takes its memory, so each goes back before the next.
        self.pixels = torch.empty(0)

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        if self.pixels.shape != images.shape:
            self.pixels = torch.empty_like(
                images, dtype=torch.float32, memory_format=torch.channels_last
            )
        images = self.augment(images, out=self.pixels)
        terms: dict[str, Tensor] = self.criterion(self.model(images), labels)
        return terms


class StepResult(NamedTuple):
    """What a step was like, the same for every process."""

    terms: dict[str, float]  # and their total: means over the processes
    gradient_norm: float  # before clipping
    shares: dict[str, float]  # of each term in the gradient, where they were measured
    stop: bool  # a process was asked to stop


class Training:
    """A run: everything that changes as it goes, how to take a step, and how to save it."""

    def __init__(
        self, config: MDPRConfig, data: ReIDDataset, world: DistributedContext, fresh: bool
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.data, self.world = config, data, world
        self.loader, self.sampler = train_loader(config, data, world.rank, world.world_size)
        sides = (data.query, data.gallery)
        self.tests = [
            eval_loader(config, side, rank=world.rank, world_size=world.world_size)
            for side in sides
        ]
        self.model = build_model(config, pretrained=fresh, quiet=not world.is_main)
        criterion = Criterion(config, self.model.sizes, data.num_identities)
        if config.checkpoint_branches and isinstance(self.model, MDPR):
            model = self.model
            recompute(model.stem, model.soft_stem, model.hard, model.soft)
        self.step_module = TrainingStep(augmentation(config), self.model, criterion)
        if config.sync_bn and world.world_size > 1:  # alone, a process sees all images
            self.step_module = synchronize_batch_norm(self.step_module, world.device)
        self.step_module.to(world.device).to(memory_format=torch.channels_last)
        self.parallel: nn.Module = self.step_module
        if world.world_size > 1:
            self.parallel = DistributedDataParallel(self.step_module)
        self.optimizer = torch.optim.Adam(
            parameter_groups(self.step_module, config), weight_decay=config.weight_decay, fused=True
        )
        self.steps = config.epochs * len(self.sampler)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda done: lr_factor(config, done, self.steps)
        )
        self.precision = pick_precision(config, world.device)
        scaled = {"auto": self.precision is torch.float16, "on": True, "off": False}
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=scaled[config.scaler])
        self.ema = None if config.ema is None else average_of(self.model, config.ema)
        self.means = RunningMeans()
        self.epoch = self.step = 0
        self.best = -1.0

    def stateful(self) -> dict[str, Any]:
        """What is saved by its own ``state_dict``."""
        return {
            "model": self.model, "criterion": self.step_module.criterion,
            "optimizer": self.optimizer, "schedule": self.schedule, "scaler": self.scaler,
        }  # fmt: skip

    def state(self) -> dict[str, Any]:
        """All that the run needs to go on: seeds come from the step, and are not among it."""
        state = {name: part.state_dict() for name, part in self.stateful().items()}
        if self.ema:  # "model" is what was tested; what is trained lies beside it
            # Updates beyond the first, which copied the network.
            state["ema_updates"], state["trained"] = int(self.ema.n_averaged) - 1, state["model"]
            state["model"] = self.ema.module.state_dict()
        return state | {
            "sampler": self.sampler.state_dict(used=self.step - self.epoch * len(self.sampler)),
            "means": self.means.state_dict(),
            "config": dataclasses.asdict(self.config),
            "versions": {"reidblocks": reidblocks.__version__, "torch": str(torch.__version__)},
            "epoch": self.epoch,
            "step": self.step,
            "best": self.best,
        }

    def load(self, state: dict[str, Any], path: Path) -> None:
        """Go on from a checkpoint."""
        for name, part in self.stateful().items():
            if name not in state:
                raise ValueError(f"{path} has no {name} to resume with; train on with --start")
            part.load_state_dict(state[name])
        if self.ema:
            self.ema.n_averaged.fill_(state["ema_updates"] + 1)
            self.ema.module.load_state_dict(state["model"])
            self.model.load_state_dict(state["trained"])
        self.epoch, self.best = state["epoch"], state["best"]
        self.step = state.get("step", self.epoch * len(self.sampler))
        if "sampler" in state:
            self.sampler.load_state_dict(state["sampler"])
            self.means.load_state_dict(state["means"])

    def begin_from(self, started: dict[str, Any]) -> None:
        """Take over a checkpoint's network, and its criterion where that is the same."""
        expect_finite(started["model"], "the checkpoint of --start")
        self.model.load_state_dict(started["model"])
        criterion = self.step_module.criterion
        own, theirs = criterion.state_dict(), started["criterion"]
        same = {name: value.shape for name, value in own.items()}
        if same == {name: value.shape for name, value in theirs.items()}:
            criterion.load_state_dict(theirs)
        elif self.world.is_main:
            print("other identities or losses than the checkpoint's: the criterion starts anew")
        if self.config.ema is not None:
            self.ema = average_of(self.model, self.config.ema)

    def tested_model(self) -> MDPR | Baseline:
        """The network, or the average of its weights where there is one."""
        return cast(MDPR | Baseline, self.ema.module) if self.ema else self.model

    def tested(self) -> Score:
        """Test it, each process its share of the batches."""
        model = self.tested_model()
        self.world.broadcast_buffers(model)
        query, gallery = self.tests
        return score(model, query, gallery, self.world.device, self.precision)

    def close(self) -> None:
        """End the processes that load images."""
        del self.loader  # the last to hold them

    def training_step(self, batch: Any, stop: StopRequest, run: Path) -> StepResult:
        """Learn from one batch."""
        device, config = self.world.device, self.config
        # What is drawn depends on seed, step and rank alone, so that a resumed run repeats.
        seed_step(config.seed, self.step, self.world.rank)
        images = batch.image.to(device, non_blocking=True)
        labels = batch.label.to(device, non_blocking=True)
        with torch.autocast(device.type, self.precision, enabled=self.precision != torch.float32):
            terms = self.parallel(images, labels)
        terms["total"] = torch.stack(list(terms.values())).sum()  # Eq. 9
        shares: dict[str, float] = {}
        if config.gradient_shares and self.step % config.gradient_shares == 0:
            parts = {n: self.scaler.scale(t) for n, t in terms.items() if n != "total"}
            shares = gradient_shares(parts, self.model.parameters())
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(terms["total"]).backward()
        self.scaler.unscale_(self.optimizer)
        parameters = [p for p in self.step_module.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if config.clip_grad is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, config.clip_grad, norm)
        # All numbers at once: a GPU is waited for no other time, unless shares were measured.
        own = torch.stack([*terms.values(), norm]).detach()
        asked = own.new_tensor([float(stop.signal is not None)])
        *values, gradient_norm, asked_by = self.world.mean(torch.cat([own, asked])).tolist()
        told = dict(zip(terms, values, strict=True))
        self.expect_finite(told, batch, run)
        if not self.scaler.is_enabled():  # the scaler leaves out such a step, and goes on
            self.expect_finite({"gradient_norm": gradient_norm}, batch, run)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.step += 1
        if self.ema:
            self.ema.update_parameters(self.model)
        return StepResult(told, gradient_norm, shares, asked_by > 0)

    def expect_finite(self, told: dict[str, float], batch: Any, run: Path) -> None:
        """Stop where a term is not finite, and save what is needed to look at it."""
        bad = [f"{name} {value}" for name, value in told.items() if not math.isfinite(value)]
        if not bad:
            return
        paths = [str(self.data.train[n].path) for n in batch.position.tolist()]
        file = run / f"not-finite-step-{self.step}-rank-{self.world.rank}.pt"
        seen = {"terms": told, "images": batch.image, "labels": batch.label, "paths": paths}
        save_checkpoint(file, self.state() | seen)
        listed = "\n".join(f"    {path}" for path in paths)
        raise FloatingPointError(
            f"not finite at step {self.step} (epoch {self.epoch + 1}): {', '.join(bad)}. "
            f"The batch, the network and its optimizer are in {file}. The batch of process "
            f"{self.world.rank}:\n{listed}"
        )


class RunningMeans:
    """Means of named values over the steps of an epoch, which a checkpoint within it keeps."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.count = 0

    def add(self, values: dict[str, float]) -> None:
        """Count one step's values."""
        self.count += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        """Return the mean of each so far; nothing before the first step."""
        return {name: total / self.count for name, total in self.sums.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return sums and count, as copies."""
        return {"sums": dict(self.sums), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state that was taken before."""
        self.sums, self.count = dict(state["sums"]), state["count"]


def average_of(model: nn.Module, decay: float) -> AveragedModel:
    """Return a moving average of a model's weights and running means, in eval mode."""
    ema = AveragedModel(model, multi_avg_fn=ema_with_warmup(decay), use_buffers=True)
    ema.update_parameters(model)  # copies: the next update is the first that averages
    return ema.eval().requires_grad_(False)


def synchronize_batch_norm(module: TrainingStep, device: torch.device) -> TrainingStep:
    """Let every batch normalization see the images of all processes, under the same names."""
    if device.type == "cpu":
        raise ValueError(
            "--sync-bn needs a GPU for each process: torch's SyncBatchNorm has no CPU version. "
            "Leave it out, or train in one process"
        )
    converted: TrainingStep = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
    return converted


def lr_factor(config: MDPRConfig, done: int, steps: int) -> float:
    """Linear from first_lr to lr during the warm-up, then a cosine down to last_lr."""
    if done < config.warmup_steps:
        share = done / config.warmup_steps
        return (config.first_lr + share * (config.lr - config.first_lr)) / config.lr
    share = min(1.0, (done - config.warmup_steps) / max(1, steps - config.warmup_steps))
    cosine = (1 + math.cos(math.pi * share)) / 2
    return (config.last_lr + cosine * (config.lr - config.last_lr)) / config.lr
