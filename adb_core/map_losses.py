"""Losses of [V]'s map besides the paper's regularizer: pure functions, and their terms.

Each term is averaged over the batch and the layers, so that it does not depend on their number.

Axes: b batch, h heads, q query pixels, n read tokens ([V] first, then the category), y x cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from .maps import grid_size
from .passes import Forward

MASK_SIDE = 16  # cells of the maps that the true mask is compared with, as in Break-A-Scene


# ---------------------------------------------------------------- pixel by pixel


def pixelwise(maps: Iterable[Tensor]) -> Tensor:
    """Mean squared difference of [V]'s and the category's maps, head by head, pixel by pixel.

    The regularizer compares two moments; this compares everything. A scalar, >= 0.

    Args:
        maps: a layer each, (b, h, q, n), [V] and the category in the first two columns.
    """
    apart = [(m[..., 0].float() - m[..., 1].float()).square().mean() for m in maps]
    return torch.stack(apart).mean()


def pixelwise_term(passed: Forward) -> Tensor:
    """:func:`pixelwise` of a pass; the weight is ``Stage.pixelwise``."""
    return pixelwise(passed.maps.values())


# ---------------------------------------------------------------- total variation


def normalized(heat: Tensor) -> Tensor:
    """Maps (..., q) brought to [0, 1] by their own range, then to sum 1."""
    low, high = heat.amin(-1, keepdim=True), heat.amax(-1, keepdim=True)
    ranged = (heat - low) / (high - low).clamp_min(1e-8)
    return ranged / ranged.sum(-1, keepdim=True).clamp_min(1e-8)


def variation(maps: Iterable[Tensor]) -> Tensor:
    """Total variation of [V]'s and the category's maps, averaged over heads first; in [0, 1].

    1/2 sum |A_V - A_cat| of maps that are min-max-normalized and then of sum 1: the objective of
    AGenDA (ICCV 2025, arXiv 2507.20976), with a mean over the batch and layers as in its code.

    Args:
        maps: a layer each, (b, h, q, n), [V] and the category in the first two columns.
    """
    apart = []
    for layer in maps:
        v, category = normalized(layer.float().mean(1).transpose(1, 2))[:, :2].unbind(1)  # (b, q)
        apart.append(0.5 * (v - category).abs().sum(-1).mean())
    return torch.stack(apart).mean()


def variation_term(passed: Forward) -> Tensor:
    """:func:`variation` of a pass; the weight is ``Stage.total_variation``."""
    return variation(passed.maps.values())


# ---------------------------------------------------------------- the true mask


def masked_attention(heat: Tensor, masks: Tensor) -> Tensor:
    """Mean squared error of a map, divided by its largest value, and the true mask; a scalar.

    mean_b MSE(A / max A, M), the cross-attention loss of Break-A-Scene (Avrahami et al. 2023,
    section 3.3), for one token.

    Args:
        heat: (b, y, x) map of [V], averaged over heads and layers. masks: (b, y, x) in [0, 1].
    """
    largest = heat.amax((1, 2), keepdim=True).clamp_min(1e-8)
    return F.mse_loss(heat / largest, masks)


def mean_map(maps: Mapping[str, Tensor], side: int = MASK_SIDE) -> Tensor:
    """[V]'s map averaged over heads and over the layers of ``side`` x ``side`` cells, (b, y, x).

    Where no layer has that many cells, those that come nearest serve.
    """
    sides = {name: grid_size(m.shape[2])[0] for name, m in maps.items()}
    nearest = min(sides.values(), key=lambda have: (abs(have - side), have))
    chosen = [maps[name][..., 0].float().mean(1) for name in maps if sides[name] == nearest]
    heat = torch.stack(chosen).mean(0)  # (b, q)
    return heat.unflatten(1, (nearest, -1))


def masked_term(passed: Forward) -> Tensor:
    """:func:`masked_attention` of a pass; the weight is ``Stage.masked_map``."""
    assert passed.learner is not None and passed.learner.masks is not None
    heat = mean_map(passed.maps)
    rows = torch.from_numpy(passed.batch.rows)
    masks = passed.learner.masks[rows].to(heat)[:, None]  # (b, 1, side, side)
    cells = F.adaptive_avg_pool2d(masks, (heat.shape[1], heat.shape[2]))
    return masked_attention(heat, cells[:, 0])
