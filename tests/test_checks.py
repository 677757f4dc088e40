"""What every part asks of its input: what passes, what is said, and torch.fx's stand-ins."""

from functools import partial

import pytest
import torch
from torch import Tensor

from reidblocks import blocks, data, evaluation, losses
from reidblocks._checks import at_least_float32, expect_shape, expect_size


def test_leading_dimensions_are_free_where_the_shape_begins_with_dots():
    for sizes in ((2, 3), (5, 2, 3), (0, 5, 2, 3)):
        expect_shape("f", "x", torch.empty(sizes), "... B D")
    with pytest.raises(ValueError, match=r"f expects x \(..., B, D\), got \(3,\)"):
        expect_shape("f", "x", torch.empty(3), "... B D")
    with pytest.raises(ValueError, match=r"f expects x \(B, D\), got \(5, 2, 3\)"):
        expect_shape("f", "x", torch.empty(5, 2, 3), "B D")


def test_what_is_no_tensor_is_refused_by_its_type():
    with pytest.raises(TypeError, match="f expects x as a tensor, got list"):
        expect_shape("f", "x", [1.0], "B")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.int64, torch.float32),
        (torch.uint8, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
@pytest.mark.parametrize("default", [torch.float32, torch.float64])
def test_every_dtype_becomes_float32_at_least(given, expected, default):
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        assert at_least_float32(torch.ones(2).to(given)).dtype == expected
    finally:
        torch.set_default_dtype(before)


def test_a_function_with_checks_is_traced_by_fx_for_every_dtype():
    def double(x: Tensor) -> Tensor:
        expect_shape("double", "x", x, "B D")
        expect_size("double", "x", x, 1, 4)
        return at_least_float32(x) * 2

    traced = torch.fx.symbolic_trace(double)
    for dtype in (torch.float16, torch.int32, torch.float64):
        x = torch.ones(3, 4, dtype=dtype)
        assert torch.equal(traced(x), double(x))
        assert traced(x).dtype == double(x).dtype


SIZED = [
    *((cls, ("embed_dim", "num_classes")) for cls in
      (losses.CircleClassifier, losses.ArcFaceClassifier, losses.CosFaceClassifier)),
    (blocks.AttentionGenerator, ("in_channels", "num_maps")),
    (blocks.GuidedAttention, ("in_channels", "num_maps")),
    (blocks.BAP, ("in_channels", "embed_dim", "num_maps")),
    (blocks.BNNeck, ("num_features",)),
    (blocks.BNNeckHead, ("channels",)),
    (blocks.EmbeddingHead, ("in_channels", "embed_dim")),
    (blocks.HardPartitionHead, ("in_channels", "embed_dim", "num_parts")),
    (blocks.MutualDistiller, ("embed_dim",)),
    (blocks.FusionModule, ("channels",)),
    (partial(blocks.GeM, 3.0), ("groups",)),
]  # fmt: skip


@pytest.mark.parametrize(("made", "names"), SIZED)
@pytest.mark.parametrize("wrong", [4.0, "4", True, None])
def test_a_size_that_is_no_whole_number_is_refused_by_name(made, names, wrong):
    for name in names:
        sizes = dict.fromkeys(names, 4) | {name: wrong}
        if wrong is None and made is blocks.MutualDistiller:
            continue
        with pytest.raises(TypeError, match=f"expects {name} as a whole number, got"):
            made(**sizes)


@pytest.mark.parametrize("wrong", ["0.25", True, None, [1.0]])
@pytest.mark.parametrize(
    ("made", "name"),
    [
        (losses.CircleLoss, "margin"),
        (losses.CircleLoss, "gamma"),
        (losses.BatchHardTriplet, "margin"),
        (losses.AttentionDiversity, "beta"),
        (partial(losses.CircleClassifier, 4, 2), "margin"),
        (partial(losses.CircleClassifier, 4, 2), "gamma"),
        (partial(losses.ArcFaceClassifier, 4, 2), "scale"),
        (blocks.GeM, "p"),
    ],
)
def test_a_number_that_is_none_is_refused_by_name(made, name, wrong):
    if made is losses.BatchHardTriplet and wrong is None:  # the soft margin
        return
    with pytest.raises(TypeError, match=f"expects {name} as a number, got"):
        made(**{name: wrong})


def test_float8_is_refused_by_name():
    values = torch.ones(2, 4).to(torch.float8_e4m3fn)
    with pytest.raises(TypeError, match="Features expects floating-point values of 16 bits"):
        evaluation.Features(values, [0, 1])
    with pytest.raises(TypeError, match=r"search expects .* give query.float\(\)"):
        evaluation.search(values, values, 1)


def test_rows_that_are_none_are_refused():
    side = evaluation.Features(torch.ones(2, 4), [0, 1])
    for rows in ("a", {"a": 1}, [object()], 1.5):
        with pytest.raises(TypeError, match="expects rows as a list of whole numbers"):
            side[rows]


def test_a_seed_is_a_whole_number(tmp_path):
    side = evaluation.Features(torch.randn(6, 4), [0, 0, 1, 1, 2, 2], cameras=[0, 1] * 3)
    found = evaluation.evaluate(side, side)
    with pytest.raises(TypeError, match="seed as a whole number"):
        evaluation.confidence_intervals(found, seed=1.5)
    with pytest.raises(TypeError, match="seed as a whole number"):
        evaluation.compare(found, found, seed=1.5)
    with pytest.raises(TypeError, match="seed as a whole number"):
        data.synthetic_people(tmp_path, seed=1.5)


def test_gathering_text_is_refused_by_name():
    with pytest.raises(TypeError, match="gather_batch expects labels as a tensor, got list"):
        losses.gather_batch(torch.ones(2, 4), ["a", "b"])


@pytest.mark.parametrize("below", ["", "under"])
def test_a_file_in_the_place_of_a_folder_is_told(tmp_path, below):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(NotADirectoryError, match="a file is in its place"):
        data.synthetic_people(file / below)
    assert file.is_file()
