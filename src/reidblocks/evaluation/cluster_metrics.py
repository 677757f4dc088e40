"""How well clusters agree with identities: B-cubed and pairwise precision, recall and F."""

from typing import NamedTuple

import torch
from torch import Tensor

from reidblocks.evaluation.labels import as_labels


class ClusterEvaluation(NamedTuple):
    r"""Agreement of clusters with identities, as fractions between 0 and 1.

    B-cubed precision is the mean over images of the fraction of its cluster that is of its
    identity; recall that of the fraction of its identity that is in its cluster. Pairwise
    precision is the fraction of pairs in one cluster that are of one identity; recall the
    fraction of pairs of one identity that are in one cluster. Where there is no such pair, none
    is wrong, and it is 1. F is the harmonic mean of precision and recall.

    Source: Bagga and Baldwin, ACL 1998; compared in Amigó et al., Information Retrieval 2009.
    """

    bcubed_precision: float
    bcubed_recall: float
    bcubed_f: float
    pairwise_precision: float
    pairwise_recall: float
    pairwise_f: float
    num_clusters: int
    num_identities: int


def evaluate_clusters(clusters: Tensor, ids: Tensor) -> ClusterEvaluation:
    """Compare clusters with identities.

    Args:
        clusters: number of each image's cluster; one that is in none (−1) is one by itself.
        ids: identities; images of unknown people (−1) are omitted.

    Shape:
        clusters, ids (N,)

    Raises:
        ValueError: there is no image of a known identity; the shapes differ.
        TypeError: clusters or identities are not integers.

    >>> found = evaluate_clusters(torch.tensor([0, 0, 0, 1]), torch.tensor([5, 5, 6, 6]))
    >>> round(found.bcubed_precision, 3), found.bcubed_recall, found.pairwise_precision
    (0.667, 0.75, 0.3333333333333333)
    """
    number = len(ids) if hasattr(ids, "__len__") else 1
    people = as_labels("evaluate_clusters", "ids", ids, number).cpu()
    groups = as_labels("evaluate_clusters", "clusters", clusters, number).cpu()
    groups = torch.where(groups == -1, -2 - torch.arange(number, device="cpu"), groups)
    people, groups = people[people != -1], groups[people != -1]
    if not len(people):
        raise ValueError("evaluate_clusters expects an image of a known identity, got none")
    in_cluster, of_person = _sizes(groups), _sizes(people)
    _, both = torch.unique(torch.stack([groups, people], 1), dim=0, return_inverse=True)
    together = _sizes(both)
    pairs = [int((sizes - 1).sum()) for sizes in (together, in_cluster, of_person)]
    bcubed = [float((together / sizes).mean()) for sizes in (in_cluster, of_person)]
    pairwise = [pairs[0] / number if number else 1.0 for number in pairs[1:]]
    return ClusterEvaluation(
        bcubed[0],
        bcubed[1],
        _harmonic(*bcubed),
        pairwise[0],
        pairwise[1],
        _harmonic(*pairwise),
        num_clusters=len(torch.unique(groups)),
        num_identities=len(torch.unique(people)),
    )


def _sizes(labels: Tensor) -> Tensor:
    """How many images have each image's label (N,)."""
    _, place, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    sizes: Tensor = counts[place]
    return sizes.double()


def _harmonic(precision: float, recall: float) -> float:
    both = precision + recall
    return 2 * precision * recall / both if both else 0.0
