"""Clusters of unlabeled images by the Jaccard distance of their reciprocal neighbors."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from reidblocks._checks import expect_floats, expect_number, expect_shape, expect_whole
from reidblocks.evaluation.blocks import full_precision
from reidblocks.evaluation.features import Features
from reidblocks.evaluation.reranking import KReciprocal, RerankedScorer
from reidblocks.evaluation.scores import Distance, Scorer


@full_precision()
def dbscan_clusters(
    embeddings: Tensor,
    *,
    eps: float = 0.5,
    min_samples: int = 4,
    k1: int = 30,
    k2: int = 6,
    distance: Distance = "cosine",
) -> Tensor:
    """Return a cluster number for each image by DBSCAN, −1 for images that are in no cluster.

    The distance is the Jaccard distance of `KReciprocal`, from 0 to 1, without the original
    distance mixed in. Only pairs that share a neighbor are held, never a matrix. Clusters are
    numbered from 0 in the order of their first images. Needs scikit-learn (extra ``clustering``).

    Args:
        embeddings: of the images, of any floating-point type.
        eps: maximum distance of two neighbors, above 0 and below 1.
        min_samples: how many images, itself included, an image needs within ``eps`` for a cluster
            to grow from it.
        k1, k2: as in `KReciprocal`.
        distance: "cosine" or "euclidean", by which the neighborhoods are found.

    Shape:
        (N, D) → (N,) int64, on the CPU

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: eps is not between 0 and 1; a count is below 1; there is no image; NaN,
            infinity or (cosine) a zero vector.
        TypeError: embeddings are no floating-point tensor, or a setting is not a number.

    Source: Ester et al., KDD 1996; for ReID: Ge et al., arXiv 2006.02713 (SpCL).
    """
    caller = "dbscan_clusters"
    sklearn = _scikit_learn(caller)
    expect_number(caller, eps=eps)
    if not 0 < eps < 1:
        raise ValueError(
            f"{caller} expects eps above 0 and below 1, the distance of images that share no "
            f"neighbor, got {eps}"
        )
    min_samples = expect_whole(caller, "min_samples", min_samples)
    alike = _similarities(caller, embeddings, KReciprocal(k1, k2, 0.0), distance)
    alike.data = np.maximum(1 - alike.data, 0)  # now distances; a 0 stays an entry
    near = sklearn.neighbors.sort_graph_by_row_values(alike, warn_when_not_sorted=False)
    found = sklearn.cluster.DBSCAN(eps=float(eps), min_samples=min_samples, metric="precomputed")
    return _numbered(found.fit(near).labels_)


@full_precision()
def agglomerative_clusters(
    embeddings: Tensor,
    *,
    distance_threshold: float | None = None,
    num_clusters: int | None = None,
    k1: int = 30,
    k2: int = 6,
    distance: Distance = "cosine",
) -> Tensor:
    """Return a cluster number for each image, by agglomerative clustering (average linkage).

    The distance is as in `dbscan_clusters`, of two clusters the mean over all their pairs. Every
    image is in a cluster; clusters are numbered from 0 in the order of their first images. An N×N
    matrix is held in float64: 20,000 images take 3 GB. Needs scikit-learn (extra ``clustering``).

    Args:
        embeddings: of the images, of any floating-point type.
        distance_threshold: clusters that are so far apart, or farther, do not join.
        num_clusters: how many to leave, in its place.
        k1, k2: as in `KReciprocal`.
        distance: "cosine" or "euclidean", by which the neighborhoods are found.

    Shape:
        (N, D) → (N,) int64, on the CPU

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: both or neither of distance_threshold and num_clusters are given; there are
            fewer images than clusters; otherwise as ``dbscan_clusters``.
        TypeError: as ``dbscan_clusters``.
    """
    caller = "agglomerative_clusters"
    sklearn = _scikit_learn(caller)
    if (distance_threshold is None) == (num_clusters is None):
        raise ValueError(
            f"{caller} expects one of distance_threshold and num_clusters, got "
            f"{'neither' if num_clusters is None else 'both'}"
        )
    if distance_threshold is not None:
        expect_number(caller, distance_threshold=distance_threshold)
        if not 0 <= distance_threshold < torch.inf:
            raise ValueError(
                f"{caller} expects a finite distance_threshold from 0 on, got {distance_threshold}"
            )
    if num_clusters is not None:
        num_clusters = expect_whole(caller, "num_clusters", num_clusters)
    alike = _similarities(caller, embeddings, KReciprocal(k1, k2, 0.0), distance)
    number = alike.shape[0]
    if num_clusters is not None and num_clusters > number:
        raise ValueError(
            f"{caller} expects at most {number} clusters of as many images, got {num_clusters}"
        )
    if number == 1:
        return torch.zeros(1, dtype=torch.long, device="cpu")
    away = np.maximum(1 - alike.toarray(), 0)
    np.fill_diagonal(away, 0)
    found = sklearn.cluster.AgglomerativeClustering(
        n_clusters=num_clusters,
        distance_threshold=None if distance_threshold is None else float(distance_threshold),
        metric="precomputed",
        linkage="average",
    )
    return _numbered(found.fit(away).labels_)


def _scikit_learn(caller: str) -> Any:
    try:
        import sklearn.cluster
        import sklearn.neighbors
    except ImportError as error:
        raise ImportError(
            f"{caller} needs scikit-learn: pip install 'reidblocks[clustering]'"
        ) from error
    return sklearn


def _similarities(caller: str, embeddings: Tensor, how: KReciprocal, distance: Distance) -> Any:
    """A sparse matrix (N, N) of 1 − the Jaccard distance, the same in both directions."""
    import scipy.sparse  # scikit-learn brings it

    if isinstance(embeddings, Features):
        raise TypeError(
            f"{caller} expects embeddings as a tensor, got Features; give features.values"
        )
    expect_shape(caller, "embeddings", embeddings, "N D")
    expect_floats(caller, "embeddings", embeddings)
    side = Features(embeddings.detach(), torch.zeros_like(embeddings[:, :0].sum(1)).long())
    base = Scorer(caller, side.values, side.values, distance)
    overlap = RerankedScorer(side, side, base, how).overlap
    row, column, value = (
        part.cpu().numpy() for part in (overlap.row, overlap.column, overlap.value)
    )
    matrix = scipy.sparse.csr_matrix((value, (row, column)), shape=(len(side), len(side)))
    return matrix.maximum(matrix.T).tocsr()


def _numbered(labels: "np.ndarray[Any, Any]") -> Tensor:
    """Cluster numbers in the order of their first images; −1 stays."""
    found = torch.from_numpy(labels.astype(np.int64))
    numbers: dict[int, int] = {-1: -1}
    for label in found.tolist():
        numbers.setdefault(label, len(numbers) - 1)
    return torch.tensor([numbers[label] for label in found.tolist()], device="cpu")
