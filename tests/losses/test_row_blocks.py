"""Blocks of rows by the device that computes them; tensors without memory stand for a GPU's."""

import pytest
import torch

from reidblocks.losses._row_blocks import BLOCK, GPU_BLOCK, row_slices


@pytest.mark.parametrize(("device", "block"), [("cpu", BLOCK), ("meta", GPU_BLOCK)])
@pytest.mark.parametrize("num_rows", [0, 1, 129, 4096, 4097, 10_000])
@pytest.mark.parametrize("at_most", [None, 128])
def test_blocks_hold_each_row_once_and_no_more_than_they_may(
    device: str, block: int, num_rows: int, at_most: int | None
) -> None:
    slices = row_slices(torch.empty(num_rows, 1, device=device), 4096, at_most)
    assert [row for each in slices for row in range(num_rows)[each]] == list(range(num_rows))
    heights = [each.stop - each.start for each in slices]
    assert max(heights) * 4096 <= (2 * block if len(slices) == 1 else block)
    if at_most and (len(slices) > 1 or device == "cpu"):
        assert max(heights) <= at_most


def test_a_gpu_takes_4096_by_4096_at_once_and_a_cpu_does_not() -> None:
    assert len(row_slices(torch.empty(4096, 1, device="meta"), 4096, at_most=128)) == 1
    assert len(row_slices(torch.empty(4097, 1, device="meta"), 4097)) == 3
    assert len(row_slices(torch.empty(4096, 1), 4096)) == 64
