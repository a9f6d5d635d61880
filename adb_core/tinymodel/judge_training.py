"""How the judge learns: attributes on every picture, identity on pictures of the same individuals.

Individuals come in families of one category: a first one, and relatives that differ in a
few of {pattern, mark, second color, proportions}. They are the hard negatives. Half of the
families are common individuals, half have any colors, patterns and marks. Their scenes
ignore the held-out split, so that the judge is as good on combinations the tiny model has
never seen as on the others: it is a referee, not a contestant.

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
from ..toyworld.scene import (
    CATEGORIES,
    COLORS,
    COMMON_MARKS,
    COMMON_PATTERNS,
    COMMON_SIZE,
    LABELS,
    RARE_MARKS,
    RARE_PATTERNS,
    RARE_SIZE,
    Instance,
    Scene,
    _sizes,
    color_distance,
    restage,
    sample_instance,
    sample_rare_instance,
    sample_scene,
)
from .cache import _die_with_parent, code_hash, label_numbers

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .cache import Cache
    from .judge import Judge

FAMILY = 3  # individuals in a family
VIEWS = 4  # pictures of each
CHUNK = 200  # families a file
TEMPERATURE = 0.1  # of the identity loss
BATCH_FAMILIES = 16  # with 3 individuals and 2 views each: 96 pictures
BATCH_CATEGORIES = 4  # few at a time, so that most negatives are of the same category
BATCH_SCENES = 96  # pictures of the common cache in a step


# ---------------------------------------------------------------- individuals and their pictures


def relative(instance: Instance, rng: np.random.Generator, rare: bool) -> Instance:
    """Another individual like ``instance``: same main color, 2 to 4 other traits changed."""
    patterns = COMMON_PATTERNS + (RARE_PATTERNS if rare else ())
    marks = COMMON_MARKS + (RARE_MARKS if rare else ())
    second = tuple(int(v) for v in rng.integers(25, 250, 3)) if rare else instance.secondary
    while color_distance(second, instance.secondary) < 60:
        second = tuple(int(v) for v in rng.integers(25, 250, 3))
    other = {
        "pattern": str(rng.choice([p for p in patterns if p != instance.pattern])),
        "mark": str(rng.choice([m for m in marks if m != instance.mark])),
        "secondary": second,
        "sizes": _sizes(rng, RARE_SIZE if rare else COMMON_SIZE),
    }
    names = rng.choice(list(other), int(rng.integers(2, 5)), replace=False)
    changes = {name: other[name] for name in names}
    return replace(instance, layout=int(rng.integers(2**31)), **changes.pop("sizes", {}), **changes)


def make_family(number: int, seed: int) -> list[tuple[Scene, Instance]]:
    """The individuals of family ``number``, as a scene each (for category and color word)."""
    rng = np.random.default_rng([seed, 0x1DE, number])
    rare = bool(number % 2)
    category, color = str(rng.choice(CATEGORIES)), str(rng.choice(list(COLORS)))
    first = sample_rare_instance(rng) if rare else sample_instance(rng, color)
    members = [first, *(relative(first, rng, rare) for _ in range(FAMILY - 1))]
    return [Scene(category=category, instance=m, color=None if rare else color) for m in members]


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
        style=style,
    )


def family_views(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (individuals, views, 64, 64, 3) and labels int64 (individuals, views, heads)."""
    from ..toyworld.render import render_image

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
    """Attributes: images uint8 (families, 3, 4, 64, 64, 3); labels int64 (families, 3, 4, heads);
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
    """What a generated picture may differ in and still show the same: softness, noise, shift, tone.

    Args and returns: float (b, 3, 64, 64) in [0, 1]. Tone changes are too small to turn one
    color word into another.
    """
    import torch
    from torch.nn import functional as F

    b, device = len(pixels), pixels.device

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (b, *shape)).astype(np.float32)).to(device)

    # Shift by up to 3 pixels and scale by up to 5 %; bilinear sampling also softens a little.
    theta = torch.zeros(b, 2, 3, device=device)
    theta[:, 0, 0] = theta[:, 1, 1] = draw(0.95, 1.05)
    theta[:, :, 2] = draw(-3 / 32, 3 / 32, 2)
    pixels = F.grid_sample(
        pixels,
        F.affine_grid(theta, list(pixels.shape), align_corners=False),
        padding_mode="border",
        align_corners=False,
    )
    soft = F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, 1)
    pixels = torch.lerp(pixels, soft, draw(-0.6, 1.0, 1, 1, 1).clamp(min=0))
    coarse = F.interpolate(
        F.avg_pool2d(pixels, 2), scale_factor=2, mode="bilinear"
    )  # as a weak VAE
    pixels = torch.lerp(pixels, coarse, draw(-2.0, 0.8, 1, 1, 1).clamp(min=0))
    pixels = pixels * draw(0.93, 1.07, 3, 1, 1) + draw(-0.03, 0.03, 3, 1, 1)
    noise = torch.randn(
        pixels.shape, generator=torch.Generator().manual_seed(int(rng.integers(2**31)))
    ).to(device)
    return (pixels + noise * draw(-0.03, 0.03, 1, 1, 1)).clamp(0, 1)


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
    families: Families, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A batch of two views each: images (b, 64, 64, 3), labels (b, heads), owner (b,)."""
    some = rng.choice(len(CATEGORIES), BATCH_CATEGORIES, replace=False)
    pool = np.flatnonzero(np.isin(families.category, some))
    if len(pool) < BATCH_FAMILIES:  # a tiny cache, as in tests
        pool = np.arange(len(families.category))
    chosen = rng.choice(pool, min(BATCH_FAMILIES, len(pool)), replace=False)
    views = np.stack([rng.choice(VIEWS, 2, replace=False) for _ in range(len(chosen) * FAMILY)])
    f = np.repeat(chosen, FAMILY * 2)
    member = np.tile(np.repeat(np.arange(FAMILY), 2), len(chosen))
    v = views.reshape(-1)
    return families.images[f, member, v], families.labels[f, member, v], f * FAMILY + member


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
) -> Judge:
    """Train (or resume, or load the finished) judge; renders ``families`` times 12 pictures first.

    Args:
        start: a folder of a trained judge to go on from.
    """
    import torch

    from .fit import Fit, fit, warm
    from .judge import Judge, as_pixels

    kin = build_families(Path(run_dir) / "families", count=families, seed=seed, workers=workers)
    torch.manual_seed(seed)
    judge = (Judge() if start is None else Judge.load(start)).to(memory_format=torch.channels_last)
    scene_labels = cache.labels

    def loss_fn(step: int, rng: np.random.Generator):
        chosen = rng.choice(len(scene_labels), min(BATCH_SCENES, len(scene_labels)), replace=False)
        images, labels, owner = draw_individuals(kin, rng)
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
