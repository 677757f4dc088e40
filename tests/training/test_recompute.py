"""Activation checkpointing: the same training for less memory."""

import copy

import torch
from torch import Tensor, nn

from reidblocks.training import recompute


def network() -> nn.Sequential:
    def part(inputs: int, outputs: int) -> nn.Sequential:
        norm, dropout = nn.BatchNorm2d(outputs), nn.Dropout(0.5)
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3), norm, nn.ReLU(), dropout)

    return nn.Sequential(*part(3, 4), part(4, 6), part(6, 5)).double()


def test_gradients_and_statistics_are_those_of_the_plain_network() -> None:
    plain = network()
    saving = copy.deepcopy(plain)
    recompute(saving, None)
    images, kept, outputs = torch.rand(4, 3, 12, 10, dtype=torch.float64), [], []
    for model in (plain, saving):
        kept.append(0)

        def count(each: Tensor) -> Tensor:
            kept[-1] += each.numel()
            return each

        torch.manual_seed(0)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda each: each):
            output = model(images)
        output.pow(3).sum().backward()
        outputs.append(output)
    assert kept[1] < 0.5 * kept[0]
    torch.testing.assert_close(outputs[1], outputs[0])
    for (name, one), other in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, msg=name)
    for (name, one), other in zip(plain.named_buffers(), saving.buffers(), strict=True):
        torch.testing.assert_close(other, one, msg=name)  # a batch was counted once
    assert torch.equal(saving.eval()(images), plain.eval()(images))


def test_several_backward_passes_through_one_part() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5)).double()
    plain = copy.deepcopy(model)
    recompute(model)
    values = torch.rand(4, 3, dtype=torch.float64)
    for each in (plain, model):
        output = each(values)
        output[:, 0].pow(3).sum().backward(retain_graph=True)
        output[:, 1].pow(3).sum().backward()
    torch.testing.assert_close(model[0].weight.grad, plain[0].weight.grad)
    torch.testing.assert_close(model[1].running_mean, plain[1].running_mean)
    assert model[1].momentum == 0.1


def test_a_copy_has_its_own_weights() -> None:
    model = nn.Sequential(nn.Linear(3, 5))
    recompute(model)
    copied = copy.deepcopy(model)
    copied(torch.rand(4, 3)).sum().backward()
    assert model[0].weight.grad is None
    assert copied[0].weight.grad is not None
