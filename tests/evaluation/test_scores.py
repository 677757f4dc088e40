import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidblocks.evaluation.scores import Scorer


def features(kind, num, size):
    noise = torch.randn(num, size)
    signs = torch.ones(size)
    signs[size // 2 :] = -1
    return {
        "normal": noise,
        "non-negative": noise.relu() + 1e-3,
        "one cluster": 1000 + noise,
        "spots": 100 * torch.randn(5, size)[torch.arange(num) % 5] + 0.01 * noise,
        "canceling": torch.ones(size) * signs ** (torch.arange(num) % 2)[:, None] + 0.1 * noise,
        "canceling to nothing": signs ** (torch.arange(num) % 2)[:, None] * (1 + noise / 1000),
        "of all lengths": noise * 10 ** torch.linspace(-9, 9, num)[:, None],
        "tiny": noise * 1e-25,
        "huge": noise * 1e25,
    }[kind]


KINDS = ["normal", "non-negative", "one cluster", "spots", "canceling", "canceling to nothing"]


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("kind", [*KINDS, "of all lengths", "tiny", "huge"])
@given(size=st.sampled_from([1, 2, 8, 64, 512, 2048]), seed=st.integers(0, 1000))
def test_float32_never_reverses_an_order_by_more_than_its_margin(kind, distance, size, seed):
    torch.manual_seed(seed)
    query, gallery = features(kind, 7, size), features(kind, 40, size)
    scorer = Scorer("test", query, gallery, distance)
    rows, columns = torch.arange(7), torch.arange(40)
    scores = scorer.block(rows, torch.empty(7, 40))
    every_row, every_column = rows.repeat_interleave(40), columns.repeat(7)
    exact = scorer.exact(every_row, every_column).view(7, 40)
    for i in range(7):
        sure = scores[i][:, None] > scores[i][None, :] + scorer.margin
        assert not (sure & (exact[i][:, None] < exact[i][None, :])).any()


@given(seed=st.integers(0, 1000), size=st.integers(1, 70))
def test_an_exact_score_does_not_depend_on_its_place(seed, size):
    torch.manual_seed(seed)
    gallery = torch.randn(3, size).repeat(37, 1)
    query = torch.randn(2, size)
    for distance in ("cosine", "euclidean"):
        scorer = Scorer("test", query, gallery, distance)
        scores = scorer.exact(torch.ones(111).long(), torch.arange(111)).view(37, 3)
        assert (scores == scores[0]).all()
        alone = scorer.exact(torch.tensor([1]), torch.tensor([4]))
        assert float(alone) == float(scores[0, 1])


def test_the_gallery_is_not_copied_unless_it_must_be():
    gallery = torch.randn(50, 8)
    assert Scorer("test", gallery[:3], gallery, "cosine").fast is gallery
    assert Scorer("test", gallery[:3], gallery, "euclidean").fast is gallery
    assert Scorer("test", gallery[:3], gallery + 100, "euclidean").fast is not gallery
