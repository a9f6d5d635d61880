"""What a study compares, and what speaks against it before anything runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..concept import bundled_concepts
from ..generation import GUIDANCE
from ..metrics.truth import complexity
from ..recipes import RECIPES, Recipe, recipe
from ..system.paths import data_path

BASE, CEILING, SHUFFLED, OTHER = "base", "ceiling", "shuffled_prompts", "another_concept"
UNTRAINED = (BASE, CEILING, SHUFFLED, OTHER)  # rows of every table: where the scale begins and ends
METHOD = "attndreambooth"
HALVES = ("tuning", "held_out")
LEFT_OUT_SETS = ("styles",)  # its pictures are no photos: another question

QUICK_RECIPES = ("textual_inversion", "dreambooth", "ti_dreambooth", METHOD)


class StudyError(ValueError):
    """A study that cannot be run as it was asked for; one line with the cure."""


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        recipes: trained ones; the base model, the ceiling and the controls are always measured.
        concepts: names of bundled ones; seeds: of the trainings.
        prompts: entries {"prompt", "asks"}; images: pictures of each prompt at every moment.
        moments: how often a run is measured on its way, besides where its preset ends.
        longer: how many times its preset's steps a recipe is trained in all; total: instead of
            that, so many steps of all its stages, the same for every recipe.
        rates: what the learning rate of a recipe's last stage is multiplied with; one number
            measures, several tune, with the same effort for every recipe.
        steps, guidance: of a picture's sampling.
        truth: true pictures of each prompt; word_prompts: prompts that are drawn with the plain
            category too; spread: pictures of one prompt for diversity, of three prompts;
            unrelated: other categories that drift is looked for in.
    """

    recipes: tuple[str, ...]
    concepts: tuple[str, ...]
    seeds: tuple[int, ...]
    prompts: tuple[Mapping[str, Any], ...]
    images: int = 1
    moments: int = 8
    longer: float = 1.5
    rates: tuple[float, ...] = (1.0,)
    steps: int = 15
    guidance: float = GUIDANCE
    truth: int = 4
    word_prompts: int = 12
    spread: int = 4
    unrelated: int = 4
    total: int | None = None

    @property
    def templates(self) -> list[str]:
        """The prompts' texts, with ``{}``."""
        return [str(entry["prompt"]) for entry in self.prompts]

    @property
    def asks(self) -> list[dict[str, str]]:
        """What each prompt asks for."""
        return [dict(entry.get("asks", {})) for entry in self.prompts]

    def long(self, name: str, rate: float = 1.0) -> Recipe:
        """A recipe whose last stage is trained on, so that all stages take ``longer`` the steps.

        Args:
            rate: of that stage's learning rates; where the row has its own, their ratio stays.
        """
        plan = recipe(name)
        *earlier, last = plan.stages
        wanted = longer_steps(plan, self.longer) if self.total is None else self.total
        row = last.embedding_lr and last.embedding_lr * rate
        steps = last.steps + wanted - plan.steps
        last = replace(last, steps=steps, lr=last.lr * rate, embedding_lr=row)
        return replace(plan, stages=(*earlier, last))

    def positions(self, name: str) -> tuple[int, ...]:
        """The steps of a recipe's curve, the base model's 0 among them: ``moments`` + 2 of them.

        Even shares of the training, and where its preset ends; two may fall on the same step.
        """
        total = self.long(name).steps
        even = [round(total * k / self.moments) for k in range(self.moments + 1)]
        return tuple(sorted([*even, recipe(name).steps]))

    def marks(self, name: str) -> tuple[int, ...]:
        """After how many steps of all stages a recipe is measured; its preset's end is one."""
        return tuple(sorted(set(self.positions(name)) - {0}))


def longer_steps(plan: Recipe, longer: float) -> int:
    """So many times the steps of a recipe."""
    return round(plan.steps * longer)


# What an edition is where nothing else is asked for. The quick one is made for a quarter of an hour
# on two cores: four recipes, two concepts, twelve prompts, and 216 true pictures. A training and
# its measurements then take about 150 s of one core, half of it for drawing.
FULL = {"per_set": 4, "concepts": None, "seeds": (0, 1, 2), "truth": 4}
QUICK = {
    "per_set": 2, "concepts": 2, "seeds": (0,), "truth": 8, "longer": 1.25,
    "word_prompts": 6,
}  # fmt: skip


