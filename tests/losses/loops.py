"""The losses over pairs by loops, written from the paper's equations."""

import torch


def naive_circle(embeddings, labels, margin=0.35, gamma=64.0, others=None, other_labels=None):
    """Eq. 5 of each anchor, and whether it has both kinds of pair; α is taken as a constant."""
    one_set = others is None
    others, other_labels = (embeddings, labels) if one_set else (others, other_labels)
    losses, counted = [], []
    for i, x in enumerate(embeddings):
        positives, negatives = [], []
        for j, y in enumerate(others):
            if one_set and i == j:
                continue
            zero = not x.any() or not y.any()
            s = 0 * (x.sum() + y.sum()) if zero else (x / x.norm()) @ (y / y.norm())
            if labels[i] == other_labels[j]:
                alpha = max(1 + margin - s.item(), 0)
                positives.append(-gamma * alpha * (s - (1 - margin)))
            else:
                alpha = max(s.item() + margin, 0)
                negatives.append(gamma * alpha * (s - margin))
        counted.append(bool(positives and negatives))
        if counted[-1]:
            product = torch.stack(positives).logsumexp(0) + torch.stack(negatives).logsumexp(0)
            losses.append(torch.logaddexp(product, torch.zeros_like(product)))
        else:
            losses.append(0 * x.sum())
    return torch.stack(losses), counted


def naive_triplet(
    embeddings, labels, margin=0.3, distance="euclidean", others=None, other_labels=None
):
    """Eq. 6 of each anchor, and whether it has both kinds of pair."""
    one_set = others is None
    others, other_labels = (embeddings, labels) if one_set else (others, other_labels)
    losses, counted = [], []
    for i, x in enumerate(embeddings):
        positives, negatives = [], []
        for j, y in enumerate(others):
            if one_set and i == j:
                continue
            if distance == "euclidean":
                apart = (x - y).norm()
            elif x.any() and y.any():
                apart = 1 - (x / x.norm()) @ (y / y.norm())
            else:
                apart = 1 + 0 * (x.sum() + y.sum())
            (positives if labels[i] == other_labels[j] else negatives).append(apart)
        counted.append(bool(positives and negatives))
        loss = 0 * x.sum()
        if counted[-1]:
            gap = torch.stack(positives).max() - torch.stack(negatives).min()
            loss = gap.logaddexp(0 * gap) if margin is None else (margin + gap).clamp_min(0)
        losses.append(loss)
    return torch.stack(losses), counted
