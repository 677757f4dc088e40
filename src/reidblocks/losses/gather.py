"""The batch of all processes, for losses that compare its members with each other."""

from torch import Tensor

from reidblocks._checks import expect_shape
from reidblocks._distributed import gather_rows


def gather_batch(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the embeddings and labels of all processes, in the order of their ranks.

    $$y = \mathrm{concat}(x_0, \ldots, x_{W-1}), \qquad
      \frac{\partial L}{\partial x_r} = \sum_{s=0}^{W-1} \frac{\partial L_s}{\partial y_r}$$

    for W processes, of which that of rank r has $x_r$ and the loss $L_r$. The gradient is exact, of
    any order: where every process computes the loss of the whole batch, or each that of its own
    anchors, `DistributedDataParallel`, which averages, gives the gradient of one process with the
    whole batch (for own anchors: if each has as many).

    Batches may differ in size. All processes must call it, and, if the embeddings need a
    gradient, all must take it. Without a process group it returns what it was given.

    Args:
        embeddings, labels: this process's; the first may be any tensor with a row for each image.

    Shape: (B, ...), (B,) → (sum of all B, ...), (sum of all B,)

    Raises:
        ValueError: there are not as many labels as embeddings.

    >>> embeddings, labels = gather_batch(torch.randn(2, 8), torch.tensor([0, 1]))
    >>> embeddings.shape
    torch.Size([2, 8])
    """
    expect_shape("gather_batch", "embeddings", embeddings, "B ...")
    expect_shape("gather_batch", "labels", labels, "B")
    if labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"gather_batch expects a label for each embedding, got labels {tuple(labels.shape)} "
            f"and embeddings {tuple(embeddings.shape)}"
        )
    return gather_rows(embeddings), gather_rows(labels)
