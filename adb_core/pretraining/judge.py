"""How the judge learns: attributes on every picture, identity on pictures of the same individuals.

Pictures of individuals are degraded on the way in (blur, rescaling, JPEG, noise, a round trip
through the VAE), because identity must not depend on sharpness.

Axes: b batch, c channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..tinymodel.degrade import at_random
from ..tinymodel.judge import Judge
from ..tinymodel.vae import round_trips
from ..toyworld.scene import CATEGORIES, LABELS
from .cache import Cache
from .families import FAMILY, VIEWS, Families
from .fit import LossFn, fit
from .settings import Budget, Fit, Place, warm
from .stage_files import is_finished

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

TEMPERATURE = 0.1  # of the identity loss
BATCH_FAMILIES = 8  # with 3 individuals and 2 views each: 48 pictures
BATCH_CATEGORIES = 4  # few at a time, so that most negatives are of the same category
# Pictures of the common cache in a step. Twice as many of both, for half the steps, got less far
# in more time.
BATCH_SCENES = 48

FIT = Fit(
    "judge",
    lr=2e-3,
    muon_lr=1e-2,
    batch=BATCH_SCENES + BATCH_FAMILIES * FAMILY * 2,
    weight_decay=0.05,
    ema=0.998,
)


def augment(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """What a generated picture may differ in and still show the same: place and tone.

    Args and returns: float (b, 3, h, w) in [0, 1]. Tone changes are too small to turn one
    color word into another.
    """
    b, device = len(pixels), pixels.device

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (b, *shape)).astype(np.float32)).to(device)

    # Shift by up to a 20th of the side and scale by up to 5 %.
    theta = torch.zeros(b, 2, 3, device=device)
    theta[:, 0, 0] = theta[:, 1, 1] = draw(0.95, 1.05)
    theta[:, :, 2] = draw(-0.1, 0.1, 2)
    where = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    pixels = F.grid_sample(pixels, where, padding_mode="border", align_corners=False)
    pixels = pixels * draw(0.94, 1.06, 3, 1, 1) + draw(-0.03, 0.03, 3, 1, 1)
    return pixels.clamp(0, 1)


def degrade(pixels: Tensor, common: int, rng: np.random.Generator) -> Tensor:
    """The individuals, all but the first ``common`` pictures, at random worse than they were.

    Identity must not depend on sharpness. The common pictures stay sharp: a blurred one teaches
    little about a pattern.
    """
    with torch.autocast(pixels.device.type, enabled=False):  # half precision degrades once more
        return torch.cat([pixels[:common], at_random(pixels[common:], rng)])


def attribute_loss(scores: dict[str, Tensor], labels: Tensor) -> Tensor:
    """Sum over heads of the mean cross-entropy; labels int64 (b, heads), -1 is left out."""
    losses = [
        F.cross_entropy(scores[name], labels[:, k], ignore_index=-1, reduction="sum")
        / (labels[:, k] >= 0).sum().clamp(min=1)
        for k, name in enumerate(LABELS)
    ]
    return sum(losses)


def identity_loss(identities: Tensor, owner: Tensor) -> Tensor:
    """InfoNCE over unit vectors (b, c): each picture's other views against the rest.

    ``owner`` int (b,): equal for views of the same individual.
    """
    logits = identities @ identities.T / TEMPERATURE  # (b, b)
    eye = torch.eye(len(owner), dtype=torch.bool, device=owner.device)
    same = (owner[:, None] == owner[None]) & ~eye
    logits = logits.masked_fill(eye, -torch.inf)
    log_share = logits - logits.logsumexp(1, keepdim=True)
    return -(log_share.masked_fill(~same, 0).sum(1) / same.sum(1).clamp(min=1)).mean()


def draw_individuals(
    families: Families,
    rng: np.random.Generator,
    softened: np.ndarray | None = None,
    times: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A batch of two views each: images (b, h, w, 3), labels (b, heads), owner (b,).

    ``softened`` uint8 (families, 3, h, w, 3): the first views after a round trip through the
    VAE, which stand for them half of the time. ``times`` as many families as usual, of as many
    more categories.
    """
    count = BATCH_FAMILIES * times
    kinds = min(len(CATEGORIES), BATCH_CATEGORIES * times)
    some = rng.choice(len(CATEGORIES), kinds, replace=False)
    pool = np.flatnonzero(np.isin(families.category, some))
    if len(pool) < count:  # a tiny cache, as in tests
        pool = np.arange(len(families.category))
    chosen = rng.choice(pool, min(count, len(pool)), replace=False)
    views = np.stack([rng.choice(VIEWS, 2, replace=False) for _ in range(len(chosen) * FAMILY)])
    f = np.repeat(chosen, FAMILY * 2)
    member = np.tile(np.repeat(np.arange(FAMILY), 2), len(chosen))
    v = views.reshape(-1)
    images = families.images[f, member, v]
    if softened is not None:
        rows = np.flatnonzero((v == 0) & (rng.random(len(v)) < 0.5))
        images[rows] = softened[f[rows], member[rows]]
    return images, families.labels[f, member, v], f * FAMILY + member


