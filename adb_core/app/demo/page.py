"""The demo's report, from top to bottom."""

from __future__ import annotations

from ...learner import Learner
from ..report import Picture, Section, Table

DRAWS = (
    "Simple prompts stand at the left, complex ones at the right. Look for two things: is it the "
    "same individual, and is the rest of the prompt there?"
)
LOOKS = (
    "A word that works looks at its own subject and leaves the rest of the picture to the other "
    "words."
)
PULLS = "The regularizer pulls the mean and the variance of [V]'s maps towards the category's."
STAGES = (
    "Stages; the last three columns average the last tenth of the steps. Attention: [V] / category."
)
MEASURED = (
    "After the last stage, on these six pictures and the concept's photos. "
    "So few pictures give wide intervals."
)


def report_sections(numbers: dict, pictures: dict[str, Picture], learner: Learner) -> list[Section]:
    """All sections; ``numbers`` as of :func:`adb_core.app.demo.numbers.numbers_of`."""
    drift = _drift_text(numbers["drift"])
    return [
        _opening(numbers, learner),
        Section("What it draws", [DRAWS], pictures=[pictures["stages.png"]]),
        Section("Where [V] looks", [LOOKS], pictures=[pictures["attention.png"]]),
        Section("Where [V] is among the words", [drift], pictures=[pictures["drift.png"]]),
        Section("Training", [PULLS], pictures=[pictures["curves.png"]]),
        Section("Measured", *_measured(numbers["evaluation"])),
    ]


def _opening(numbers: dict, learner: Learner) -> Section:
    concept, seconds = learner.concept, numbers["seconds"]
    what = (
        f"A diffusion model of drawn scenes was given {len(concept.images)} pictures of "
        f"{concept.name}, a {concept.category}, and learned a new word for it, "
        f"{concept.placeholder}, which the page calls [V]. Recipe: {learner.recipe.name}; "
        f"seed {learner.seed}; device {numbers['device']} with {numbers['threads']} CPU threads."
    )
    took = (
        f"Training took {seconds['training']:.1f} s, the pictures on the way "
        f"{seconds['pictures']:.1f} s, everything {seconds['total']:.1f} s."
    )
    return Section("", [what, took], [_stage_table(numbers["stages"])])


def _stage_table(stages: dict[str, dict]) -> Table:
    head = ("stage", "steps", "seconds", "loss", "attention mean", "attention variance")
    rows = [
        (
            name,
            str(s["steps"]),
            f"{s['seconds']:.1f}",
            f"{s['loss']:.3f}",
            _pair(s, "mean"),
            _pair(s, "var"),
        )
        for name, s in stages.items()
    ]
    return Table(STAGES, head, rows)


def _pair(stage: dict, what: str) -> str:
    """[V]'s statistic and its category's."""
    v, category = stage.get(f"v_{what}"), stage.get(f"category_{what}")
    if v is None:
        return "not recorded"
    return f"{v:.4g} / none" if category is None else f"{v:.4g} / {category:.4g}"


def _drift_text(drift: dict) -> str:
    near = ", ".join(f"{word} ({cosine:.2f})" for word, cosine in drift["nearest"])
    return (
        f"It ends {drift['distance']:.3f} away from its start, cosine "
        f"{drift['cosine_to_category']:.3f} to its category. Nearest words: {near}."
    )


def _measured(evaluation: dict) -> tuple[list[str], list[Table]]:
    """What was left out, in words, and the table of scores if there are any."""
    missing = evaluation.get("left_out", {}).items()
    rows = [
        (name, f"{s['mean']:.3f}", f"{s['low']:.3f} to {s['high']:.3f}", str(s["count"]))
        for name, s in evaluation.get("scores", {}).items()
    ]
    table = Table(MEASURED, ("score", "mean", "95 % interval", "numbers"), rows)
    return [f"Not measured: {name}: {why}." for name, why in missing], [table] if rows else []
