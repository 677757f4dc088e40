import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidblocks.visualization import embedding_map
from reidblocks.visualization._principal import principal_plane
from reidblocks.visualization.embedding import BOX_HEIGHT, BOX_WIDTH


@given(rows=st.integers(3, 12), columns=st.integers(2, 12), seed=st.integers(0, 99))
def test_plane_is_that_of_the_whole_decomposition(rows, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    strengths = torch.tensor([8.0, 4.0, *[1.0] * 10])[:columns]
    embeddings = torch.randn(rows, columns, generator=generator) * strengths + 5
    points, shares = principal_plane(embeddings)
    centered = (embeddings - embeddings.mean(0)).double()
    left, values, _ = torch.linalg.svd(centered, full_matrices=False)
    assert torch.allclose(shares, (values**2 / (values**2).sum())[:2], atol=1e-5)
    expected = (left * values)[:, :2]
    flips = (points * expected).sum(0).sign()
    assert torch.allclose(points, expected * flips, atol=1e-3)


@pytest.mark.parametrize("scale", [1e-20, 1, 1e20])
def test_plane_keeps_its_scale(scale):
    embeddings = torch.randn(9, 5) * torch.tensor([5.0, 3, 1, 1, 1])
    points, _ = principal_plane(embeddings)
    scaled, _ = principal_plane(embeddings.double() * scale)
    assert torch.allclose(scaled / scale, points, atol=1e-4)


def test_plane_is_the_same_each_time_and_leaves_the_random_numbers():
    embeddings = torch.randn(30, 16)
    state = torch.get_rng_state()
    first, second = principal_plane(embeddings), principal_plane(embeddings)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("shape", [(2, 1), (4, 1), (2, 9)])
def test_missing_directions_are_zero(shape):
    points, shares = principal_plane(torch.randn(shape))
    assert points.shape == (shape[0], 2)
    assert shares.tolist() == pytest.approx([1, 0], abs=1e-9)
    assert points[:, 1].abs().max() < 1e-6


def test_equal_embeddings_lie_on_one_point():
    points, shares = principal_plane(torch.ones(4, 8))
    assert not points.any()
    assert not shares.any()


def test_plane_refuses_what_it_cannot_project():
    with pytest.raises(ValueError, match=r"embedding_map expects embeddings \(B, D\), got"):
        embedding_map(torch.rand(4))
    for embeddings in (torch.rand(1, 4), torch.full((3, 2), torch.nan)):
        with pytest.raises(
            ValueError, match="embedding_map expects at least two finite embeddings"
        ):
            embedding_map(embeddings)


def clusters(people=12, images=10):
    labels = torch.arange(people).repeat_interleave(images)
    return 5 * torch.randn(people, 32)[labels] + torch.randn(len(labels), 32), labels


def dots(figure):
    return sum(len(drawn.get_offsets()) for drawn in figure.axes[0].collections)


def test_points_and_legend_without_images(unreadable, texts):
    embeddings, labels = clusters()
    figure = embedding_map(embeddings, labels, title="Twelve people")
    assert dots(figure) == 120 + 12  # and the legend
    assert [text for text in texts(figure) if text.isdigit()] == [str(n) for n in range(12)]
    assert any("of the variance" in text for text in texts(figure))
    assert unreadable(figure) == []


def test_neighboring_labels_differ_in_color_and_shape():
    figure = embedding_map(*clusters(6))
    legend = figure.axes[0].collections[-6:]
    assert len({tuple(drawn.get_facecolor()[0]) for drawn in legend}) == 6
    assert len({drawn.get_paths()[0].vertices.tobytes() for drawn in legend}) == 6


@pytest.mark.parametrize("people", [3, 50])
def test_thumbnails_never_touch(person, unreadable, people):
    embeddings, labels = clusters(people)
    images = [person(int(label)) for label in labels]
    figure = embedding_map(embeddings, [f"identity {label}" for label in labels], images)
    boxes = [image.get_extent() for image in figure.axes[0].images]
    assert 3 <= len(boxes) <= 150
    middles = [((left + right) / 2, (top + bottom) / 2) for left, right, bottom, top in boxes]
    for n, (x, y) in enumerate(middles):
        for other_x, other_y in middles[n + 1 :]:
            apart = abs(x - other_x) > BOX_WIDTH - 1e-6 or abs(y - other_y) > BOX_HEIGHT - 1e-6
            assert apart
    assert unreadable(figure) == []


def test_dots_under_thumbnails_are_not_drawn_and_others_are(person):
    points = torch.tensor([[0.0, 0], [0, 0.001], [1, 1]])
    figure = embedding_map(points, images=[person(n) for n in range(3)])
    assert len(figure.axes[0].images) == 2
    assert dots(figure) == 0
    assert dots(embedding_map(points)) == 3


def test_points_of_ones_own_are_kept_as_they_are():
    points = torch.tensor([[0.0, 0], [4, 0], [0, 2]])
    figure = embedding_map(points)
    drawn = torch.tensor(figure.axes[0].collections[0].get_offsets())
    across, down = (drawn[1] - drawn[0]).tolist(), (drawn[2] - drawn[0]).tolist()
    assert across[0] == pytest.approx(-2 * down[1])  # one scale, and y points up
    assert across[1] == pytest.approx(0)


def test_many_labels_and_large_sets_say_so(texts):
    figure = embedding_map(torch.randn(5001, 4), range(5001))
    shown = texts(figure)
    assert "The first 5,000 of 5,001 embeddings." in shown
    assert "5,000 labels: colors and shapes repeat." in shown
    assert dots(figure) == 5000


def test_equal_points_are_drawn(unreadable):
    assert unreadable(embedding_map(torch.ones(3, 4), ["a", "b", "c"])) == []


def test_inputs_are_unchanged(person):
    embeddings, images = torch.rand(4, 3, requires_grad=True), torch.rand(4, 3, 8, 4)
    kept = embeddings.detach().clone(), images.clone()
    embedding_map(embeddings, images=images)
    assert torch.equal(embeddings, kept[0])
    assert torch.equal(images, kept[1])


def test_other_lengths_are_refused(person):
    with pytest.raises(ValueError, match="expects 4 labels, one per embedding, got 3"):
        embedding_map(torch.rand(4, 3), [1, 2, 3])
    with pytest.raises(ValueError, match="expects 4 images, one per embedding, got 1"):
        embedding_map(torch.rand(4, 3), images=[person(1)])
    with pytest.raises(ValueError, match=r"embedding_map expects embeddings \(B, D\)"):
        embedding_map(torch.rand(4))
