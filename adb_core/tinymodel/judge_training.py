"""How the judge learns: attributes on every picture, identity on pictures of the same individuals.

Individuals come in families of one category and main color: a first one, and relatives that
differ in one, two or three of {pattern, mark, second color, build}. They are the hard
negatives, without which the judge would know an individual by its color. Scenes ignore the
held-out split, so that the judge is as good on combinations the tiny model has never seen as
on the others: it is a referee, not a contestant.

Pictures are degraded on the way in (blur, rescaling, JPEG, noise, a round trip through the
VAE), because identity must not depend on sharpness.

Axes: b batch, c channels.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..system.files import atomic_write_bytes, atomic_write_json, sweep
from ..toyworld.sampling import (
    restage,
    sample_instance,
    sample_scene,
    sample_second_color,
    sample_sizes,
)
from ..toyworld.render import render_image
from ..toyworld.scene import (
    BUILDS,
    CATEGORIES,
    LABELS,
    MARKS,
    PATTERNS,
    Instance,
    Scene,
    color_distance,
)
from .cache import _die_with_parent, code_hash, label_numbers

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL
    from torch import Tensor

    from .cache import Cache
    from .judge import Judge

FAMILY = 3  # individuals in a family
VIEWS = 4  # pictures of each
NEAR_MISS_COLOR = 90.0  # RGB distance of a second color that is plainly another
CHUNK = 50  # families a file
TEMPERATURE = 0.1  # of the identity loss
BATCH_FAMILIES = 16  # with 3 individuals and 2 views each: 96 pictures
BATCH_CATEGORIES = 4  # few at a time, so that most negatives are of the same category
BATCH_SCENES = 96  # pictures of the common cache in a step


# ---------------------------------------------------------------- individuals and their pictures


TRAITS = ("pattern", "mark", "second color", "build")


def changed(instance: Instance, trait: str, rng: np.random.Generator) -> Instance:
    """The same individual but for one of :data:`TRAITS`, which is plainly another."""
    if trait == "pattern":
        others = [p for p in PATTERNS if p != instance.pattern]
        return replace(instance, pattern=str(rng.choice(others)))
    if trait == "mark":
        return replace(instance, mark=str(rng.choice([m for m in MARKS if m != instance.mark])))
    if trait == "build":
        build = str(rng.choice([b for b in BUILDS if b != instance.build]))
        return replace(instance, **sample_sizes(rng, build))
    second = instance.secondary
    while color_distance(second, instance.secondary) < NEAR_MISS_COLOR:
        second = sample_second_color(rng, instance.primary)
    return replace(instance, secondary=second)


def relative(instance: Instance, rng: np.random.Generator) -> Instance:
    """Another individual like ``instance``: same main color, 1 to 3 other traits changed."""
    for trait in rng.choice(TRAITS, int(rng.integers(1, 4)), replace=False):
        instance = changed(instance, str(trait), rng)
    return instance


def make_family(number: int, seed: int) -> list[Scene]:
    """The individuals of family ``number``, as a scene each.

    The first wears a pattern, so that another second color shows.
    """
    rng = np.random.default_rng([seed, 0x1DE, number])
    category = str(rng.choice(CATEGORIES))
    first = sample_instance(rng, pattern=str(rng.choice(PATTERNS[1:])))
    members = [first, *(relative(first, rng) for _ in range(FAMILY - 1))]
    return [Scene(category=category, instance=member) for member in members]


def another_scene(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same individual elsewhere: new pose, accessory, relation and place; 70 % photos."""
    stage = sample_scene(rng, held_out=bool(rng.random() < 0.2))
    style = str(rng.choice(("photo", "sketch", "painting", "pixel art"), p=(0.7, 0.1, 0.1, 0.1)))
    return restage(
        scene,
        rng,
        accessory=stage.accessory,
        relation=stage.relation,
        object=stage.object,
        place=stage.place,
        sky=stage.sky,
        style=style,
    )


