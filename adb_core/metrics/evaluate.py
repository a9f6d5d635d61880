"""All metrics at once: of pictures wherever they come from, and of a model that draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..base import Drawable
from ..concept import Concept
from ..generation import Generation, generate
from ..judges import Clip, judged_side, load_clip, load_judge
from ..sampling import settled
from .attributes import attribute_hits
from .evidence import EvaluationOptions, Evidence, Pictures
from .intervals import MetricError, bootstrap
from .registry import MODEL_METRICS, PICTURE_METRICS, measure


def score_pictures(
    images: np.ndarray,
    asks: Sequence[Mapping[str, str]],
    concept: Concept,
    *,
    judge: Any = None,
    clip: Clip | None = None,
    texts: Sequence[str] = (),
) -> tuple[dict[str, np.ndarray], dict[str, list[float]]]:
    """Score pictures, wherever they come from.

    Args:
        images: uint8 (n, h, w, 3). asks: what each picture's prompt asks for.
        judge: an object like :func:`adb_core.load_judge`'s, or None.
        clip: or None. texts: the prompts in plain words, for CLIP-T.

    Returns:
        Values (n,) by name, NaN where a picture does not count, and the hits of each label. Names:
        "identity" [-1, 1]; "text" [0, 1], the share of the asked attributes found; "category"
        0 or 1, whether it still is one; "leakage" and "leakage_named" 0 or 1, only of pictures
        that can leak, so perhaps fewer than n; "clip_i" and "clip_t" [-1, 1].
    """
    pictures = Pictures(images, asks, concept, judge, clip, texts)
    values, _ = measure(PICTURE_METRICS, pictures)
    return values, _hits(pictures)


def _hits(pictures: Pictures) -> dict[str, list[float]]:
    return {} if pictures.judge is None else attribute_hits(pictures.read, pictures.asks)


def evaluate_result(
    model: Drawable,
    prompts: Sequence[str | Mapping],
    seeds: Sequence[int],
    options: EvaluationOptions | None = None,
    **changes,
) -> dict:
    """Generate every prompt with every seed and measure everything that can be measured.

    Args:
        model: a personalized model; or a saved one, or a base model (``{}`` is then the category:
            what the world looks like before training), both with ``concept``.
        prompts: texts with ``{}``, or {"prompt": text, "asks": {label: word}} as in
            ``data/prompts``.
        options: see :class:`EvaluationOptions`; changes: its fields, as keywords.

    Returns:
        A dict that JSON can say: what was measured; "scores", name -> mean, low, high, count (the
        names and ranges stand at the metrics in ``adb_core.metrics.registry``); "by_label", the
        same of each asked label; "values", the single numbers behind the scores; and "left_out",
        name -> why.

    Raises:
        MetricError: no prompts, or ``generation`` is of others.
        BaseModelError: a bundled judge or CLIP that should be there is not.
    """
    options = replace(options or EvaluationOptions(), **changes)
    concept = options.concept or model.concept
    if concept is None:
        raise MetricError(
            "a base or saved model does not carry the concept's photos: pass concept="
        )
    entries = [_entry(prompt) for prompt in prompts]
    if not entries or not len(seeds):
        raise MetricError("give at least one prompt and one seed to evaluate")
    pictures, generation = _look(model, concept, entries, seeds, options)
    evidence = Evidence(model, pictures, generation, options.base or model.base, options)
    values, left_out = measure(PICTURE_METRICS, pictures)
    more, also_left_out = measure(MODEL_METRICS, evidence)
    return {
        **_facts(model, concept, [str(e["prompt"]) for e in entries], seeds, options),
        **_summary(values | more, _hits(pictures)),
        "left_out": left_out | also_left_out,
    }


def _entry(prompt: str | Mapping) -> dict[str, Any]:
    """A prompt with what it asks for, as in ``data/prompts``."""
    return {"prompt": prompt} if isinstance(prompt, str) else dict(prompt)


def _look(
    model: Drawable,
    concept: Concept,
    entries: list[dict],
    seeds: Sequence[int],
    options: EvaluationOptions,
) -> tuple[Pictures, Generation]:
    """The pictures with what they should show, and with the maps of their words."""
    templates = [e["prompt"] for e in entries]
    plain = [t.replace("{}", concept.category) for t in templates]
    judge, clip, absent = _tools(model, options)
    generation = options.generation
    if generation is None:  # a base model knows no concept: it reads the category
        asked = templates if model.words else plain
        generation = _draw(model, asked, seeds, options)
    if len(generation.images) != len(entries) * len(seeds):
        raise MetricError(
            f"{len(entries)} prompts x {len(seeds)} seeds are not {len(generation.images)} "
            "pictures: pass the generation of these prompts"
        )
    asks = [e.get("asks", {}) for e in entries for _ in seeds]
    texts = [text for text in plain for _ in seeds]
    pictures = Pictures(generation.images, asks, concept, judge, clip, texts, absent)
    return pictures, generation


def _draw(
    model: Drawable, prompts: list[str], seeds: Sequence[int], options: EvaluationOptions
) -> Generation:
    """The pictures to be measured, with the maps of their words.

    Maps are read at the latents' own height if the U-Net's first block, which works there, has
    cross-attention; else in all layers.
    """
    first = model.unet.config.down_block_types[0]
    return generate(
        model,
        prompts,
        seeds,
        maps=True,
        resolution=model.base.latent_side if "CrossAttn" in first else None,
        progress=options.progress,
        **options.sampling,
    )


def _facts(
    model: Drawable,
    concept: Concept,
    templates: list[str],
    seeds: Sequence[int],
    options: EvaluationOptions,
) -> dict:
    steps, guidance = settled(model, options.steps, options.guidance)
    return {
        "concept": concept.name,
        "category": concept.category,
        "recipe": model.recipe_name,
        "base_model": model.base.name,
        "prompts": list(templates),
        "seeds": [int(s) for s in seeds],
        "steps": steps,
        "guidance": guidance,
    }


def _summary(values: Mapping[str, np.ndarray], hits: Mapping[str, list[float]]) -> dict:
    """Scores with their intervals, and the numbers behind them, as JSON says them."""
    finite = {name: v[~np.isnan(v)] for name, v in values.items()}
    return {
        "scores": {name: _interval(v) for name, v in finite.items() if len(v)},
        "by_label": {label: _interval(single) for label, single in hits.items()},
        "values": {
            name: [None if math.isnan(x) else round(float(x), 6) for x in v]
            for name, v in values.items()
        },
    }


def _interval(values) -> dict:
    """An interval as JSON says it, rounded to what is worth reading."""
    return {name: round(value, 5) for name, value in bootstrap(values)._asdict().items()}


def _tools(model: Drawable, options: EvaluationOptions) -> tuple[Any, Clip | None, dict[str, str]]:
    """The judge and the CLIP to use, and why there is none."""
    judge, clip, absent, side = options.judge, options.clip, {}, model.base.side
    known = judged_side() if isinstance(judge, str) or isinstance(clip, str) else side
    ours, device = side == known, str(model.base.device)
    why = (
        f"the bundled {{}} knows only the toy world's {known}x{known} pictures; "
        f"this model makes {side}x{side}"
    )
    if isinstance(judge, str):
        judge = load_judge(device) if ours else None
        absent["judge"] = why.format("judge")
    if isinstance(clip, str):
        clip = load_clip(device=device) if ours else None
        absent["clip"] = why.format("CLIP") + ": pass clip=load_clip(hub id)"
    return judge, clip, absent
