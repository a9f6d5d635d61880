"""What all cells of a study share, and how a model is measured on it.

Axes: n pictures, p prompts, t true pictures of a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import numpy as np

from ..base import Base, Drawable
from ..concept import Concept, bundled_concepts
from ..generation import Sampling, generate
from ..judges import Clip, load_clip, load_judge
from ..metrics.attributes import leaks, training_places
from ..metrics.ceilings import true_rounds
from ..metrics.evidence import Pictures
from ..metrics.maps import photo_maps
from ..metrics.pointing import map_distances, map_quality
from ..metrics.registry import PICTURE_METRICS, measure
from ..metrics.truth import Compared, Truth, diversity, score_against_truth, spread
from ..system.fingerprints import fingerprint, json_fingerprint
from .plan import CEILING, OTHER, SHUFFLED, UNTRAINED, Plan, StudyError, check_prompts

FORMAT = 1
BATCH = 16
TRUTH_SEED = 70_000  # far from every seed that pictures are drawn with
PICTURE_SCORES = ("identity", "text", "category", "clip_i", "clip_t")
TRUTH_SCORES = ("identity_share", "complete", "joint", "pose_leakage")


def weights_of(module: Any) -> str:
    """A short hash of a module's weights: which judge, or which CLIP, it is."""
    digests = [
        fingerprint([name, t.detach().cpu().contiguous().numpy().tobytes()])
        for name, t in sorted(module.state_dict().items())
    ]
    return fingerprint(digests)[:16]


