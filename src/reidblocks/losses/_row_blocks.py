"""Blocks of rows, where all pairs at once would be too many."""

import torch

BLOCK = 2**18  # pairs at a time: 1 MB of float32, which stay in the cache from step to step


def row_slices(num_rows: int, num_columns: int, at_most: int = BLOCK) -> list[slice]:
    """Cut rows so that a block of them holds about BLOCK pairs; compiled, all are one block."""
    if torch.compiler.is_compiling():  # which cannot loop over a size it does not know
        return [slice(0, num_rows)]
    if num_rows * num_columns <= 2 * BLOCK and num_rows <= at_most:
        return [slice(0, num_rows)]  # rather than a block and a bit
    step = min(max(1, BLOCK // max(1, num_columns)), at_most)
    return [slice(start, min(start + step, num_rows)) for start in range(0, num_rows, step)]
