"""Blocks of rows, where all pairs at once would be too many."""

import torch
from torch import Tensor

BLOCK = 2**18  # pairs at a time: 1 MB of float32, which stay in the cache from step to step
GPU_BLOCK = 2**23  # 32 MB: with small blocks it would wait for the next kernel, not compute


def row_slices(rows: Tensor, num_columns: int, at_most: int | None = None) -> list[slice]:
    """Cut rows so that a block of them holds about as many pairs as suit their device.

    One block may hold twice as many, rather than a block and a bit; compiled, it holds all. With
    ``at_most`` rows in a block, unless a GPU takes all in one.
    """
    num_rows, on_cpu = rows.shape[0], rows.device.type == "cpu"
    if torch.compiler.is_compiling():  # which cannot loop over a size it does not know
        return [slice(0, num_rows)]
    block = BLOCK if on_cpu else GPU_BLOCK
    at_most = at_most or block
    if num_rows * num_columns <= 2 * block and (num_rows <= at_most or not on_cpu):
        return [slice(0, num_rows)]
    step = min(max(1, block // max(1, num_columns)), at_most)
    return [slice(start, min(start + step, num_rows)) for start in range(0, num_rows, step)]
