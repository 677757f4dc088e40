"""Circle loss of all pairs, some rows of them at a time."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from reidblocks.losses._directions import Directions, DirectionsGradient
from reidblocks.losses._row_blocks import row_slices
from reidblocks.losses.pairs import pair_masks


class CirclePairs(NamedTuple):
    """The pairs of some anchors (rows); one that is neither positive nor negative means nothing."""

    positives: Tensor
    negatives: Tensor
    logits: Tensor  # of the one sum of Eq. 5 in which the pair stands
    weights: Tensor  # γ α, the size of the logit's slope

    @classmethod
    def of(
        cls, similarities: Tensor, masks: tuple[Tensor, Tensor], margin: float, gamma: float
    ) -> "CirclePairs":
        excess = torch.where(masks[0], 1 - similarities, similarities)
        weights = (excess + margin).clamp_min_(0).mul_(gamma)
        return cls(*masks, excess.sub_(margin).mul_(weights), weights)

    def log_sums(self, after: int | None = None) -> list[Tensor]:
        """Give log Σ exp of each anchor's positives and negatives, (2, rows); low where none.

        And, if asked for, of the columns ``after`` so many, (2, columns − after).
        """
        others = torch.stack((self.positives, self.negatives)).logical_not_()
        logits = self.logits.masked_fill(others, _low(self.logits))
        if after is None:
            return [_log_sum(logits, 2)]
        return [_log_sum(logits, 2), _log_sum(logits[:, :, after:], 1)]

    def shares(self, levels: Tensor) -> Tensor:
        """Give each pair's exp(logit − level of its side)."""
        positive, negative = levels
        return self.logits.sub(torch.where(self.positives, positive, negative)).exp_()

    def slopes(self, shares: Tensor) -> Tensor:
        """Give the derivative by each similarity, which is below 0 for a positive."""
        slopes = shares.mul_(self.weights)
        return torch.where(self.positives, -slopes, slopes)


def circle_of_sums(log_sums: Tensor) -> tuple[Tensor, Tensor]:
    """Give from (2, B) log sums each anchor's loss, and which anchors count."""
    product = log_sums.sum(0)
    return F.softplus(product, threshold=50), product > _low(product) / 2


def levels_of(log_sums: Tensor) -> Tensor:
    """Give from (2, B) log sums the levels of `CirclePairs.shares`, so that they give slopes."""
    return log_sums - F.logsigmoid(log_sums.sum(0))


class CircleRows(torch.autograd.Function):
    """Mean (or sum) over anchors of circle loss, a block of anchors at a time.

    The gradient is found on the way forward. Within one set, a pair's logit is the same for both
    its ends: only pairs right of the diagonal are computed, once for the sums of both ends and,
    when these are complete, once more for both slopes. That takes two thirds of the products of
    going through all pairs once.
    """

    @staticmethod
    def forward(
        ctx: Any,
        embeddings: Tensor,
        labels: Tensor,
        others: Tensor | None,
        other_labels: Tensor | None,
        margin: float,
        gamma: float,
        mean: bool,
    ) -> Tensor:
        run = _Run(embeddings, labels, others, other_labels, margin, gamma)
        blocks = row_slices(embeddings, run.size[1])
        with_gradient = any(ctx.needs_input_grad)
        complete = others is not None or len(blocks) == 1  # a block alone has its sums' all pairs
        for rows in blocks:
            pairs = run.pairs(rows)
            run.add_sums(rows, pairs)
            if with_gradient and complete:
                run.add_slopes(rows, pairs)
        if with_gradient and not complete:
            for rows in blocks:
                run.add_slopes(rows, run.pairs(rows))
        losses, counted = circle_of_sums(run.log_sums)
        count = counted.sum().clamp_min(1) if mean else counted.new_ones((), dtype=torch.int64)
        if with_gradient:
            ctx.save_for_backward(*(side.of_vectors(count) for side in run.gradients))
        return losses.sum() / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        by_left, *by_right = ctx.saved_tensors
        by_others = by_right[0] * gradient if by_right else None
        return by_left * gradient, None, by_others, None, None, None, None


class _Run:
    """One pass over all pairs: where the sums and the gradient gather."""

    def __init__(
        self,
        embeddings: Tensor,
        labels: Tensor,
        others: Tensor | None,
        other_labels: Tensor | None,
        margin: float,
        gamma: float,
    ) -> None:
        self.labels, self.other_labels = labels, other_labels
        self.margin, self.gamma = margin, gamma
        self.one_set = others is None
        self.left = self.right = Directions.of(embeddings)
        self.gradients = [DirectionsGradient(self.left)]
        if others is not None:
            self.right = Directions.of(others, self.left.centre)
            self.gradients.append(DirectionsGradient(self.right))
        self.size = (self.left.offsets.shape[0], self.right.offsets.shape[0])
        self.log_sums = self.left.shift.new_full((2, self.size[0]), _low(embeddings))

    def pairs(self, rows: slice) -> CirclePairs:
        """Give the pairs of these rows: with all columns, or within one set from them on."""
        if self.one_set:
            masks = pair_masks(self.labels[rows.start :], rows=slice(0, rows.stop - rows.start))
        else:
            masks = pair_masks(self.labels, self.other_labels, rows=rows)
        cosines = self.left.rows(rows).cosines(self.right.rows(self._columns(rows)))
        return CirclePairs.of(cosines, masks, self.margin, self.gamma)

    def add_sums(self, rows: slice, pairs: CirclePairs) -> None:
        if not self.one_set or rows.stop == self.size[0]:
            self._add_sums(rows, *pairs.log_sums())
        else:
            of_rows, of_columns = pairs.log_sums(after=rows.stop - rows.start)
            self._add_sums(rows, of_rows)
            self._add_sums(slice(rows.stop, None), of_columns)

    def _add_sums(self, rows: slice, more: Tensor) -> None:
        self.log_sums[:, rows] = torch.logaddexp(self.log_sums[:, rows], more)

    def add_slopes(self, rows: slice, pairs: CirclePairs) -> None:
        height, columns = rows.stop - rows.start, self._columns(rows)
        levels = levels_of(self.log_sums[:, columns if self.one_set else rows])
        shares = pairs.shares(levels[:, :height].unsqueeze(2))
        if self.one_set:  # what a pair is to its other end
            shares += pairs.shares(levels.unsqueeze(1))
            shares.diagonal().fill_(0)
        slopes = pairs.slopes(shares)
        self.gradients[0].add(rows, slopes, self.right.rows(columns))
        if not self.one_set:
            self.gradients[1].add(columns, slopes.T, self.left.rows(rows))
        elif rows.stop < self.size[0]:
            after = slice(rows.stop, None)
            self.gradients[0].add(after, slopes[:, height:].T, self.left.rows(rows))

    def _columns(self, rows: slice) -> slice:
        return slice(rows.start if self.one_set else 0, None)


def _log_sum(logits: Tensor, dim: int) -> Tensor:
    # the largest logit and its share give log Σ exp; exp itself is slow where it underflows
    return logits.amax(dim) - logits.softmax(dim).amax(dim).log()


def _low(like: Tensor) -> float:
    return torch.finfo(like.dtype).min
