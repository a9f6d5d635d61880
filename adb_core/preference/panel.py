"""A panel of simulated raters whose taste is known, to see whether the analysis finds it.

A program's votes say nothing about people. They are marked in the database and in the raters'
names, never mixed with a person's, and called simulated wherever they are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..images import read_image, view
from .study import LEFT, PHOTOS, PICTURES, QUESTIONS, RIGHT, SAME, Study, StudyError, read_key
from .trials import CATCH, Trial, generator, trials_of
from .votes import SIMULATED, Votes

Utilities = Mapping[str, Mapping[str, tuple[float, float]]]  # question -> pair -> (of a, of b)


@dataclass(frozen=True)
class Panel:
    """How simulated raters differ from one another; utilities are in logits.

    Attributes:
        raters: how many; spread: standard deviation of what each rater adds to a pair's difference;
            indifference: differences below it, noise included, become "no difference"; lapses: the
            share of trials that are answered without looking.
    """

    raters: int
    spread: float = 0.3
    indifference: float = 0.0
    lapses: float = 0.0
    seed: int = 0


def recipe_taste(
    study: Study, strengths: Mapping[str, float], concept_spread: float = 0.0, seed: int = 0
) -> Utilities:
    """Every picture is as good as its recipe, by every question: the taste that is to be found.

    Args:
        strengths: recipe -> its strength over all concepts, in logits.
        concept_spread: standard deviation of what each concept adds to each recipe's strength.

    Raises:
        StudyError: a recipe of the study has no strength, or the spread is negative.
    """
    key = read_key(study)
    recipes = {name for pair in key.values() for name in pair}
    if set(strengths) != recipes:
        raise StudyError(
            f"a taste needs one strength for each of {', '.join(sorted(recipes))}, "
            f"got {', '.join(sorted(strengths)) or 'none'}"
        )
    if not concept_spread >= 0:
        raise StudyError(f"concept_spread must be at least 0, got {concept_spread}")
    rng = generator("concepts", seed)
    own = {
        (concept, recipe): strengths[recipe] + float(rng.normal(0, concept_spread))
        for concept in sorted(study.photos)
        for recipe in sorted(recipes)
    }
    concepts = {pair.id: pair.concept for pair in study.pairs}
    pairs = {id: (own[concepts[id], a], own[concepts[id], b]) for id, (a, b) in key.items()}
    return {question: pairs for question in QUESTIONS}


def judge_taste(study: Study, scale: float = 10.0) -> Utilities:
    """The subject by the bundled judge, the text by the bundled CLIP, overall by both.

    Args:
        scale: logits for a cosine of 1; what is left to chance is a logistic noise of scale 1.
    """
    from ..judges import judged_side, load_clip, load_judge
    from ..metrics import cosine_to_mean, embed_images, embed_texts, paired_cosine

    judge, clip, side = load_judge(), load_clip(), judged_side()

    def squares(names: Sequence[str]) -> np.ndarray:  # uint8 (n, side, side, 3)
        return np.stack([view(read_image(study.folder / name), side) for name in names])

    photos = {
        name: judge.identity(squares([f"{PHOTOS}/{file}" for file in files]))
        for name, files in study.photos.items()
    }
    found: dict[str, dict[str, tuple[float, float]]] = {question: {} for question in QUESTIONS}
    for pair in study.pairs:
        images = squares([f"{PICTURES}/{name}" for name in (pair.a, pair.b)])
        likeness = cosine_to_mean(judge.identity(images), photos[pair.concept])
        texts = np.repeat(embed_texts(clip, [pair.text]), 2, 0)
        following = paired_cosine(embed_images(clip, images), texts)
        both = (likeness + following) / 2
        for question, values in zip(QUESTIONS, (likeness, following, both), strict=True):
            found[question][pair.id] = (float(scale * values[0]), float(scale * values[1]))
    return found


def panel_answers(
    study: Study, taste: Utilities, panel: Panel
) -> Iterator[tuple[str, list[tuple[Trial, dict[str, str], int]]]]:
    """Each simulated rater's name with the answers to all of its trials."""
    for number in range(panel.raters):
        name = f"{SIMULATED}{number + 1:03d}"
        rng = generator("panel", study.id, panel.seed, number)
        own: dict[str, float] = {}  # the rater's own leaning for each pair
        answered = []
        for trial in trials_of(study, name):
            if trial.pair.id not in own:
                own[trial.pair.id] = float(rng.normal(0, panel.spread))
            answers = {
                question: _answer(trial, taste[question][trial.pair.id], own, panel, rng)
                for question in QUESTIONS
            }
            answered.append((trial, answers, 0))
        yield name, answered


def _answer(
    trial: Trial,
    utilities: tuple[float, float],
    own: Mapping[str, float],
    panel: Panel,
    rng: np.random.Generator,
) -> str:
    if rng.random() < panel.lapses:
        return (LEFT, RIGHT)[int(rng.integers(2))]
    if trial.kind == CATCH:
        return SAME  # whoever looks sees that it is one picture
    a, b = utilities
    better = a - b + own[trial.pair.id] + float(rng.logistic())  # a wins as Bradley-Terry says
    if abs(better) < panel.indifference:
        return SAME
    return LEFT if (better > 0) == (trial.left == trial.pair.a) else RIGHT


def simulate(study: Study, votes: Votes, taste: Utilities, panel: Panel) -> int:
    """Let the panel vote; returns how many trials it has answered.

    Raises:
        StudyError: people have voted in this study, or it has its raters.
    """
    count = 0
    for name, answered in panel_answers(study, taste, panel):
        votes.enroll(name, simulated=True)
        votes.add_all(name, answered)
        count += len(answered)
    return count
