"""What tests of losses watch with."""

import pytest
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Watch(TorchDispatchMode):
    """Remembers the size of the largest tensor made, and the operators that made them."""

    numel = 0

    def __init__(self):
        super().__init__()
        self.operators = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        self.operators.append(function._schema.name.removeprefix("aten::"))
        if isinstance(output, Tensor):
            self.numel = max(self.numel, output.numel())
        return output


@pytest.fixture
def watch() -> type[Watch]:
    return Watch