def edition(
    quick: bool,
    half: str,
    sets: Sequence[str],
    per_set: int | None,
    moments: int,
    chosen: Mapping[str, Sequence],
) -> Plan:
    """The plan of a command: an edition, and what was asked for instead.

    Args:
        sets, per_set: of prompts. chosen: "recipes", "concepts", "seeds" and "rates"; empty: the
            edition's.

    Raises:
        StudyError: unknown names, a prompt set without prompts, or rates that do not fit.
    """
    how: dict[str, Any] = dict(QUICK if quick else FULL)
    count, usual, seeds = how.pop("per_set"), how.pop("concepts"), how.pop("seeds")
    default = QUICK_RECIPES if quick else RECIPES
    concepts = chosen_concepts(half, chosen["concepts"], usual)
    rates = chosen_rates(chosen["rates"], concepts)
    if len(rates) > 1:  # tuning: as many steps for every recipe as the longest of all takes
        how["total"] = max(longer_steps(recipe(name), how.get("longer", 1.5)) for name in RECIPES)
    return Plan(
        recipes=chosen_recipes(chosen["recipes"], default),
        concepts=concepts,
        rates=rates,
        seeds=tuple(dict.fromkeys(chosen["seeds"])) or seeds,
        prompts=prompt_entries(per_set or count, sets),
        moments=moments,
        **how,
    )


# ---------------------------------------------------------------- prompts


def prompt_entries(per_set: int, names: Sequence[str] = ()) -> tuple[dict, ...]:
    """Bundled prompts, evenly thinned to ``per_set`` of each set, by rising complexity.

    Args:
        names: of sets; none are all of photos.

    Raises:
        StudyError: an unknown set, or one without prompts.
    """
    there = {path.stem: path for path in sorted(data_path("prompts").glob("*.json"))}
    unknown = sorted(set(names) - there.keys())
    if unknown:
        raise StudyError(f"unknown prompt set {unknown[0]!r}: choose from {', '.join(there)}")
    found: list[dict] = []
    for name in names or [name for name in there if name not in LEFT_OUT_SETS]:
        entries = json.loads(there[name].read_text(encoding="utf-8"))["prompts"]
        count = min(per_set, len(entries))
        found += [entries[k * len(entries) // count] for k in range(count)]
    found.sort(key=lambda entry: complexity(entry.get("asks", {})))  # stable
    return tuple(found)


def check_prompts(prompts: Sequence[Mapping], labels: Mapping[str, Sequence[str]]) -> None:
    """Find prompts that cannot be scored.

    Args:
        labels: what the judge knows, label -> words.

    Raises:
        StudyError: no prompts; one without ``{}``; one that asks for what the judge does not know.
    """
    if not prompts:
        raise StudyError("the prompt set is empty: give at least one prompt")
    for entry in prompts:
        text = str(entry.get("prompt", ""))
        if text.count("{}") != 1:
            raise StudyError(f"prompt {text!r} needs exactly one {{}} where the concept goes")
        for label, word in entry.get("asks", {}).items():
            if label not in labels:
                raise StudyError(
                    f"prompt {text!r} asks for a {label}, which the judge does not know: it "
                    f"reads {', '.join(labels)}"
                )
            if word not in labels[label]:
                raise StudyError(
                    f"prompt {text!r} asks for {label} {word!r}, which the judge does not know: "
                    f"it reads {', '.join(labels[label])}"
                )


# ---------------------------------------------------------------- concepts and recipes


def chosen_concepts(half: str, names: Sequence[str] = (), count: int | None = None) -> tuple:
    """Names of concepts: those that are named, else a half's, or its first few.

    Raises:
        StudyError: an unknown half, or concept.
    """
    halves = bundled_concepts()
    if half not in halves:
        raise StudyError(f"unknown half {half!r}: choose tuning or held-out")
    known = [name for each in halves.values() for name in each]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise StudyError(f"unknown concept {unknown[0]!r}: choose from {', '.join(known)}")
    return tuple(names) or tuple(halves[half][:count])


def chosen_recipes(names: Sequence[str], default: Sequence[str]) -> tuple[str, ...]:
    """Names of recipes to train.

    Raises:
        StudyError: an unknown one.
    """
    unknown = [name for name in names if name not in RECIPES]
    if unknown:
        raise StudyError(f"unknown recipe {unknown[0]!r}: choose from {', '.join(RECIPES)}")
    return tuple(dict.fromkeys(names)) or tuple(default)


def chosen_rates(rates: Sequence[float], concepts: Sequence[str]) -> tuple[float, ...]:
    """Factors of learning rates, and 1 where none are given.

    Raises:
        StudyError: one that is not positive, or several on a concept that is held out.
    """
    wrong = [rate for rate in rates if not 0 < rate < 1000]
    if wrong:
        raise StudyError(f"rates must be positive factors, as 0.5 or 2, got {wrong[0]:g}")
    found = tuple(dict.fromkeys(float(rate) for rate in rates)) or (1.0,)
    held_out = [concept for concept in concepts if half_of(concept) == "held_out"]
    if found != (1.0,) and held_out:
        raise StudyError(
            f"concept {held_out[0]!r} is held out, and rates are tuned on the tuning half alone: "
            "use --half tuning, or leave out --rates"
        )
    return found


def half_of(concept: str) -> str:
    """Which half a bundled concept is of."""
    return next(half for half, names in bundled_concepts().items() if concept in names)
