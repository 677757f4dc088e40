"""check_block must be able to fail: a block broken in one way each, and what is said of it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidblocks.testing import check_block


class Good(nn.Module):
    """What every broken block below is but for one fault."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1, bias=False)
        self.bn = nn.BatchNorm2d(4)

    def forward(self, maps: Tensor) -> Tensor:
        return self.bn(self.conv(maps)).mean((2, 3))


class Uncopied(Good):
    def __init__(self) -> None:
        super().__init__()
        self.activation = lambda maps: maps


class BareTensor(Good):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.full((4,), 2.0)

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps) * self.scale


class InPlace(Good):
    def forward(self, maps: Tensor) -> Tensor:
        features = super().forward(maps)
        if not torch.is_grad_enabled():
            maps.clamp_(min=0.5)
        return features


class Random(Good):
    def forward(self, maps: Tensor) -> Tensor:
        return F.dropout(super().forward(maps))


class DetachedParameter(Good):
    def forward(self, maps: Tensor) -> Tensor:
        return self.bn(F.conv2d(maps, self.conv.weight.detach())).mean((2, 3))


class UnusedParameter(Good):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Parameter(torch.ones(4))


class DetachedInput(Good):
    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.detach())


class NoGradient(Good):
    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps).detach()


class HiddenState(Good):
    """Keeps a running mean where no state_dict sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = 0.0

    def forward(self, maps: Tensor) -> Tensor:
        if self.training and not torch.compiler.is_compiling():
            self.mean += 1.0
        return super().forward(maps) + self.mean * 0.1


class Branching(Good):
    def forward(self, maps: Tensor) -> Tensor:
        features = super().forward(maps)
        return features * 2 if features.sum() > 0 else features


class CompiledOtherwise(Good):
    def forward(self, maps: Tensor) -> Tensor:
        factor = 2.0 if torch.compiler.is_dynamo_compiling() else 1.0
        return super().forward(maps) * factor


class CompiledForOneBatch(Good):
    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps) * (1 if maps.shape[0] % 2 else 1.0)


class BatchDependent(Good):
    def forward(self, maps: Tensor) -> Tensor:
        features = super().forward(maps)
        return features - features.mean(0)


class BatchOfTwoAtLeast(Good):
    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps).squeeze(0)


class EvenHeight(Good):
    def forward(self, maps: Tensor) -> Tensor:
        top, bottom = maps.unflatten(2, (2, -1)).unbind(2)
        return super().forward(top) + super().forward(bottom)


class SizeDependent(Good):
    def forward(self, maps: Tensor) -> Tensor:
        return self.bn(self.conv(maps)).flatten(1)


class Strided(Good):
    """Reads the memory as if channels came first."""

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(torch.as_strided(maps, maps.shape, torch.empty(maps.shape).stride()))


class NaNOnZeros(Good):
    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps / maps.norm(dim=1, keepdim=True))


class NaNGradientOnZeros(Good):
    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.abs().sqrt())


class OverflowsInHalf(Good):
    def forward(self, maps: Tensor) -> Tensor:
        return super().forward((maps + 1e5) - 1e5)


class CoarseInHalf(Good):
    def forward(self, maps: Tensor) -> Tensor:
        return super().forward((maps + 1e2) - 1e2)


class OverflowsInTraining(Good):
    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps) * (1e6 if self.training else 1.0)


class Float32Only(Good):
    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.float())


class LostUnderAutocast(Good):
    def forward(self, maps: Tensor) -> Tensor:
        features = super().forward(maps)
        ones = torch.ones(4, 4)
        # 1 + 1e-3 is 1 in bfloat16
        return features + 1e3 * (((1 + 1e-3) * torch.eye(4)) @ ones - ones)[0]


class FixedBatch(Good):
    def forward(self, maps: Tensor) -> Tensor:
        features = super().forward(maps)
        return features * 1.0 if features.shape[0] in (1, 4) else features


class ForgottenByPickle(Good):
    def __init__(self) -> None:
        super().__init__()
        self.scale = 2.0

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps) * self.scale

    def __getstate__(self) -> dict[str, object]:
        return {**super().__getstate__(), "scale": 1.0}

    def __deepcopy__(self, memo: dict[int, object]) -> nn.Module:
        copied = type(self)()
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied


class Float64(Good):
    def forward(self, maps: Tensor) -> Tensor:
        return super().forward((maps.double() + 1).to(maps.dtype))


class Squared(torch.autograd.Function):
    """Which torch.func can differentiate, and neither vectorize nor push forward."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * grad


