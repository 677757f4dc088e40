"""What a Mac does: a step of training, an embedding and its pictures need no float64."""

import dataclasses
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny import TINY, tiny

from criterion import Criterion
from reidblocks.data import BatchAugmentation
from reidblocks.deploy import Embedder, embed
from reidblocks.testing._capabilities import _WithoutFloat64
from reidblocks.visualization import attention_overlay
from run import TrainingStep, parameter_groups


@pytest.mark.parametrize("circle", ["class", "pair"])
def test_a_training_step(circle: str) -> None:
    config = dataclasses.replace(TINY, circle=circle, height=48, width=24)
    model = tiny(**dataclasses.asdict(config))
    step = TrainingStep(torch.nn.Identity(), model, Criterion(model.config, model.sizes, 4))
    optimizer = torch.optim.Adam(parameter_groups(step, config), weight_decay=5e-4, fused=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images, labels = torch.randn(8, 3, 48, 24), torch.arange(4).repeat_interleave(2)
    with _WithoutFloat64():
        for _ in range(2):
            total = torch.stack([*step(images, labels).values()]).sum()
            total.backward()
            norm = torch.nn.utils.get_total_norm([p.grad for p in step.parameters()])
            torch.nn.utils.clip_grads_with_norm_(step.parameters(), 1.0, norm)
            optimizer.step()
            optimizer.zero_grad()
    assert torch.isfinite(total)
    assert not torch.equal(model.fusion.neck.bn.weight, before["fusion.neck.bn.weight"])


def test_the_plan_of_an_augmentation_goes_to_the_device_in_whole_numbers() -> None:
    """It is drawn in float64 on the CPU, whatever the device."""
    plan = BatchAugmentation()._plan(4, 32, 16)
    assert (plan.device.type, plan.dtype) == ("cpu", torch.int32)


def test_an_embedding_and_a_picture_of_attention(tmp_path: Path) -> None:
    model = tiny(height=48, width=24).eval()
    image = Image.new("RGB", (24, 48), "teal")
    with _WithoutFloat64(), torch.inference_mode():
        embedder = Embedder(torch.nn.Flatten(), (8, 4)).eval()
        assert embed(embedder, [image]).embeddings.shape == (1, 96)
        maps = model.attention(torch.rand(1, 3, 48, 24))
        attention_overlay([image], maps).savefig(tmp_path / "attention.png")
