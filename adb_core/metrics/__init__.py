"""How good a personalized model is: identity, text, where [V] looks, and what else has changed.

The arithmetic is in pure functions on arrays; :func:`evaluate_result` generates pictures and
applies all of it. Whoever reads a number here should find its range and its source beside it.

Axes: n pictures, c channels of an embedding, t timesteps, g words, y x cells of a map.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..attention import capture_attention, selection
from ..base import Base
from ..concept import Concept
from ..generation import GUIDANCE, STEPS, Generation, generate, prompt_words
from ..images import PLAIN as CENTRED
from ..judges import Clip, load_clip, load_judge
from ..learner import encode_views
from ..maps import aggregate

if TYPE_CHECKING:
    from ..result import Result, SavedResult

TIMES = (200, 350, 500)  # noise levels at which the maps of photos are read, of 1,000
CELL_SHARE = 0.25  # of a cell's pixels must be the subject's for the cell to count as on it
JUDGE_SIDE = 64  # pixels; what the bundled judge and CLIP were made for
PLAIN = "plain"  # what the judge calls a picture without a place
FUNCTION_WORDS = frozenset(
    "a an and at by for from in is it next of on or over the to top under with".split()
)


class MetricError(ValueError):
    """Numbers or pictures that cannot be measured; one line that says why."""


# ---------------------------------------------------------------- intervals


class Interval(NamedTuple):
    """A mean with its 95 % bootstrap interval, and how many values it is the mean of."""

    mean: float
    low: float
    high: float
    count: int


def bootstrap(
    values: Sequence[float],
    seed: int = 0,
    *,
    groups: Sequence | None = None,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Mean and percentile bootstrap interval (Efron 1979).

    Args:
        values: (n,) numbers, all finite.
        groups: (n,) labels. Values of one group (a concept, say) are not independent, so whole
            groups are drawn, not values; None draws values.

    Raises:
        MetricError: no values, one that is not a number, or not one label a value.
    """
    data = np.asarray(values, dtype=float)
    if data.ndim != 1 or not len(data) or not np.isfinite(data).all():
        raise MetricError(
            f"a bootstrap needs at least one finite number in one row, got {data.tolist()!r:.80}"
        )
    if groups is not None and len(groups) != len(data):
        raise MetricError(f"{len(data)} values have {len(groups)} group labels: give one each")
    _, owner = np.unique(
        np.arange(len(data)) if groups is None else np.asarray(groups), return_inverse=True
    )
    sums, counts = np.bincount(owner, data), np.bincount(owner)  # per group
    drawn = np.random.default_rng(seed).integers(len(sums), size=(resamples, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(data.mean()), float(low), float(high), len(data))


# ---------------------------------------------------------------- alike or not


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=float)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def cosine_to_mean(vectors: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Cosine of each vector (n, c) to the mean direction of the references (m, c): (n,) in [-1, 1].

    The identity score: how much a picture's individual is the photos'. Averaging unit vectors
    first takes out what differs between the photos (as in face verification by templates).
    """
    return _unit(vectors) @ _unit(_unit(references).mean(0))


def mean_cosine(vectors: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Mean cosine of each vector (n, c) to every reference (m, c): (n,) in [-1, 1].

    On CLIP image embeddings this is CLIP-I: "image alignment" of Gal et al. 2022 (Textual
    Inversion, section 5), named CLIP-I by Ruiz et al. 2023 (DreamBooth, section 4.2).
    """
    return (_unit(vectors) @ _unit(references).T).mean(1)


def paired_cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of a[i] and b[i], (n, c) each: (n,) in [-1, 1]. On CLIP's image and text embeddings: CLIP-T (Ruiz et al. 2023)."""
    return (_unit(a) * _unit(b)).sum(-1)


def pixel_difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean absolute difference of uint8 pictures (n, h, w, 3): (n,) in [0, 1]."""
    return np.abs(a.astype(float) - b.astype(float)).reshape(len(a), -1).mean(1) / 255


# ---------------------------------------------------------------- what was asked, and what is there


def attribute_hits(
    read: Mapping[str, Sequence[str]], asks: Sequence[Mapping[str, str]]
) -> dict[str, list[float]]:
    """Which asked attributes a judge found.

    Args:
        read: label -> word of each picture (length n). asks: n dicts, label -> word.

    Returns:
        Per label 1.0 or 0.0 for each picture that was asked for it.
    """
    hits: dict[str, list[float]] = {}
    for picture, asked in enumerate(asks):
        for label, word in asked.items():
            hits.setdefault(label, []).append(float(read[label][picture] == word))
    return hits


def found_shares(
    read: Mapping[str, Sequence[str]], asks: Sequence[Mapping[str, str]]
) -> np.ndarray:
    """The share of what was asked that a judge found in each picture: (n,) in [0, 1], NaN where nothing was asked."""
    return np.array(
        [
            np.mean([read[label][i] == word for label, word in asked.items()]) if asked else np.nan
            for i, asked in enumerate(asks)
        ]
    )


def chance_accuracy(asks: Sequence[Mapping[str, str]]) -> float:
    """What a perfect picture scores against another picture's prompt: the level of the shuffled control, [0, 1]."""
    shares = [
        np.mean([other.get(label) == word for label, word in asked.items()])
        for i, asked in enumerate(asks)
        if asked
        for j, other in enumerate(asks)
        if i != j
    ]
    return float(np.mean(shares)) if shares else 0.0


def training_places(concept: Concept) -> set[str]:
    """Where a concept's photos were taken, in the judge's words; empty if ``concept.json`` does not say."""
    return {photo.get("place") or PLAIN for photo in concept.info.get("photos", [])}


def leaks(
    places: Sequence[str],
    asks: Sequence[Mapping[str, str]],
    trained: set[str],
    *,
    named: bool = False,
) -> np.ndarray:
    """Which pictures show a training photo's background instead of the place that was asked for.

    Only pictures whose asked place is none of the training places count: in the others the
    training background would be right.

    Args:
        places: what the judge sees, length n. named: a plain backdrop, which may also be a place
            forgotten, is no leak.

    Returns:
        0.0 or 1.0 for each picture that counts.
    """
    guilty = trained - {PLAIN} if named else trained
    return np.array(
        [
            float(seen in guilty)
            for seen, asked in zip(places, asks)
            if "place" in asked and asked["place"] not in trained
        ]
    )


# ---------------------------------------------------------------- where a word looks


def mask_cells(mask: np.ndarray, cells: tuple[int, int]) -> np.ndarray:
    """Share of each map cell that a photo's bool mask (h, w) fills, (y, x) in [0, 1].

    The mask's largest centred square is used, which is what the model sees of a photo.
    """
    h, w = mask.shape
    side = min(h, w)
    square = mask[
        (h - side) // 2 : (h - side) // 2 + side, (w - side) // 2 : (w - side) // 2 + side
    ]
    return F.adaptive_avg_pool2d(torch.from_numpy(square.astype(np.float32))[None, None], cells)[
        0, 0
    ].numpy()


def cells_on(shares: np.ndarray) -> np.ndarray:
    """Cells that count as on an element: at least a quarter of their pixels are its own, bool (y, x).

    Of something too thin to fill a quarter of any cell, the fullest cells count.
    """
    return (shares > 0) & (shares >= min(CELL_SHARE, shares.max()))


def pointing_hit(word_map: np.ndarray, on: np.ndarray) -> bool:
    """Whether the largest cell of a map (y, x) is on the element: the pointing game (Zhang et al. 2016)."""
    return bool(on.reshape(-1)[int(np.argmax(word_map))])


def threshold(word_map: np.ndarray) -> np.ndarray:
    """Cells above the map's mean plus its standard deviation, bool (y, x).

    One line, nothing to tune, and the same for any scale and offset of the map, so that [V]'s
    small probabilities and a category's large ones are treated alike. A flat map has no cells.
    """
    mean, spread = float(np.mean(word_map, dtype=float)), float(np.std(word_map, dtype=float))
    return word_map > mean + max(
        spread, 1e-6 * abs(mean)
    )  # rounding alone lifts no cell of a flat map


def iou(word_map: np.ndarray, on: np.ndarray) -> float:
    """Intersection over union of the thresholded map and the element's cells, in [0, 1]."""
    seen = threshold(word_map)
    union = (seen | on).sum()
    return float((seen & on).sum() / union) if union else 0.0


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Histogram intersection of two maps (y, x), each normalised to sum 1: in [0, 1], 1 if they are alike."""
    return float(np.minimum(a / max(a.sum(), 1e-12), b / max(b.sum(), 1e-12)).sum())


# ---------------------------------------------------------------- CLIP's embeddings


@torch.no_grad()
def embed_images(clip: Clip, images: Sequence[np.ndarray], batch: int = 64) -> np.ndarray:
    """CLIP image embeddings (n, c) of uint8 (h, w, 3) pictures of any sizes."""
    parts = []
    for start in range(0, len(images), batch):
        pixels = clip.processor(
            images=list(images[start : start + batch]), return_tensors="pt"
        ).pixel_values
        parts.append(
            _features(clip.model.get_image_features(pixel_values=pixels.to(clip.model.device)))
        )
    return np.concatenate(parts)


@torch.no_grad()
def embed_texts(clip: Clip, texts: Sequence[str]) -> np.ndarray:
    """CLIP text embeddings (n, c)."""
    tokens = clip.tokenizer(
        list(texts),
        padding="max_length",
        truncation=True,
        return_tensors="pt",
        max_length=clip.model.config.text_config.max_position_embeddings,
    )
    return _features(clip.model.get_text_features(input_ids=tokens.input_ids.to(clip.model.device)))


def _features(found) -> np.ndarray:
    """transformers 5 returns an output object, 4 a tensor."""
    return getattr(found, "pooler_output", found).float().cpu().numpy()


# ---------------------------------------------------------------- maps of the concept's photos


@torch.no_grad()
def noised_maps(
    unet,
    scheduler,
    states: Tensor,
    latents: Tensor,
    groups: Sequence[Sequence[int]],
    times: Sequence[int] = TIMES,
    seed: int = 0,
) -> np.ndarray:
    """Where words look in pictures that are there already: noise the latents, and read one step.

    Args:
        states: (1, k, d) text states of one prompt. latents: (n, 4, y, x), scaled.
        groups: g lists of token positions; a group's map is the mean of its pieces'.

    Returns:
        float32 (n, t, g, y, x), averaged over heads and over the layers at the latents' own
        resolution (all layers where none has it).
    """
    generator, height = torch.Generator().manual_seed(seed), latents.shape[-2]
    chosen = selection(states.shape[1], groups)
    aspect = latents.shape[-1] / height
    by_time = []
    for time in times:
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        at = torch.full((len(latents),), time, device=latents.device, dtype=torch.long)
        noisy = scheduler.add_noise(latents, noise, at).to(states.dtype)
        with capture_attention(unet, chosen, grad=False) as capture:
            unet(noisy, at, encoder_hidden_states=states.expand(len(latents), -1, -1))
        try:
            maps = aggregate(capture.layers, resolution=height, aspect=aspect)
        except ValueError:  # no cross-attention at the latents' resolution
            maps = aggregate(capture.layers, size=tuple(latents.shape[-2:]), aspect=aspect)
        by_time.append(maps.cpu())
    return torch.stack(by_time, 1).numpy()


def photo_maps(
    model: Result | SavedResult | Base,
    concept: Concept,
    *,
    template: str = "a photo of a {}",
    times: Sequence[int] = TIMES,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Maps of [V] and, where the prompt names it, of the category in the concept's own photos.

    Returns:
        {"v": (n, t, y, x), "category": (n, t, y, x)}. A base model has no [V]: its "v" is the
        category's map.
    """
    subject = _Subject.of(model, concept)
    ids, groups = subject.positions(template)
    states = subject.text_encoder(input_ids=ids[None]).last_hidden_state
    maps = noised_maps(
        subject.unet,
        subject.base.scheduler,
        states,
        subject.latents(),
        list(groups.values()),
        times,
        seed,
    )
    return {name: maps[:, :, k] for k, name in enumerate(groups)}


@dataclass
class _Subject:
    """What a personalized model and a base model have in common for the measurements."""

    base: Base
    unet: torch.nn.Module
    tokenizer: object
    text_encoder: torch.nn.Module
    concept: Concept
    words: list[str]  # [V]'s tokens; none for a base model
    says: str  # what ``{}`` becomes
    recipe: str
    model: object

    @classmethod
    def of(cls, model: Result | SavedResult | Base, concept: Concept | None) -> _Subject:
        if hasattr(model, "learner"):
            learner, token = model.learner, model.token
            return cls(
                learner.base,
                learner.unet,
                token.tokenizer,
                token.text_encoder,
                concept or learner.concept,
                list(token.words),
                model.subject,
                learner.recipe.name,
                model,
            )
        if concept is None:
            raise MetricError(
                "a base or saved model does not carry the concept's photos: pass concept="
            )
        if hasattr(model, "words"):  # a saved result: its base is the personalized model itself
            parts = model.base
            return cls(
                parts,
                parts.unet,
                parts.tokenizer,
                parts.text_encoder,
                concept,
                list(model.words),
                model.subject,
                model.info.get("recipe", "saved"),
                model,
            )
        return cls(
            model,
            model.unet,
            model.tokenizer,
            model.text_encoder,
            concept,
            [],
            concept.category,
            "base",
            model,
        )

    @property
    def side(self) -> int:
        """Pixels of the model's pictures."""
        return self.base.side

    def positions(self, template: str) -> tuple[Tensor, dict[str, list[int]]]:
        """Token ids (k,) of the filled template, and the positions of "v" and "category" in it."""
        text = template.replace("{}", self.says)
        if len(self.words) > 1:
            text = self.model.expand(text)
        length = self.tokenizer.model_max_length
        row = self.tokenizer(
            text, padding="max_length", max_length=length, truncation=True
        ).input_ids
        category = self.tokenizer(self.concept.category, add_special_tokens=False).input_ids
        v = (
            [k for k, i in enumerate(row) if i in self.tokenizer.convert_tokens_to_ids(self.words)]
            if self.words
            else []
        )
        starts = [k for k in range(length) if row[k : k + len(category)] == category]
        groups = {"v": v} if v else {}
        if starts:
            groups["category"] = list(range(starts[0], starts[0] + len(category)))
        groups.setdefault("v", groups.get("category", []))
        return torch.tensor(row, device=self.base.device), groups

    def latents(self) -> Tensor:
        """The photos' own latents, (n, 4, y, x): the means of the plain centred views."""
        return encode_views(self.base, self.concept, 1, 0, CENTRED).mean

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], **call) -> Generation:
        if not self.words:
            prompts = [p.replace("{}", self.says) for p in prompts]
        return generate(self.model, prompts, seeds, **call)


