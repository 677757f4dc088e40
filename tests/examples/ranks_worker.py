"""What test_ranks.py runs: one process alone, and two that share the batches, as by torchrun.

python ranks_worker.py DATA_ROOT OUTPUT_FOLDER PORT

The three are forked from this one, which has torch loaded already.
"""

import contextlib
import dataclasses
import os
import signal
import sys
import traceback
from pathlib import Path

import cpu_sync_batch_norm
import torch
from torch import Tensor, nn

import build
import run
from config import PRESETS
from evaluate import figures
from reidblocks.training import DistributedContext, StopRequest, init_distributed, pick_device
from run import Training
from train import training_step

CONFIG = dataclasses.replace(
    PRESETS["synthetic"], dataset="market1501", height=32, width=16, identities=4, images=2,
    embed_dim=8, workers=0, precision="float32", warmup_steps=2, flip=0, erase=0, patch=0,
    lr=1e-3, first_lr=1e-3, gradient_shares=9,
)  # fmt: skip
CASES = {
    "fixed": {"circle": "pair", "triplet_margin": 0.05, "clip_grad": 10.0},  # BN in eval
    "synced": {"sync_bn": True, "ema": 0.9},
}


class Float64(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.double() / 128 - 1


def trained(name: str, root: str, world: DistributedContext, folder: Path) -> dict[str, object]:
    """Three steps of a case in float64: terms, norms and shares of each, and the parameters."""
    torch.set_default_dtype(torch.float64)
    config = dataclasses.replace(CONFIG, data_root=root, **CASES[name])
    training = Training(config, build.read_data(config), world, fresh=True)
    training.step_module.augment = Float64()
    for module in training.step_module.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and name == "fixed":
            module.eval()
    loader = iter(training.loader)
    taken = [training_step(training, next(loader), StopRequest(), folder) for _ in range(3)]
    torch.set_default_dtype(torch.float32)
    return {
        "taken": [tuple(step) for step in taken],
        "state": training.model.state_dict(),
        "criterion": training.step_module.criterion.state_dict(),
        "ema": training.ema.module.state_dict() if training.ema else {},
    }


def work(root: str, folder: Path) -> None:
    torch.set_num_threads(1)
    world = init_distributed(pick_device(int(os.environ.get("LOCAL_RANK", 0))))
    if world.device.type == "cpu":  # where torch has none, and --sync-bn is refused
        run.synchronize_batch_norm = lambda module, device: cpu_sync_batch_norm.convert(module)
    result: dict[str, object] = {name: trained(name, root, world, folder) for name in CASES}
    build.EVAL_BATCH = 3  # so that the ranks have several, and not equally many
    config = dataclasses.replace(CONFIG, data_root=root)
    training = Training(config, build.read_data(config), world, fresh=True)
    if world.rank > 0:  # buffers of its own, as running means are: they must not count
        for buffer in training.model.buffers():
            buffer += 1
    scored = training.tested()
    result["query"] = scored.query.values
    result["gallery"] = scored.gallery.values
    result["ids"] = scored.gallery.ids
    result["figures"] = figures(scored)
    build.autocast_dtype = lambda device: (torch.bfloat16, torch.float32)[world.rank]
    auto = dataclasses.replace(config, precision="auto")
    result["precision"] = build.settle_precision(auto, world).precision
    torch.save(result, folder / f"of-{world.world_size}-rank-{world.rank}.pt")
    world.destroy()


def main(root: str, folder: Path, port: str) -> int:
    """Fork the three; 1 if one of them fails."""
    two = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    children = []
    for told in ({}, *({**two, "RANK": rank, "LOCAL_RANK": rank} for rank in "01")):
        child = os.fork()
        if child:
            children.append(child)
            continue
        os.environ.update(told)
        code = 1
        try:
            work(root, folder)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    for _ in children:  # whichever ends first: where one fails, the others would wait for it
        if os.wait()[1]:
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
