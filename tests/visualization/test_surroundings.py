"""Pictures do not depend on torch's global settings, nor on how their tensors were made."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from reidblocks import visualization as vis
from reidblocks.visualization._principal import principal_plane
from reidblocks.visualization.precision import precision_recall


def whole_steps(*shape: int) -> torch.Tensor:
    """Values that half precision holds exactly."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 33, shape, generator=generator, device="cpu").float() / 32


IMAGES, MAPS, POINTS = whole_steps(6, 3, 16, 8), whole_steps(6, 2, 4, 2) / 2, whole_steps(6, 4)
SAME, DIFFERENT = whole_steps(20), whole_steps(40) + 0.5
CMC = torch.tensor([0.5, 0.75, 1.0])
Change = Callable[[torch.Tensor], torch.Tensor]

DRAWN: dict[str, Callable[[Change], Any]] = {
    "attention_health": lambda c: vis.attention_health(c(MAPS)),
    "attention_overlay": lambda c: vis.attention_overlay(c(IMAGES), {"A": c(MAPS)}),
    "batch_sheet": lambda c: vis.batch_sheet(c(IMAGES), range(6)),
    "cmc_curves": lambda c: vis.cmc_curves({"a": c(CMC), "b": [0.25, 0.5]}),
    "distance_histogram": lambda c: vis.distance_histogram(
        vis.PairDistances(c(SAME), c(DIFFERENT)), 0.75
    ),
    "embedding_map": lambda c: vis.embedding_map(c(POINTS), [1, 1, 2, 2, 3, 3], c(IMAGES)),
    "points": lambda c: vis.embedding_map(c(POINTS[:, :2]), [1, 1, 2, 2, 3, 3]),
    "precision_recall": lambda c: precision_recall(vis.PairDistances(c(SAME), c(DIFFERENT))),
    "precision_recall_curves": lambda c: vis.precision_recall_curves(
        {"a": vis.PairDistances(c(SAME), c(DIFFERENT))}
    ),
    "principal_plane": lambda c: principal_plane(c(POINTS)),
    "ranked_list": lambda c: vis.ranked_list(
        [
            vis.RankedQuery(
                c(IMAGES[0]),
                [vis.RankedImage(c(IMAGES[1]), True, c(SAME[0]))],
                "id",
                c(SAME[1]),
            )
        ]
    ),
    "training_curves": lambda c: vis.training_curves(
        [vis.TrainingRecord(n, {"a": c(SAME[n])}, {"mAP": c(CMC[n])}) for n in range(3)]
    ),
    "unnormalize": lambda c: vis.unnormalize(c(IMAGES), [0.25] * 3, [0.5] * 3),
}


def content(made: Any) -> Any:
    """What can be compared: a figure's pixels, a tensor's values."""
    if isinstance(made, Figure):
        made.canvas.draw()
        return np.asarray(made.canvas.buffer_rgba()).tobytes()  # type: ignore[attr-defined]
    if isinstance(made, torch.Tensor):
        return made.detach().double().numpy()
    return [content(part) for part in made] if isinstance(made, tuple) else made


def alike(a: Any, b: Any) -> bool:
    if isinstance(a, list):
        return len(a) == len(b) and all(map(alike, a, b))
    return np.allclose(a, b, atol=1e-6) if isinstance(a, np.ndarray) else bool(a == b)


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return {name: content(draw(torch.clone)) for name, draw in DRAWN.items()}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "another device": lambda: torch.device("meta"),  # as a GPU would be: nothing is computed on it
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "deterministic": deterministic,
    "inference mode": torch.inference_mode,
}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_change_nothing(name: str, setting: str, expected: dict[str, Any]) -> None:
    with SETTINGS[setting]():
        assert alike(content(DRAWN[name](torch.clone)), expected[name])


CHANGES: dict[str, Change] = {
    "float16": torch.Tensor.half,
    "bfloat16": torch.Tensor.bfloat16,
    "float64": torch.Tensor.double,
    "requires grad": lambda tensor: tensor.clone().requires_grad_(),
    "not contiguous": lambda tensor: tensor.mT.contiguous().mT if tensor.dim() > 1 else tensor,
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("change", CHANGES)
def test_tensors_of_any_kind_are_drawn_alike(
    name: str, change: str, expected: dict[str, Any]
) -> None:
    assert alike(content(DRAWN[name](CHANGES[change])), expected[name])
