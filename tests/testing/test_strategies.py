"""The strategies draw what they say, all of the kinds they name, and honor the sizes asked for."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reidblocks.testing import attention_maps, embeddings_and_labels, feature_maps


@given(feature_maps())
def test_feature_maps_are_maps(maps: Tensor) -> None:
    assert maps.dim() == 4
    assert maps.dtype == torch.float32
    assert maps.isfinite().all()


@given(feature_maps(st.just(2), st.just(3), st.just(5), st.just(7)))
def test_feature_maps_have_the_sizes_asked_for(maps: Tensor) -> None:
    assert maps.shape == (2, 3, 5, 7)


def test_feature_maps_are_of_every_kind() -> None:
    seen: set[str] = set()

    @settings(max_examples=300)
    @given(feature_maps())
    def collect(maps: Tensor) -> None:
        seen.add("zeros" if not maps.any() else "others")
        seen.add("odd" if maps.shape[2] % 2 else "even")
        seen.add("alone" if len(maps) == 1 else "many")
        seen.add("negative" if (maps < 0).any() else "not negative")
        seen.add("large" if maps.abs().max() > 100 else "small")

    collect()
    assert seen == {
        *("zeros", "others", "odd", "even", "alone", "many"),
        *("negative", "not negative", "large", "small"),
    }


@given(attention_maps())
def test_attention_maps_share_each_place(maps: Tensor) -> None:
    assert maps.dim() == 4
    assert (maps >= 0).all()
    assert (maps.sum(1) <= 1 + 1e-5).all()


@given(attention_maps(st.just(2), st.just(3), st.just(5), st.just(7)))
def test_attention_maps_have_the_sizes_asked_for(maps: Tensor) -> None:
    assert maps.shape == (2, 3, 5, 7)


@given(embeddings_and_labels())
def test_every_embedding_has_a_label(batch: tuple[Tensor, Tensor]) -> None:
    embeddings, labels = batch
    assert labels.shape == embeddings.shape[:1]
    assert labels.dtype == torch.int64
    assert embeddings.dim() == 2
    assert embeddings.isfinite().all()


@given(embeddings_and_labels(st.just(6), st.just(3), st.just(7)))
def test_embeddings_have_the_sizes_asked_for(batch: tuple[Tensor, Tensor]) -> None:
    embeddings, labels = batch
    assert embeddings.shape == (6, 3)
    assert labels.tolist() == [7] * 6


def test_embeddings_are_degenerate_in_every_way() -> None:
    seen: set[str] = set()

    @settings(max_examples=300)
    @given(embeddings_and_labels())
    def collect(batch: tuple[Tensor, Tensor]) -> None:
        embeddings, labels = batch
        size = embeddings.abs().max()
        seen.add("huge" if size > 1e18 else "tiny" if 0 < size < 1e-18 else "ordinary")
        if len(embeddings) > 1:
            seen.add("one identity" if len(set(labels.tolist())) == 1 else "several")
            seen.add("alike" if (embeddings == embeddings[0]).all() else "apart")
            seen.add("with zero" if (embeddings == 0).all(1).any() else "without")
            seen.add("far" if embeddings.min() > 900 else "near")
        else:
            seen.add("alone")

    collect()
    assert seen == {
        *("huge", "tiny", "ordinary", "one identity", "several", "alike", "apart"),
        *("with zero", "without", "far", "near", "alone"),
    }