def map_quality(
    maps: Mapping[str, np.ndarray], masks: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """How well the maps of :func:`photo_maps` lie on the subject, per photo and timestep.

    Args:
        maps: "v" (and perhaps "category") -> (n, t, y, x). masks: n bool (h, w).

    Returns:
        Name -> (n * t,): "pointing" and "iou" of [V] and of the category, in [0, 1];
        "pointing_chance", the share of cells on the subject; and "ratio", [V]'s mean attention
        over the category's (1 is the regularizer's aim, paper section 3.2), >= 0.
    """
    found: dict[str, list[float]] = {}
    for name, end in (("v", ""), ("category", "_category")):
        for by_time, mask in zip(maps.get(name, ()), masks):
            on = cells_on(mask_cells(mask, by_time.shape[-2:]))
            for word_map in by_time:
                found.setdefault("pointing" + end, []).append(float(pointing_hit(word_map, on)))
                found.setdefault("iou" + end, []).append(iou(word_map, on))
                if name == "v":
                    found.setdefault("pointing_chance", []).append(float(on.mean()))
    if "category" in maps:
        found["ratio"] = list((maps["v"].mean((2, 3)) / maps["category"].mean((2, 3))).reshape(-1))
    return {name: np.array(values, dtype=float) for name, values in found.items()}


def word_overlaps(
    generation: Generation, v_words: Sequence[str], category: str
) -> dict[str, np.ndarray]:
    """How much [V]'s map during generation is also another word's.

    Returns:
        "overlap_category" and "overlap_others", (n,) each in [0, 1]. Others are the content words
        beside [V] and its category, averaged; NaN where a prompt has none. Low is good for the
        others: a [V] that looks everywhere (Textual Inversion, paper figure 2) takes their place.
    """
    own = set(category.lower().split())
    with_category, with_others = [], []
    for picture, words in enumerate(generation.words):
        maps = generation.maps[picture].mean(0)  # (g, y, x), over the sampling steps
        kind = [
            (
                "v"
                if w in v_words
                else "category"
                if w in own
                else "skip"
                if w in FUNCTION_WORDS
                else "other"
            )
            for w in words
        ]
        chosen = {
            k: [maps[i] for i, what in enumerate(kind) if what == k]
            for k in ("v", "category", "other")
        }
        v = np.mean(chosen["v"] or chosen["category"], axis=0)
        with_category.append(
            overlap(v, np.mean(chosen["category"], axis=0)) if chosen["category"] else np.nan
        )
        with_others.append(
            np.mean([overlap(v, m) for m in chosen["other"]]) if chosen["other"] else np.nan
        )
    return {"overlap_category": np.array(with_category), "overlap_others": np.array(with_others)}


# ---------------------------------------------------------------- pictures, scored


def score_pictures(
    images: np.ndarray,
    asks: Sequence[Mapping[str, str]],
    concept: Concept,
    *,
    judge=None,
    clip: Clip | None = None,
    texts: Sequence[str] = (),
) -> tuple[dict[str, np.ndarray], dict[str, list[float]]]:
    """Score pictures, wherever they come from.

    Args:
        images: uint8 (n, h, w, 3). asks: what each picture's prompt asks for.
        judge: an object like :func:`adb_core.base.load_judge`'s, or None.
        clip: or None. texts: the prompts in plain words, for CLIP-T.

    Returns:
        Values (n,) by name, NaN where a picture does not count, and the hits of each label. Names:
        "identity" [-1, 1]; "text" [0, 1], the share of the asked attributes found; "category"
        0 or 1, whether it still is one; "leakage" and "leakage_named" 0 or 1, only of pictures
        that can leak, so perhaps fewer than n; "clip_i" and "clip_t" [-1, 1].
    """
    values: dict[str, np.ndarray] = {}
    hits: dict[str, list[float]] = {}
    if judge is not None:
        read = judge.read(images)
        values["identity"] = cosine_to_mean(
            judge.identity(images), judge.identity(concept.squares(images.shape[1]))
        )
        values["text"], hits = found_shares(read, asks), attribute_hits(read, asks)
        values["category"] = np.array(
            [float(word == concept.category) for word in read["category"]]
        )
        trained = training_places(concept)
        values["leakage"] = leaks(read["place"], asks, trained)
        values["leakage_named"] = leaks(read["place"], asks, trained, named=True)
    if clip is not None:
        embedded = embed_images(clip, images)
        values["clip_i"] = mean_cosine(embedded, embed_images(clip, concept.images))
        if len(texts):
            values["clip_t"] = paired_cosine(embedded, embed_texts(clip, texts))
    return values, hits


# ---------------------------------------------------------------- all of it


def evaluate_result(
    result: Result | SavedResult | Base,
    prompts: Sequence[str | Mapping],
    seeds: Sequence[int],
    *,
    concept: Concept | None = None,
    base: Base | None = None,
    judge="auto",
    clip="auto",
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    batch: int = 16,
    map_seed: int = 0,
    drift_seeds: Sequence[int] = (0, 1, 2, 3),
    progress: bool = False,
    generation: Generation | None = None,
) -> dict:
    """Generate every prompt with every seed and measure everything that can be measured.

    Args:
        result: a personalized model; or a saved one, or a base model (``{}`` is then the category:
            what the world looks like before training), both with ``concept``.
        prompts: texts with ``{}``, or {"prompt": text, "asks": {label: word}} as in ``data/prompts``.
        base: what drift is measured against; None is the model that the training started from.
        judge, clip: "auto" uses the bundled ones where the pictures are the toy world's; None does
            without; or objects like those of :func:`load_judge` and :func:`load_clip`.
        drift_seeds: pictures of the plain category that are compared with the base model's; empty: none.
        generation: pictures made already, of the same prompts and seeds, instead of new ones.

    Returns:
        A dict that JSON can say: what was measured; "scores", name -> mean, low, high, count (see
        :func:`score_pictures`, :func:`map_quality`, :func:`word_overlaps`; "drift_pixels" [0, 1] and
        "drift_clip_i" [-1, 1] of plain prompts); "by_label", the same of each asked label; "values",
        the single numbers behind the scores; and "left_out", name -> why.

    Raises:
        MetricError: no prompts, or ``generation`` is of others.
        BaseModelError: a bundled judge or CLIP that should be there is not.
    """
    subject = _Subject.of(result, concept)
    entries = [{"prompt": p, "asks": {}} if isinstance(p, str) else dict(p) for p in prompts]
    if not entries or not len(seeds):
        raise MetricError("give at least one prompt and one seed to evaluate")
    left_out: dict[str, str] = {}
    judge, clip = _tools(subject, judge, clip, left_out)
    call = dict(steps=steps, guidance=guidance, batch=batch)
    templates = [e["prompt"] for e in entries]
    if generation is None:
        generation = subject.generate(
            templates, seeds, maps=True, resolution=_map_height(subject), progress=progress, **call
        )
    if len(generation.images) != len(entries) * len(seeds):
        raise MetricError(
            f"{len(entries)} prompts x {len(seeds)} seeds are not {len(generation.images)} pictures: pass the generation of these prompts"
        )
    asks = [e.get("asks", {}) for e in entries for _ in seeds]
    texts = [t.replace("{}", subject.concept.category) for t in templates for _ in seeds]
    values, hits = score_pictures(
        generation.images, asks, subject.concept, judge=judge, clip=clip, texts=texts
    )
    values |= _map_values(subject, generation, map_seed, left_out)
    values |= _drift_values(subject, base, clip, drift_seeds, call, left_out)
    if judge is not None and not training_places(subject.concept):
        left_out["leakage"] = "the concept does not say where its photos were taken"
        values = {name: v for name, v in values.items() if not name.startswith("leakage")}
    return {
        **_facts(subject, templates, seeds, steps, guidance),
        "scores": _scores(values),
        "by_label": {label: _interval(found) for label, found in hits.items()},
        "values": {
            name: [None if math.isnan(x) else round(float(x), 6) for x in v]
            for name, v in values.items()
        },
        "left_out": left_out,
    }


def _facts(subject: _Subject, templates, seeds, steps, guidance) -> dict:
    return {
        "concept": subject.concept.name,
        "category": subject.concept.category,
        "recipe": subject.recipe,
        "base_model": subject.base.name,
        "prompts": list(templates),
        "seeds": [int(s) for s in seeds],
        "steps": steps,
        "guidance": guidance,
    }


def _interval(values) -> dict:
    """An interval as JSON says it, rounded to what is worth reading."""
    return {name: round(value, 5) for name, value in bootstrap(values)._asdict().items()}


def _scores(values: Mapping[str, np.ndarray]) -> dict[str, dict]:
    finite = {name: v[~np.isnan(v)] for name, v in values.items()}
    return {name: _interval(v) for name, v in finite.items() if len(v)}


def _tools(subject: _Subject, judge, clip, left_out: dict) -> tuple:
    """The judge and the CLIP to use; a reason in ``left_out`` where there is none."""
    ours = subject.side == JUDGE_SIDE
    why = f"the bundled {{}} knows only the toy world's {JUDGE_SIDE}x{JUDGE_SIDE} pictures; this model makes {subject.side}x{subject.side}"
    if isinstance(judge, str):
        judge = load_judge(str(subject.base.device)) if ours else None
        if judge is None:
            left_out |= {
                name: why.format("judge") for name in ("identity", "text", "category", "leakage")
            }
    elif judge is None:
        left_out |= {
            name: "no judge was given" for name in ("identity", "text", "category", "leakage")
        }
    if isinstance(clip, str):
        clip = load_clip(device=str(subject.base.device)) if ours else None
        if clip is None:
            left_out |= {
                name: why.format("CLIP") + ": pass clip=load_clip(hub id)"
                for name in ("clip_i", "clip_t")
            }
    elif clip is None:
        left_out |= {name: "no CLIP was given" for name in ("clip_i", "clip_t")}
    return judge, clip


def _map_height(subject: _Subject) -> int | None:
    """The latents' height if the U-Net's first block, which works there, has cross-attention; else None: all layers."""
    first = subject.unet.config.down_block_types[0]
    return subject.unet.config.sample_size if "CrossAttn" in first else None


def _map_values(
    subject: _Subject, generation: Generation, seed: int, left_out: dict
) -> dict[str, np.ndarray]:
    values: dict[str, np.ndarray] = {}
    if subject.concept.masks:
        values = map_quality(
            photo_maps(subject.model, subject.concept, seed=seed), subject.concept.masks
        )
        if "ratio" not in values:
            left_out["ratio"] = "this recipe's prompts do not name the category"
    else:
        left_out |= {
            name: "the concept has no masks of its photos" for name in ("pointing", "iou", "ratio")
        }
    if generation.maps is None:
        left_out["overlap_others"] = "the pictures were generated without recording attention"
        return values
    v_words = subject.words or [
        w for w, _ in prompt_words(subject.tokenizer, subject.concept.category)
    ]
    return values | word_overlaps(generation, v_words, subject.concept.category)


def _drift_values(
    subject: _Subject, base: Base | None, clip, seeds, call: dict, left_out: dict
) -> dict[str, np.ndarray]:
    """How far pictures of the plain category have moved from the base model's."""
    base = base or subject.base
    if not len(seeds):
        left_out["drift_pixels"] = "no seeds for it were given"
        return {}
    if subject.unet is base.unet:
        why = (
            "this is the base model"
            if not subject.words
            else "the untrained model is not at hand: pass base="
        )
        left_out["drift_pixels"] = why
        return {}
    prompt = f"a photo of a {subject.concept.category}"
    before = generate(base, prompt, seeds, **call).images
    # Rows of the new word apart, the text encoder is the base's: the U-Net alone can have moved.
    after = generate(replace(subject.base, unet=subject.unet), prompt, seeds, **call).images
    values = {"drift_pixels": pixel_difference(before, after)}
    if clip is not None:
        values["drift_clip_i"] = paired_cosine(
            embed_images(clip, before), embed_images(clip, after)
        )
    return values
