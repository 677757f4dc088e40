"""Train, kill the process at random moments, resume, and compare with the run left alone.

python kill_harness.py DATA_ROOT FOLDER KILLS SEED

Each training is a real process, forked from this one, which has torch loaded already. A run that
ends before its moment has come counts for nothing; the next begins in another folder. Prints
where each kill struck. The pictures at the end are left out, as they take longer than the rest.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

import train
from build import load_checkpoint

FIELDS = {
    "preset": "synthetic", "dataset": "market1501", "height": 32, "width": 16, "identities": 4,
    "images": 2, "embed_dim": 8, "branches": "hard", "epochs": 3, "eval_every": 1,
    "warmup_steps": 2, "precision": "float32", "ema": 0.9, "checkpoint_every": 3, "log_every": 1,
    "circle": "class", "workers": 1,
}  # fmt: skip
SAME = (
    "model",
    "criterion",
    "optimizer",
    "schedule",
    "trained",
    "ema_updates",
    "sampler",
    "sums",
    "best",
    "step",
)
TIMED = ("seconds", "images_per_second", "waited")


def flags(root: str) -> list[str]:
    fields = {**FIELDS, "data_root": root}
    pairs = [(f"--{key.replace('_', '-')}", f"{value}") for key, value in fields.items()]
    return [word for pair in pairs for word in pair]


def start(arguments: list[str], output: Path) -> int:
    """Fork a process that trains; give its number."""
    process = os.fork()
    if process:
        return process
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    code = 1
    try:
        train.draw_run = lambda *_: []
        train.main(arguments)
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def wait(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def go_on(root: str, run: Path) -> list[str]:
    """How a user goes on: resume, or start where not even the folder's configuration is there."""
    there = (run / "config.json").exists()
    return ["--resume", str(run)] if there else [*flags(root), "--out", str(run)]


def differences(whole: Path, run: Path) -> list[str]:
    """Name what is not the same to the last bit."""
    ours, others = load_checkpoint(run), load_checkpoint(whole)
    found = [name for name in SAME if not same(ours[name], others[name])]
    for name in ("metrics.jsonl", "steps.jsonl"):
        lines = [
            [{k: v for k, v in json.loads(line).items() if k not in TIMED} for line in text]
            for text in ((f / name).read_text().splitlines() for f in (whole, run))
        ]
        found += [name] * (lines[0] != lines[1])
    if (whole / "metrics.json").read_text() != (run / "metrics.json").read_text():
        found.append("metrics.json")
    return found + [path.name for path in run.glob("*.partial")]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def main(root: str, folder: Path, kills: int, seed: int) -> int:
    torch.set_num_threads(1)
    rng, whole = random.Random(seed), folder / "whole"
    begun = time.perf_counter()
    if code := wait(start([*flags(root), "--out", str(whole)], folder / "whole.txt")):
        print((folder / "whole.txt").read_text())
        return code
    length = time.perf_counter() - begun
    struck, faults, number = 0, 0, 0
    while struck < kills:
        number += 1
        run, output, hits = folder / f"run{number}", folder / f"run{number}.txt", 0
        while True:
            process = start(go_on(root, run), output)
            if struck < kills and hits < 6:
                time.sleep(rng.uniform(0, length))
                os.kill(process, signal.SIGKILL)
            code = wait(process)
            if code == 0:
                break
            if code != -signal.SIGKILL:
                print(output.read_text())
                return 1
            struck, hits = struck + 1, hits + 1
            saved = sorted(path.name for path in run.glob("step-*.pt")) if run.exists() else []
            print(
                f"kill {struck}: run {number}, {', '.join(saved) or 'nothing saved yet'}",
                flush=True,
            )
        wrong = differences(whole, run)
        print(
            f"run {number}: {hits} kills, {'differs in ' + ', '.join(wrong) if wrong else 'same'}"
        )
        faults += bool(wrong)
    return faults


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