@dataclass
class Bench:
    """A model, who judges it, and what is asked of it.

    Attributes:
        labels: what the judge can read, label -> words.
        clip: for CLIP's scores; None does without.
        known: fingerprints of model, judge and CLIP.
    """

    base: Base
    plan: Plan
    judge: Any
    labels: Mapping[str, Sequence[str]]
    clip: Clip | None = None
    known: dict[str, str] = field(default_factory=dict)
    _truth: dict[str, Truth] = field(default_factory=dict)
    _before: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def load(cls, base: Base, plan: Plan) -> Bench:
        """With the bundled judge and CLIP.

        Raises:
            BaseModelError: one of them is missing or damaged.
            StudyError: prompts that cannot be scored, or pictures of a size the judge cannot read.
        """
        judge, clip = load_judge(str(base.device)), load_clip(device=str(base.device))
        config = judge.config
        if base.side != config.size:
            raise StudyError(
                f"the judge reads pictures of {config.size}x{config.size} pixels, the base model "
                f"makes {base.side}x{base.side}: name the data folder that belongs to it, --data"
            )
        check_prompts(plan.prompts, config.labels)
        known = {"base model": base.fingerprint(), "judge": weights_of(judge)}
        return cls(base, plan, judge, config.labels, clip, known | {"CLIP": weights_of(clip.model)})

    # ------------------------------------------------------------ fingerprints

    def fingerprint(self, recipe: str, concept: Concept, seed: int, rate: float = 1.0) -> str:
        """Of everything that a cell's numbers depend on, 16 hexadecimal digits."""
        pictures = [f"{i.shape}".encode() + i.tobytes() for i in (*concept.images, *concept.masks)]
        settings = asdict(self.plan) | dict.fromkeys(("recipes", "concepts", "seeds", "rates"))
        settings.pop("total")  # the recipe's own steps say it
        what = [FORMAT, self.known, settings, recipe, seed, concept.info.get("instance")]
        if recipe not in UNTRAINED:
            what += [asdict(self.plan.long(recipe, rate)), self.plan.marks(recipe)]
        words = [concept.placeholder, concept.category, json_fingerprint(what)]
        return fingerprint([*words, *pictures], separator=b"\0")[:16]

    # ------------------------------------------------------------ what is drawn

    def truth(self, concept: Concept) -> Truth:
        """The true pictures of a concept; the last concept's are kept."""
        if concept.name not in self._truth:
            self._truth.clear()
            seeds = [TRUTH_SEED + k for k in range(self.plan.truth)]
            images = true_rounds(concept, self.plan.asks, seeds, self.base)
            self._truth[concept.name] = Truth(images, self.plan.asks, concept, self.judge)
        return self._truth[concept.name]

    def picture_seeds(self, seed: int, count: int) -> list[int]:
        """Of the pictures of a training: others for each of its seeds, the same for all recipes."""
        return [1000 * seed + k for k in range(count)]

    def draw(self, model: Drawable, prompts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        """Pictures of prompts with ``{}``; a base model reads the category instead."""
        how = Sampling(steps=self.plan.steps, guidance=self.plan.guidance, batch=BATCH)
        return generate(model, list(prompts), list(seeds), how).images

    def plainly(self, model: Drawable, concept: Concept, prompts: Sequence[str]) -> list[str]:
        """What a model is given: a base model knows no concept and reads the category."""
        if model.words:
            return list(prompts)
        return [prompt.replace("{}", concept.category) for prompt in prompts]

    def unworded(self, model: Drawable) -> Any:
        """A trained model without its word: its U-Net, and the untouched text encoder."""
        return replace(cast(Any, model.base), unet=model.unet)

    def unrelated(self, concept: Concept) -> list[str]:
        """Prompts about other categories."""
        others = [word for word in self.labels["category"] if word != concept.category]
        count = min(self.plan.unrelated, len(others))
        return [f"a photo of a {others[k * len(others) // count]}" for k in range(count)]

    # ------------------------------------------------------------ what is measured

    def moment(self, model: Drawable, concept: Concept, seed: int) -> dict[str, Any]:
        """Text and identity, and what goes with them, of every prompt; as JSON says it."""
        compared = self._compared(model, concept, seed)
        return self._scored(compared)

    def control(self, which: str, concept: Concept, seed: int) -> dict[str, Any]:
        """The same of pictures that no model drew: the truth, or the wrong truth."""
        truth = self.truth(concept)
        images = truth.images
        if which == SHUFFLED:
            images = np.roll(images[:, :1], len(images) // 2, axis=0)
        if which == OTHER:
            stranger = Concept.bundled(next_concept(concept.name))
            images = true_rounds(stranger, self.plan.asks, [TRUTH_SEED + 1000], self.base)
        elif which not in (CEILING, SHUFFLED):
            raise StudyError(f"{which!r} is no control: choose {CEILING}, {SHUFFLED} or {OTHER}")
        p, t = images.shape[:2]
        flat = images.reshape(p * t, *images.shape[2:])
        return self._scored(self._beside(flat, concept, np.repeat(np.arange(p), t)))

    def final(self, model: Drawable, concept: Concept, seed: int) -> dict[str, Any]:
        """What is measured once of each training: word, drift, diversity, maps; as JSON says it."""
        compared = self._compared(model, concept, seed)
        if model.words:
            count = min(self.plan.word_prompts, len(self.plan.prompts))
            rows = [k * len(self.plan.prompts) // count for k in range(count)]
            plain = [self.plan.templates[k].replace("{}", concept.category) for k in rows]
            seeds = self.picture_seeds(seed, 1)
            images = self.draw(self.unworded(model), plain, seeds)
            asks = [self.plan.asks[k] for k in rows]
            compared.plain = Pictures(images, asks, concept, self.judge)
            compared.paired = np.array(rows) * self.plan.images
            compared.others = (self._others(concept), self._others(concept, self.unworded(model)))
        maps = photo_maps(model, concept) if concept.masks else {}
        compared.map_distances = map_distances(maps)
        values, left_out = score_against_truth(compared)
        values = {name: v for name, v in values.items() if name not in TRUTH_SCORES}
        values |= self._diverse(model, concept, seed)
        left_out.pop("diversity", None)
        if concept.masks:
            values |= map_quality(maps, concept.masks)
        return {"values": {name: rounded(v) for name, v in values.items()}, "left_out": left_out}

    def _compared(self, model: Drawable, concept: Concept, seed: int) -> Compared:
        prompts = self.plainly(model, concept, self.plan.templates)
        images = self.draw(model, prompts, self.picture_seeds(seed, self.plan.images))
        return self._beside(images, concept, np.repeat(np.arange(len(prompts)), self.plan.images))

    def _beside(self, images: np.ndarray, concept: Concept, rows: np.ndarray) -> Compared:
        """Pictures of the prompts ``rows``, (n,), beside the truth."""
        asks = [self.plan.asks[k] for k in rows]
        texts = [self.plan.templates[k].replace("{}", concept.category) for k in rows]
        pictures = Pictures(images, asks, concept, self.judge, self.clip, texts)
        return Compared(pictures, self.truth(concept), rows)

    def _scored(self, compared: Compared) -> dict[str, Any]:
        pictures = compared.pictures
        values, _ = measure({name: PICTURE_METRICS[name] for name in PICTURE_SCORES}, pictures)
        more, _ = score_against_truth(compared)
        values |= {name: more[name] for name in TRUTH_SCORES if name in more}
        trained = training_places(pictures.concept)
        leaked = leaks(pictures.read["place"], pictures.asks, trained, named=True)
        return {
            "prompts": [int(k) for k in compared.prompts],
            "pictures": {name: rounded(v) for name, v in values.items()},
            "leakage": rounded(leaked),
        }

    def _diverse(self, model: Drawable, concept: Concept, seed: int) -> dict[str, np.ndarray]:
        """Pairs of pictures of three prompts: the first, the middle one and the last."""
        if self.clip is None or self.plan.spread < 2:
            return {}
        from ..metrics.embeddings import embed_images

        chosen = sorted({0, len(self.plan.prompts) // 2, len(self.plan.prompts) - 1})
        prompts = self.plainly(model, concept, [self.plan.templates[k] for k in chosen])
        images = self.draw(model, prompts, self.picture_seeds(seed, self.plan.spread))
        groups = np.repeat(np.arange(len(chosen)), self.plan.spread)
        return {diversity.__name__: spread(embed_images(self.clip, images), groups)}

    def _others(self, concept: Concept, model: Any = None) -> np.ndarray:
        """Pictures of unrelated prompts, by the base model where no other is given."""
        if model is not None:
            return self.draw(model, self.unrelated(concept), [0])
        if concept.category not in self._before:
            drawn = self.draw(self.base, self.unrelated(concept), [0])
            self._before[concept.category] = drawn
        return self._before[concept.category]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What a summary says of the instruments."""
        return {"base": self.base.name, **self.known}


def next_concept(name: str) -> str:
    """The concept after this one in its half, the first after the last: the control's stranger."""
    half = next(names for names in bundled_concepts().values() if name in names)
    return half[(half.index(name) + 1) % len(half)]


def rounded(values: Sequence[float] | np.ndarray) -> list[float | None]:
    """Numbers as JSON says them; what is no number is None."""
    return [None if not np.isfinite(x) else round(float(x), 5) for x in np.asarray(values, float)]


def is_number(*values: Any) -> bool:
    """Whether all are numbers that can be compared by their distance."""
    return all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
