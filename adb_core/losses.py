"""One step's batch, and the losses of it: diffusion, regularizer, prior preservation, and more.

A further loss of the U-Net's pass is one function in ``TERMS`` and one field of ``Stage``, its
weight. Sums over the batch (the paper's regularizer) are made to mean the same in micro-batches.

Axes: b batch, c channels, k tokens, d channels of a text state, L layers, n read tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import map_losses, text_losses
from .attention import AttentionCapture
from .base import Posterior, TextStates
from .engine import TrainingError
from .learner import Learner
from .passes import Batch, Forward, joined
from .recipes import Stage
from .regularizer import (
    Penalty,
    Statistics,
    mean_statistics,
    stack_statistics,
    vectors_regularizer,
)

# ---------------------------------------------------------------- a step's random choices


def step_rng(seed: int, stage: int, step: int) -> np.random.Generator:
    """The random numbers of one step; a resumed run draws the same ones."""
    return np.random.default_rng([seed, stage, step])


def draw_batch(
    latents: Posterior | tuple[Tensor, Tensor],
    prompt_count: int,
    size: int,
    steps: int,
    rng: np.random.Generator,
) -> Batch:
    """Draw a batch on the CPU's generator, so that every device sees the same one.

    Args:
        latents: means and deviations of all views, (K * n, c, y, x) each.
        steps: noise levels that the model was trained with.
    """
    means, deviations = latents
    rows = rng.integers(len(means), size=size)
    prompts = rng.integers(prompt_count, size=size)
    timesteps = torch.from_numpy(rng.integers(steps, size=size))
    generator = torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))
    picked = torch.from_numpy(rows).to(means.device)
    spread, noise = (
        torch.randn((size, *means.shape[1:]), generator=generator).to(means.device)
        for _ in range(2)
    )
    drawn = means[picked] + deviations[picked] * spread
    lot = int(rng.integers(2**31))  # the last that is drawn: what was drawn before stays the same
    return Batch(rows, prompts, drawn, noise, timesteps.to(means.device), lot)


def diffusion_target(scheduler: Any, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the U-Net should predict, (b, c, y, x).

    Raises:
        TrainingError: a prediction type other than epsilon and v.
    """
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return noise
    if kind == "v_prediction":
        return scheduler.get_velocity(latents, noise, timesteps)
    raise TrainingError(
        f"prediction type {kind!r} is not supported: use an epsilon or v_prediction model"
    )


# ---------------------------------------------------------------- the U-Net's pass


def forward(
    learner: Learner, batch: Batch, states: TextStates, capture: AttentionCapture | None = None
) -> Forward:
    """Noise the latents, predict, and take the statistics of what the capture read."""
    scheduler = learner.base.scheduler
    noisy = scheduler.add_noise(batch.latents, batch.noise, batch.timesteps)
    target = diffusion_target(scheduler, batch.latents, batch.noise, batch.timesteps)
    with learner.accelerator.autocast():
        noisy = noisy.to(learner.base.dtype)  # under LoRA the base may be in half precision
        predicted = learner.base.predict(learner.unet, noisy, batch.timesteps, states)
    passed = Forward(batch, predicted, target, learner=learner, states=states)
    if capture is None:
        return passed
    read = stack_statistics(capture.layers.values())  # (L, b, n) each: one reduction a layer
    tokens = [read.of(k) for k in range(read.mean.shape[-1])]  # [V]'s vectors, then the category's
    count = len(learner.token.ids)
    vectors, pieces = tuple(tokens[:count]), tokens[count:]
    return replace(
        passed,
        layers=tuple(capture.layers),
        v=mean_statistics(vectors),
        category=mean_statistics(pieces) if pieces else None,
        vectors=vectors,
        maps={name: joined(columns, count) for name, columns in capture.layers.items()},
        selection=joined(capture.selection_for(states.tokens)[:, 0], count),  # (b or 1, k, 2)
    )


# ---------------------------------------------------------------- the losses

# Name of a Stage's weight -> the loss that it weighs, a scalar; computed where the weight is not 0.
TERMS: dict[str, Callable[[Forward], Tensor]] = {
    "pixelwise": map_losses.pixelwise_term,
    "total_variation": map_losses.variation_term,
    "masked_map": map_losses.masked_term,
    "key_lock": text_losses.key_lock,
    "core_embedding": text_losses.core_embedding,
    "core_embedding_code": text_losses.core_embedding_code,
    "core_attention": text_losses.core_attention,
    "core_attention_code": text_losses.core_attention_code,
}


@dataclass(frozen=True)
class Losses:
    """The losses of one pass, scalars.

    Attributes:
        total: all of them with their weights; what backward begins at.
        regularizer: with its weights, as of the whole batch; further: of ``TERMS``, without.
    """

    total: Tensor
    diffusion: Tensor
    regularizer: Penalty
    further: dict[str, Tensor]


def diffusion_loss(passed: Forward) -> Tensor:
    """Mean squared error of the prediction, in float32."""
    return F.mse_loss(passed.predicted.float(), passed.target.float())


def losses(stage: Stage, passed: Forward, parts: int = 1) -> Losses:
    """Everything that a stage asks for.

    Args:
        parts: pieces that the step's batch was cut into. Their gradients are averaged, while the
            paper's regularizer is summed over the whole batch: it is multiplied to undo that.
    """
    diffusion = diffusion_loss(passed)
    total, zero = diffusion, diffusion.new_zeros(())
    penalty = Penalty(zero, zero, zero)
    if stage.regularized:
        assert passed.category is not None
        category = passed.category
        if stage.detach_category:  # an ablation: [V] alone is pulled
            category = Statistics(category.mean.detach(), category.var.detach())
        found = vectors_regularizer(
            passed.vectors, category, stage.lambda_mu, stage.lambda_sigma, stage.reduction
        )
        scale = parts if stage.reduction == "sum" else 1
        penalty = Penalty(*(part * scale for part in found))
        total = total + penalty.total
    further = {}
    for name, term in TERMS.items():
        weight = getattr(stage, name, 0.0)
        if weight:
            further[name] = term(passed)
            total = total + weight * further[name]
    return Losses(total, diffusion, penalty, further)


def prior_loss(learner: Learner, batch: Batch, states: TextStates) -> Tensor:
    """The diffusion loss on the category's own images (Ruiz et al. 2023), same noise and times.

    Args:
        states: of one prompt that names the plain category.
    """
    images = learner.prior_latents
    assert images is not None
    rows = torch.from_numpy(batch.rows % len(images)).to(images.device)
    plain = Batch(batch.rows, batch.prompts, images[rows], batch.noise, batch.timesteps)
    return diffusion_loss(forward(learner, plain, states.repeat(len(rows))))