def family_views(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (individuals, views, 128, 128, 3) and labels int64 (individuals, views, heads)."""
    rng = np.random.default_rng([seed, 0x71E, number])
    scenes = [
        another_scene(member, rng) for member in make_family(number, seed) for _ in range(VIEWS)
    ]
    pixels = np.stack([render_image(s, int(rng.integers(2**31))) for s in scenes])
    shape = (FAMILY, VIEWS)
    return pixels.reshape(*shape, *pixels.shape[1:]), label_numbers(scenes).reshape(
        *shape, len(LABELS)
    )


@dataclass
class Families:
    """Attributes: images uint8 (families, 3, 4, 128, 128, 3); labels int64 (families, 3, 4, heads);
    category int64 (families,)."""

    images: np.ndarray
    labels: np.ndarray

    @property
    def category(self) -> np.ndarray:
        return self.labels[:, 0, 0, list(LABELS).index("category")]


def _npz(folder: Path, number: int) -> Path:
    return folder / f"families-{number:04d}.npz"


def _make_chunk(folder: Path, number: int, count: int, seed: int) -> None:
    made = [family_views(k, seed) for k in range(number * CHUNK, min((number + 1) * CHUNK, count))]
    buffer = io.BytesIO()
    np.savez(buffer, images=np.stack([m[0] for m in made]), labels=np.stack([m[1] for m in made]))
    atomic_write_bytes(_npz(folder, number), buffer.getvalue())


def build_families(
    folder: str | Path, *, count: int, seed: int, workers: int | None = None
) -> Families:
    """Render ``count`` families (12 pictures each), go on where a killed call stopped, or just load."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    settings = {"count": count, "seed": seed, "chunk": CHUNK, "code": code_hash()}
    manifest = folder / "manifest.json"
    if not manifest.exists() or json.loads(manifest.read_text()) != settings:
        for path in folder.glob("families-*.npz"):
            path.unlink()
        atomic_write_json(manifest, settings)
    numbers = range(-(-count // CHUNK))
    missing = [n for n in numbers if not _npz(folder, n).exists()]
    workers = min(workers or os.cpu_count() or 1, len(missing))
    if workers <= 1:
        for n in missing:
            _make_chunk(folder, n, count, seed)
    else:
        context = multiprocessing.get_context(
            "spawn"
        )  # as cache.py: forking beside torch threads can hang
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_die_with_parent) as pool:
            list(pool.map(_make_chunk, *zip(*[(folder, n, count, seed) for n in missing])))
    parts = [np.load(_npz(folder, n), allow_pickle=False) for n in numbers]
    return Families(
        np.concatenate([p["images"] for p in parts]), np.concatenate([p["labels"] for p in parts])
    )


# ---------------------------------------------------------------- losses


def augment(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """What a generated picture may differ in and still show the same: place, tone, quality.

    Args and returns: float (b, 3, h, w) in [0, 1]. Tone changes are too small to turn one
    color word into another.
    """
    import torch
    from torch.nn import functional as F

    from .degrade import at_random

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
    with torch.autocast(device.type, enabled=False):  # half precision would be one more degradation
        return at_random(pixels.clamp(0, 1), rng)


def attribute_loss(scores: dict[str, Tensor], labels: Tensor) -> Tensor:
    """Sum over heads of the mean cross-entropy; labels int64 (b, heads), -1 is left out."""
    from torch.nn import functional as F

    losses = [
        F.cross_entropy(scores[name], labels[:, k], ignore_index=-1, reduction="sum")
        / (labels[:, k] >= 0).sum().clamp(min=1)
        for k, name in enumerate(LABELS)
    ]
    return sum(losses)


def identity_loss(identities: Tensor, owner: Tensor) -> Tensor:
    """InfoNCE over unit vectors (b, c): each picture's other views (same ``owner``, int (b,)) against the rest."""
    import torch

    logits = identities @ identities.T / TEMPERATURE  # (b, b)
    eye = torch.eye(len(owner), dtype=torch.bool, device=owner.device)
    same = (owner[:, None] == owner[None]) & ~eye
    logits = logits.masked_fill(eye, -torch.inf)
    log_share = logits - logits.logsumexp(1, keepdim=True)
    return -(log_share.masked_fill(~same, 0).sum(1) / same.sum(1).clamp(min=1)).mean()


def draw_individuals(
    families: Families, rng: np.random.Generator, softened: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A batch of two views each: images (b, h, w, 3), labels (b, heads), owner (b,).

    ``softened`` uint8 (families, 3, h, w, 3): the first views after a round trip through the
    VAE, which stand for them half of the time.
    """
    some = rng.choice(len(CATEGORIES), BATCH_CATEGORIES, replace=False)
    pool = np.flatnonzero(np.isin(families.category, some))
    if len(pool) < BATCH_FAMILIES:  # a tiny cache, as in tests
        pool = np.arange(len(families.category))
    chosen = rng.choice(pool, min(BATCH_FAMILIES, len(pool)), replace=False)
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


def train_judge(
    *,
    cache: Cache,
    run_dir: str | Path,
    seed: int,
    device: torch.device | str,
    minutes: float | None = None,
    steps: int | None = None,
    families: int = 2000,
    workers: int | None = None,
    lr: float = 2e-3,
    start: Path | None = None,
    vae: AutoencoderKL | None = None,
) -> Judge:
    """Train (or resume, or load the finished) judge; renders ``families`` times 12 pictures first.

    Args:
        start: a folder of a trained judge to go on from.
        vae: whose round trips the judge learns to see through; None leaves them out.
    """
    import torch

    from .fit import Fit, fit, is_finished, warm
    from .judge import Judge, as_pixels
    from .vae import round_trips

    kin = build_families(Path(run_dir) / "families", count=families, seed=seed, workers=workers)
    softened = None
    if vae is not None and not is_finished(run_dir, "judge"):
        softened = round_trips(vae, kin.images[:, :, 0].reshape(-1, *kin.images.shape[3:]))
        softened = softened.reshape(kin.images[:, :, 0].shape)
    torch.manual_seed(seed)
    judge = (Judge() if start is None else Judge.load(start)).to(memory_format=torch.channels_last)
    scene_labels = cache.labels

    def loss_fn(step: int, rng: np.random.Generator):
        chosen = rng.choice(len(scene_labels), min(BATCH_SCENES, len(scene_labels)), replace=False)
        images, labels, owner = draw_individuals(kin, rng, softened)
        pixels = as_pixels(np.concatenate([cache.images[chosen], images])).to(device)
        truth = torch.from_numpy(np.concatenate([scene_labels[chosen], labels])).to(device)
        scores, identities = judge(
            augment(pixels, rng).contiguous(memory_format=torch.channels_last)
        )
        with torch.autocast(pixels.device.type, enabled=False):
            attributes = attribute_loss({k: v.float() for k, v in scores.items()}, truth)
            identity = identity_loss(identities[len(chosen) :], torch.from_numpy(owner).to(device))
        return attributes + identity, {
            "attributes": attributes.detach(),
            "identity": identity.detach(),
        }

    settings = warm(
        Fit(
            "judge",
            lr=lr,
            batch=BATCH_SCENES + BATCH_FAMILIES * FAMILY * 2,
            weight_decay=0.05,
            ema=0.995,
        ),
        start,
    )
    fit(
        settings,
        {"judge": judge},
        loss_fn,
        run_dir=run_dir,
        seed=seed,
        device=device,
        minutes=minutes,
        steps=steps,
    )
    return judge.eval()
