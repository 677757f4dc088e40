import pytest
import torch

from reidblocks.visualization import batch_sheet


@pytest.mark.parametrize("columns", [1, 3, 8])
def test_every_image_has_its_label_and_nothing_overlaps(person, unreadable, texts, columns):
    images = [person(n) for n in range(7)]
    figure = batch_sheet(images, [f"identity-{n}-of-the-north" for n in range(7)], columns)
    assert len(figure.axes[0].images) == 7
    assert len(texts(figure)) == 7
    assert unreadable(figure) == []


def test_images_stand_in_order_row_by_row(texts):
    figure = batch_sheet(torch.rand(4, 3, 8, 4), torch.tensor([5, 5, 9, 9]), 2, title="A batch")
    assert texts(figure) == ["A batch", "5", "5", "9", "9"]
    corners = [image.get_extent()[::3] for image in figure.axes[0].images]  # left, top
    lefts, tops = zip(*corners, strict=True)
    assert lefts[0] == lefts[2] < lefts[1] == lefts[3]
    assert tops[0] == tops[1] < tops[2] == tops[3]


def test_large_batches_are_cut_and_say_so(texts):
    figure = batch_sheet(torch.rand(300, 3, 8, 4), range(300), 32)
    assert len(figure.axes[0].images) == 256
    assert "The first 256 of 300 images." in texts(figure)


def test_inputs_are_unchanged():
    images, labels = torch.rand(2, 3, 8, 4), torch.tensor([1, 2])
    kept = images.clone()
    batch_sheet(images, labels)
    assert torch.equal(images, kept)
    assert labels.tolist() == [1, 2]


def test_normalized_images_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"undo its normalization first"):
        batch_sheet(torch.randn(2, 3, 16, 8), [0, 1])


@pytest.mark.parametrize(("images", "labels"), [(0, 0), (2, 3)])
def test_other_lengths_are_refused(images, labels):
    message = f"a label for each, got {images} images and {labels} labels"
    with pytest.raises(ValueError, match=message):
        batch_sheet(torch.rand(images, 3, 8, 4), range(labels))


@pytest.mark.parametrize("columns", [0, 33])
def test_other_columns_are_refused(columns):
    with pytest.raises(ValueError, match=f"columns from 1 to 32, got {columns}"):
        batch_sheet(torch.rand(1, 3, 8, 4), [0], columns)