# ---------------------------------------------------------------- training


def soften(vae: AutoencoderKL, families: Families) -> np.ndarray:
    """First views after a round trip through the VAE, uint8 (families, 3, h, w, 3)."""
    first = families.images[:, :, 0]
    return round_trips(vae, first.reshape(-1, *first.shape[2:])).reshape(first.shape)


def make_loss(
    judge: Judge,
    cache: Cache,
    families: Families,
    softened: np.ndarray | None,
    device: torch.device | str,
    times: int = 1,
) -> LossFn:
    """A step's loss: the common cache's pictures for attributes, individuals for both.

    Args:
        times: as many of either as usual.
    """
    scene_labels = cache.labels
    common = min(BATCH_SCENES * times, len(scene_labels))

    def loss_fn(step: int, rng: np.random.Generator):
        chosen = rng.choice(len(scene_labels), common, replace=False)
        images, labels, owner = draw_individuals(families, rng, softened, times)
        seen = torch.from_numpy(np.concatenate([cache.images[chosen], images])).to(device)
        pixels = seen.movedim(-1, 1).float() / 255
        truth = torch.from_numpy(np.concatenate([scene_labels[chosen], labels])).to(device)
        seen = degrade(augment(pixels, rng), len(chosen), rng)
        scores, identities = judge(seen.contiguous(memory_format=torch.channels_last))
        with torch.autocast(pixels.device.type, enabled=False):
            attributes = attribute_loss({k: v.float() for k, v in scores.items()}, truth)
            identity = identity_loss(identities[len(chosen) :], torch.from_numpy(owner).to(device))
        extras = {"attributes": attributes.detach(), "identity": identity.detach()}
        return attributes + identity, extras

    return loss_fn


def train_judge(
    cache: Cache,
    families: Families,
    *,
    place: Place,
    budget: Budget,
    settings: Fit = FIT,
    start: Path | None = None,
    vae: AutoencoderKL | None = None,
) -> Judge:
    """Train (or resume, or load the finished) judge.

    Args:
        start: a folder of a trained judge to go on from.
        vae: whose round trips the judge learns to see through; None leaves them out.
    """
    softened = None
    if vae is not None and not is_finished(place.run_dir, settings.name):
        softened = soften(vae, families)
    torch.manual_seed(place.seed)
    judge = (Judge() if start is None else Judge.load(start)).to(memory_format=torch.channels_last)
    times = max(1, settings.batch // FIT.batch)
    loss_fn = make_loss(judge, cache, families, softened, place.device, times)
    fit(warm(settings, start), {"judge": judge}, loss_fn, place=place, budget=budget)
    return judge.eval()
