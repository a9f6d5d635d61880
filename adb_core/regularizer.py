"""The cross-attention map regularizer of AttnDreamBooth: pure functions, nothing remembered.

For layer l and sample b, with attention probabilities A (heads, pixels, tokens):

    mu_V    = mean of A[:, :, V] over heads and pixels      var_V    = unbiased variance of the same
    mu_cat  = mean of A[:, :, category]                     var_cat  = unbiased variance
    L_reg   = (1/L) sum_l sum_b [ lambda_mu (mu_V - mu_cat)^2 + lambda_sigma (var_V - var_cat)^2 ]

(Pang et al., "AttnDreamBooth", NeurIPS 2024, arXiv 2406.05000, section 3.2.) Gradient flows
through both sides. Because it SUMS over the batch, halving the batch halves the regularizer;
``reduction="mean"`` makes it independent of the batch.

Axes: L layers, b batch, h heads, q query pixels, n tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Statistics(NamedTuple):
    """Mean and unbiased variance of a token's map, float32, (b,) a layer, (L, b) of several.

    Of n tokens at once they have one more axis, the last; :meth:`of` picks one of them.
    """

    mean: Tensor
    var: Tensor

    def of(self, token: int) -> Statistics:
        """The statistics of one token of several."""
        return Statistics(self.mean[..., token], self.var[..., token])


def map_statistics(attention: Tensor) -> Statistics:
    """Statistics of the map of one token, or of several, in one layer.

    Args:
        attention: (b, h, q) probabilities of the token, or (b, h, q, n) of n, any float type.

    Returns:
        float32 mean and unbiased variance over heads and pixels, (b,) or (b, n) each.

    Raises:
        ValueError: another number of axes, or one number a sample (its variance is undefined).
    """
    if attention.ndim not in (3, 4):
        raise ValueError(
            "attention must be (batch, heads, pixels), or that and tokens, "
            f"got shape {tuple(attention.shape)}"
        )
    flat = attention.float().flatten(1, 2)  # (b, h*q) or (b, h*q, n)
    if flat.shape[1] < 2:
        raise ValueError("the variance of a map needs at least two numbers: heads x pixels is 1")
    var, mean = torch.var_mean(flat, dim=1, correction=1)
    return Statistics(mean, var)


def stack_statistics(maps: Iterable[Tensor]) -> Statistics:
    """Statistics of the same token(s) in several layers: (b, h, q[, n]) each -> (L, b[, n])."""
    each = [map_statistics(m) for m in maps]
    if not each:
        raise ValueError("no attention layer was captured: there is nothing to regularize")
    return Statistics(torch.stack([s.mean for s in each]), torch.stack([s.var for s in each]))


def mean_statistics(tokens: Sequence[Statistics]) -> Statistics:
    """One mean and one variance of several tokens: the means of theirs, (L, b) each.

    For a category of several pieces this is the mean of the pieces' statistics, not the statistics
    of their mean map: averaging maps smooths them, and the variance of the mean of two or four
    pieces was 0.48 and 0.22 of the mean of their variances, so [V] would have been asked to be
    flatter than any piece. The authors take the first piece alone.

    Raises:
        ValueError: no token.
    """
    if not tokens:
        raise ValueError("no token: there is nothing to take the mean of")
    if len(tokens) == 1:
        return tokens[0]
    return Statistics(
        torch.stack([each.mean for each in tokens]).mean(0),
        torch.stack([each.var for each in tokens]).mean(0),
    )


class Penalty(NamedTuple):
    """The regularizer and its two weighted parts, scalars: ``total = mean_part + var_part``."""

    total: Tensor
    mean_part: Tensor
    var_part: Tensor


def regularizer(
    v: Statistics,
    category: Statistics,
    lambda_mu: float,
    lambda_sigma: float,
    reduction: str = "sum",
) -> Penalty:
    """How far the map of [V] is from the category's (paper eq. 4; the authors sum over the batch).

    Args:
        v, category: (L, b) statistics of [V] and of the category.
        lambda_mu, lambda_sigma: weights of the squared differences of means and of variances, >= 0.
        reduction: "sum" over the batch (the authors' own) or "mean"; layers are always averaged.

    Raises:
        ValueError: unequal shapes, a negative weight or an unknown reduction.
    """
    if v.mean.shape != category.mean.shape or v.mean.ndim != 2:
        raise ValueError(
            "statistics must both be (layers, batch), "
            f"got {tuple(v.mean.shape)} and {tuple(category.mean.shape)}"
        )
    if lambda_mu < 0 or lambda_sigma < 0:
        raise ValueError(
            f"lambda_mu and lambda_sigma must not be negative, got {lambda_mu} and {lambda_sigma}"
        )
    if reduction not in ("sum", "mean"):
        raise ValueError(f"unknown reduction {reduction!r}: choose 'sum' or 'mean'")

    def reduce(per_sample: Tensor) -> Tensor:  # (L, b) -> scalar
        over_layers = per_sample.mean(0)  # (b,)
        return over_layers.sum() if reduction == "sum" else over_layers.mean()

    mean_part = lambda_mu * reduce((v.mean - category.mean).square())
    var_part = lambda_sigma * reduce((v.var - category.var).square())
    return Penalty(mean_part + var_part, mean_part, var_part)


def vectors_regularizer(
    vectors: Sequence[Statistics],
    category: Statistics,
    lambda_mu: float,
    lambda_sigma: float,
    reduction: str = "sum",
) -> Penalty:
    """The regularizer of a [V] of several vectors: the mean of the vectors' own, as the authors do.

    Each vector is held to the category, not their mean map: vectors that are off to both sides
    would cancel there. One vector is :func:`regularizer` itself.

    Args:
        vectors: (L, b) statistics of each; the rest as :func:`regularizer`.

    Raises:
        ValueError: no vector, or as :func:`regularizer`.
    """
    if not vectors:
        raise ValueError("[V] has no vector: there is nothing to regularize")
    each = [regularizer(v, category, lambda_mu, lambda_sigma, reduction) for v in vectors]
    if len(each) == 1:
        return each[0]
    return Penalty(*(torch.stack(parts).mean() for parts in zip(*each, strict=True)))
