import math
import pickle
from statistics import mean

import pytest
import torch
from torch import Tensor

from reidblocks.data import RandomPatch


def image(value: int, height: int = 32, width: int = 16) -> Tensor:
    return torch.full((3, height, width), value, dtype=torch.uint8)


def test_a_paste_is_one_rectangle_of_an_earlier_image() -> None:
    paste = RandomPatch(p=1.0, min_pool=1)
    first = torch.randint(1, 256, (3, 32, 16), dtype=torch.uint8)
    assert paste(first) is first
    (piece,) = paste.pool
    result = paste(image(0))
    rows, columns = result.any(0).nonzero().unbind(1)
    box = result[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert box.equal(piece)
    where = [
        (y, x)
        for y in range(33 - piece.shape[1])
        for x in range(17 - piece.shape[2])
        if first[:, y : y + piece.shape[1], x : x + piece.shape[2]].equal(piece)
    ]
    assert where  # the piece is indeed a crop of the first image


def test_an_image_is_never_patched_with_itself() -> None:
    paste = RandomPatch(p=1.0, min_pool=1, pool_size=1)
    paste(image(0))
    for value in range(1, 50):
        assert paste(image(value)).unique().tolist() == [value - 1, value]


def test_the_pool_owns_its_pieces() -> None:
    paste = RandomPatch(p=1.0, min_pool=1)
    source = torch.rand(3, 384, 192)
    paste(source)
    (piece,) = paste.pool
    before = piece.clone()
    assert piece.untyped_storage().nbytes() == piece.numel() * piece.element_size()
    assert piece.untyped_storage().data_ptr() != source.untyped_storage().data_ptr()
    source.zero_()
    result = paste(torch.rand(3, 384, 192))
    result.zero_()
    assert paste.pool[0].equal(before)


def test_the_input_is_unchanged() -> None:
    paste = RandomPatch(p=1.0, min_pool=1)
    for value in range(20):
        source = image(value)
        paste(source)
        assert source.equal(image(value))


def test_images_pass_unchanged_until_there_are_enough_pieces() -> None:
    paste = RandomPatch(p=1.0, min_pool=5)
    for value in range(5):
        assert paste(image(value)).equal(image(value))
    assert not paste(image(9)).equal(image(9))


def test_a_full_pool_drops_the_oldest_piece() -> None:
    paste = RandomPatch(pool_size=3, min_pool=1)
    for value in range(7):
        paste(image(value))
    assert [int(piece[0, 0, 0]) for piece in paste.pool] == [4, 5, 6]


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_it_pastes_with_probability_p(p: float) -> None:
    paste = RandomPatch(p=p, min_pool=1, pool_size=10)
    paste(image(0))
    pasted = sum(bool((paste(image(1 + i % 250)) != image(1 + i % 250)).any()) for i in range(2000))
    assert abs(pasted / 2000 - p) < 4.5 * math.sqrt(p * (1 - p) / 2000) + 1e-9


def test_pieces_keep_to_the_ranges_and_fill_them() -> None:
    paste = RandomPatch(pool_size=3000, min_pool=1, area=(0.05, 0.4), ratio=(0.25, 4.0))
    for _ in range(3000):
        paste(torch.zeros(1, 200, 100))
    shares = [piece.shape[1] * piece.shape[2] / 20_000 for piece in paste.pool]
    ratios = [piece.shape[1] / piece.shape[2] for piece in paste.pool]
    assert 0.045 < min(shares) < 0.06
    assert 0.39 < max(shares) < 0.405
    assert abs(mean(shares) - 0.225) < 0.01  # uniform
    assert 0.24 < min(ratios) < 0.3
    assert 3.7 < max(ratios) < 4.1


def test_pieces_come_from_everywhere_and_go_everywhere() -> None:
    paste = RandomPatch(p=1.0, min_pool=1, area=(0.1, 0.2))
    ramp = torch.arange(32 * 16).view(1, 32, 16).float()
    taken, covered = torch.zeros(32 * 16), torch.zeros(32, 16)
    for _ in range(3000):
        covered += (paste(ramp) != ramp)[0]
        taken[paste.pool[-1].flatten().long()] += 1
    assert taken.min() > 0
    assert covered.min() > 0


def test_a_seeded_run_repeats() -> None:
    def run(seed: int) -> Tensor:
        torch.manual_seed(seed)
        paste = RandomPatch(p=0.5, min_pool=2)
        return torch.stack([paste(image(value)) for value in range(30)])

    assert run(3).equal(run(3))
    assert not run(3).equal(run(4))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 100), (100, 1), (3, 2)])
def test_images_of_any_size_may_follow_each_other(height: int, width: int) -> None:
    paste = RandomPatch(p=1.0, min_pool=1)
    for _ in range(30):
        for source in (image(1), image(2, height, width), image(3, 64, 8)):
            assert paste(source).shape == source.shape


def test_it_can_be_sent_to_a_worker_with_its_pool() -> None:
    paste = RandomPatch(p=1.0, min_pool=1)
    paste(image(7))
    copy = pickle.loads(pickle.dumps(paste))
    assert copy.pool[0].equal(paste.pool[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p": 1.5}, "expects p from 0 to 1, got 1.5"),
        ({"p": float("nan")}, "expects p from 0 to 1, got nan"),
        ({"pool_size": 0}, "expects pool_size above 0, got 0"),
        ({"min_pool": 0}, "expects min_pool above 0, got 0"),
        ({"pool_size": 50}, "expects min_pool up to pool_size, got 100 and 50"),
        ({"area": (0.0, 0.5)}, r"expects area .* got \(0.0, 0.5\)"),
        ({"area": (0.5, 0.1)}, r"expects area .* got \(0.5, 0.1\)"),
        ({"area": (0.1, 1.1)}, r"expects area .* got \(0.1, 1.1\)"),
        ({"ratio": (0.0, 1.0)}, r"expects ratio .* got \(0.0, 1.0\)"),
        ({"ratio": (2.0, 1.0)}, r"expects ratio .* got \(2.0, 1.0\)"),
    ],
)
def test_settings_out_of_range(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"RandomPatch {message}"):
        RandomPatch(**settings)  # type: ignore[arg-type]


def test_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"RandomPatch expects image \(C, H, W\), got \(2, 3, 8"):
        RandomPatch()(torch.zeros(2, 3, 8, 4))


def test_it_says_how_it_is_set() -> None:
    assert "p=0.3, pool_size=1000, min_pool=100" in repr(RandomPatch(0.3))
