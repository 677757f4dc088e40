"""The one way in which modules are set to eval mode and back."""

import pytest
import torch
from torch import nn

from reidblocks._modes import eval_mode
from reidblocks.evaluation import extract_features


class Counting(nn.Linear):
    """A layer whose own train() does more, as those of LoRA that merge their weights."""

    calls = 0

    def train(self, mode: bool = True) -> "Counting":
        self.calls += 1
        return super().train(mode)


def test_several_modules_have_their_own_modes_again() -> None:
    one, two = nn.Sequential(nn.Linear(2, 2), nn.Dropout().eval()), nn.Dropout()
    with eval_mode(one, two):
        assert not any(part.training for module in (one, two) for part in module.modules())
    assert [part.training for part in one.modules()] == [True, True, False]
    assert two.training


def test_the_modes_come_back_after_an_error() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match="stop"), eval_mode(model):
        raise RuntimeError("stop")
    assert model.training


def test_no_train_method_runs_that_nothing_would_undo() -> None:
    layer = Counting(2, 2)
    with eval_mode(layer):
        pass
    assert layer.calls == 0


def test_an_exported_program_which_refuses_eval_can_be_evaluated() -> None:
    class Batch:
        image, label, camera = torch.rand(2, 3), torch.arange(2), torch.arange(2)

    program = torch.export.export(nn.Linear(3, 4).eval(), (Batch.image,)).module()
    with pytest.raises(NotImplementedError):
        program.eval()
    assert extract_features(program, [Batch()]).values.shape == (2, 4)