class SquaredOldStyle(Squared):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        return x * x

    setup_context = torch.autograd.Function.setup_context


class SquaredOnce(Squared):
    generate_vmap_rule = True

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0].detach() * grad

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def jvp(ctx: Any, change: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * change


class SquaredBackwards(SquaredOnce):
    @staticmethod
    def jvp(ctx: Any, change: Tensor) -> Tensor:
        return -2 * ctx.saved_tensors[0] * change


class WithFunction(Good):
    function: type[torch.autograd.Function] = Squared

    def forward(self, maps: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return super().forward(maps * maps)
        return super().forward(self.function.apply(maps))


class NotUnderFunc(WithFunction):
    function = SquaredOldStyle


class NotVectorized(WithFunction):
    function = Squared


class WrongForwardMode(WithFunction):
    function = SquaredBackwards


class WrongTwice(WithFunction):
    function = SquaredOnce


class NoRows(Good):
    """What torch.fx cannot follow, as it has no shapes."""

    def forward(self, maps: Tensor) -> Tensor:
        if maps.shape[2] > 1000:
            raise ValueError("too high")
        return super().forward(maps)


class ChangesWhatAHookKept(Good):
    def forward(self, maps: Tensor) -> Tensor:
        return self.bn(self.conv(maps)).relu_().mean((2, 3))


class NotCalled(Good):
    def forward(self, maps: Tensor) -> Tensor:
        return self.bn(F.conv2d(maps, self.conv.weight)).mean((2, 3))


class Dropped(Good):
    """Calls a module whose result goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        features = super().forward(maps)
        self.relu(features)
        return features


class NotPrinted(Good):
    def extra_repr(self) -> str:
        return f"scale={self.bn.weight.mean().item()}"


class LostOnMeta(Good):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.full((4,), 2.0), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps) * self.scale


class Dropping(Good):
    def forward(self, maps: Tensor) -> Tensor:
        return F.dropout(super().forward(maps), training=self.training)


class Text(Good):
    def forward(self, maps: Tensor) -> str:
        return "features"


def maps() -> Tensor:
    return torch.rand(4, 3, 6, 4)


def test_a_good_block_passes_and_is_left_as_it_was() -> None:
    block, features = Good(), maps()
    block.bn.eval()
    state = {name: value.clone() for name, value in block.state_dict().items()}
    before = features.clone()
    seed = torch.get_rng_state()
    check_block(block, features)
    assert block.training
    assert not block.bn.training
    assert all(torch.equal(value, state[name]) for name, value in block.state_dict().items())
    assert all(parameter.grad is None for parameter in block.parameters())
    assert torch.equal(features, before)
    assert not features.requires_grad
    assert torch.equal(torch.get_rng_state(), seed)


@pytest.mark.parametrize(
    ("make", "promise", "how"),
    [
        (Uncopied, "can be copied and pickled", "pickle"),
        (BareTensor, "keeps its tensors as parameters and buffers", "scale is a bare tensor"),
        (InPlace, "leaves its inputs as they are", "input 0 is changed in place"),
        (Random, "gives the same twice", "the second output differs by"),
        (DetachedParameter, "finite gradient to every", "parameter conv.weight gets none"),
        (UnusedParameter, "finite gradient to every", "parameter spare gets none"),
        (DetachedInput, "finite gradient to every", "no input gets any"),
        (NoGradient, "finite gradient to every", "what comes out has no gradient"),
        (HiddenState, "is restored by its state_dict", "the restored output differs by"),
        (Branching, "compiles to one graph", "data-dependent|Data-dependent"),
        (CompiledOtherwise, "compiles to one graph", "the compiled output differs by"),
        (CompiledForOneBatch, "one graph for batches of any size", "[Rr]ecompile"),
        (BatchDependent, "treats each image on its own", "the first image alone differs by"),
        (BatchOfTwoAtLeast, "treats each image on its own", r"is \(4,\), not \(1, 4\)"),
        (EvenHeight, "takes maps of any height and width", "unflatten"),
        (SizeDependent, "takes maps of any height and width", r"maps 1×1 is \(4, 4\), usually"),
        (Strided, "takes maps with channels last", "channels last differs by"),
        (NaNOnZeros, "stays finite on zeros", "output 0 holds nan"),
        (NaNGradientOnZeros, "stays finite on zeros", "the gradient of input 0 holds nan"),
        (OverflowsInHalf, "works in float16", "the output in eval differs by (inf|nan)"),
        (CoarseInHalf, "works in bfloat16", "the output in eval differs by"),
        (OverflowsInTraining, "works in float16", "output 0 holds -?inf"),
        (Float32Only, "works in float16", "RuntimeError"),
        (LostUnderAutocast, "works under autocast", "the output in eval differs by"),
        (FixedBatch, "exports with a batch of any size", "batch"),
        (Text, "gives the same twice", "a str comes out"),
        (ForgottenByPickle, "gives the same once pickled", "output of a pickled copy differs by"),
        (Float64, "works without float64", "gives float64"),
        (NotUnderFunc, "works under torch.func.grad", "setup_context"),
        (NotVectorized, "works under torch.func.vmap", "vmap"),
        (WrongForwardMode, "works under torch.func.jvp", "torch.func.jvp differs by"),
        (WrongTwice, "has true second derivatives", "the derivative of a gradient penalty is"),
        (NoRows, "is traced by torch.fx", "symbolically traced"),
        (
            ChangesWhatAHookKept,
            "lets hooks keep what they see",
            "hook of bn .* is changed in place",
        ),
        (NotCalled, "lets hooks keep what they see", "the hook of conv never fires"),
        (Dropped, "runs full backward hooks", "the backward hook of relu never fires"),
        (NotPrinted, "works on meta", "meta"),
        (LostOnMeta, "works on meta", "the output after meta and to_empty differs by"),
    ],
)
def test_a_broken_block_is_caught(make: Callable[[], nn.Module], promise: str, how: str) -> None:
    with pytest.raises(AssertionError, match=f"(?s)^{make.__name__} breaks .*{promise}.*({how})"):
        check_block(make(), maps())


def test_a_block_may_be_random_in_training() -> None:
    check_block(Dropping(), maps())


class StopsAGradient(Good):
    def forward(self, maps: Tensor) -> Tensor:
        features = super().forward(maps)
        return features * features.detach().square()


def test_what_is_held_constant_in_the_gradient_is_said() -> None:
    check_block(StopsAGradient(), maps(), exact_gradient=False)
    with pytest.raises(AssertionError, match="has true second derivatives"):
        check_block(StopsAGradient(), maps())


def test_a_height_multiple_is_kept_to() -> None:
    check_block(EvenHeight(), maps(), height_multiple=2)


def test_outputs_may_be_nested() -> None:
    class Nested(Good):
        def forward(self, maps: Tensor) -> dict[str, tuple[Tensor, list[Tensor]]]:
            features = super().forward(maps)
            return {"features": (features, [features.mean(), features * 2])}

    globals()["Nested"] = Nested  # pickle finds classes by their module
    Nested.__qualname__ = "Nested"
    check_block(Nested(), maps())


@pytest.mark.parametrize("inputs", [(), (torch.rand(1, 3, 6, 4),), (torch.tensor(1.0),)])
def test_needs_two_images(inputs: tuple[Tensor, ...]) -> None:
    with pytest.raises(ValueError, match="check_block expects inputs of at least two images"):
        check_block(Good(), *inputs)
