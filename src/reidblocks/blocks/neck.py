"""The batch normalization between a pooled vector and the losses."""

from collections.abc import Iterator

from torch import Tensor, nn

from reidblocks._checks import expect_shape, expect_size, expect_sizes


class BNNeck(nn.Module):
    r"""Apply batch normalization to pooled vectors, by default without a trained bias.

    $$y = \gamma \odot \frac{x - \mathrm{E}[x]}{\sqrt{\mathrm{Var}[x] + \epsilon}} + \beta$$

    Vectors before it suit Euclidean losses, vectors after it cosine ones; MDPR takes those
    after it for every loss and for search.

    Args:
        num_features: D, size of the vectors.
        bias: whether β is trained. Without it β stays as it is (0, or what a checkpoint holds):
            the classes' hyperplanes go through the origin. It is then a buffer: in the
            state_dict as ``bn.bias`` either way, but not in ``parameters()``, so that neither
            ``requires_grad_(True)`` nor an optimizer's weight decay reaches it.

    Shape:
        (B, D) → (B, D)

    Raises:
        ValueError: num_features is not above 0, the input is not (B, num_features).

    Source: Luo et al., arXiv 1903.07071.

    >>> BNNeck(4)(torch.rand(3, 4)).mean(0).abs().max() < 1e-5
    tensor(True)
    """

    def __init__(self, num_features: int, *, bias: bool = False) -> None:
        super().__init__()
        expect_sizes("BNNeck", num_features=num_features)
        self.trains_bias = bias
        self.bn = nn.BatchNorm1d(num_features)
        self._keep_bias()
        self.register_load_state_dict_post_hook(_keep_bias_of)  # type: ignore[no-untyped-call]

    def forward(self, vectors: Tensor) -> Tensor:
        expect_shape("BNNeck", "vectors", vectors, "B D")
        expect_size("BNNeck", "vectors", vectors, 1, self.bn.num_features)
        embeddings: Tensor = self.bn(vectors)
        return embeddings

    def add_module(self, name: str, module: nn.Module | None) -> None:
        super().add_module(name, module)  # as SyncBatchNorm.convert_sync_batchnorm does
        self._keep_bias()

    def named_children(self) -> Iterator[tuple[str, nn.Module]]:
        self._keep_bias()  # the conversion asks for the children first
        return super().named_children()

    def _keep_bias(self) -> None:
        """Keep a β that is not trained among the buffers, where nothing trains it by accident.

        It is a Parameter all the same, as ``convert_sync_batchnorm`` assigns it to a parameter.
        A conversion and ``load_state_dict(assign=True)`` make it one of ``parameters()`` again:
        each is followed by this. ``.to()``, of the neck or its norm alone, makes it a plain tensor.
        """
        if self.trains_bias:
            return
        bias: Tensor | None = self.bn._parameters.pop("bias", None)
        if bias is None:
            bias = self.bn._buffers.get("bias")
            if isinstance(bias, nn.Parameter):
                return  # as nearly always, also while torch.export looks for the children
        if bias is not None:
            self.bn._buffers["bias"] = nn.Parameter(bias.detach(), requires_grad=False)


def _keep_bias_of(neck: BNNeck, _: object) -> None:
    neck._keep_bias()
