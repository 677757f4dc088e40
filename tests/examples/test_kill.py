"""Processes killed at random moments, and asked to stop: the run ends as if nothing had been."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reidblocks.data import synthetic_people

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples" / "mdpr"


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_people(
        tmp_path_factory.mktemp("people"), num_train_identities=8, num_test_identities=4,
        images_per_camera=2, num_cameras=2, size=(32, 16),
    )  # fmt: skip


def strike(people: Path, folder: Path, kills: int, seed: int) -> str:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join([str(EXAMPLES), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, HERE / "kill_harness.py", people, folder, str(kills), str(seed)],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return done.stdout


def test_a_killed_run_ends_bit_for_bit_like_one_left_alone(people: Path, tmp_path: Path) -> None:
    told = strike(people, tmp_path, kills=2, seed=1)
    assert told.count("kill ") == 2


@pytest.mark.slow
def test_24_kills_at_random_moments(people: Path, tmp_path: Path) -> None:
    told = strike(people, tmp_path, kills=24, seed=2)
    assert told.count("kill ") == 24
    assert "differs" not in told
    print(told)
