"""Training in a notebook: one bar, and what was trained is kept."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from pathlib import Path

import ipywidgets

from ..base import Base
from ..checkpoint import FORMAT
from ..concept import Concept
from ..personalization import Run
from ..recipes import Recipe, recipe as named
from ..result import Result
from ..system.locks import in_turn


def workspace() -> Path:
    """Where notebooks keep what they trained: ``out/notebooks`` of the repository.

    Outside of a repository it is that of the current folder. Where nothing may be written there, a
    folder for temporary files is used, and a line says so.
    """
    here = Path.cwd()
    roots = [p for p in (here, *here.parents) if (p / "constraints.txt").is_file()]
    root = next((p for p in roots if (p / "adb_core").is_dir()), here)
    folder = root / "out" / "notebooks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        other = Path(tempfile.gettempdir()) / "adb-notebooks"
        print(
            f"{folder} cannot be written ({error.strerror}): what is trained here is kept in "
            f"{other}, until that is cleared"
        )
        other.mkdir(parents=True, exist_ok=True)
        return other


def trained(
    base: Base,
    concept: Concept,
    recipe: str | Recipe = "attndreambooth",
    *,
    seed: int = 0,
    **options,
) -> Result:
    """:func:`adb_core.personalize` with one bar, whose result is kept.

    A second call with the same base, concept, recipe and seed loads the finished weights from
    :func:`workspace`, and a call that was interrupted goes on where it stopped; both end with the
    same numbers as one uninterrupted run. While another notebook trains the very same, this one
    waits, and loads what that one has made.
    """
    from IPython.display import display

    plan = named(recipe) if isinstance(recipe, str) else recipe
    steps = sum(stage.steps for stage in plan.stages)
    # One bar whether anything is left to train or not: what a cell shows must not depend on that.
    bar = ipywidgets.IntProgress(
        value=0, max=steps, description="training", layout={"width": "420px"}
    )
    display(bar)

    def waiting() -> None:
        bar.description = "waiting"

    try:
        folder = _folder(base, concept, plan, seed)
        with in_turn(folder.parent / f"{folder.name}.lock", waiting):
            run = Run(base, concept, plan, seed=seed, out=folder, **options)
            bar.description, bar.value = "training", len(run.result.history)
            for _ in run:
                bar.value += 1
    except BaseException:
        bar.bar_style = "danger"
        raise
    bar.value, bar.bar_style = steps, "success"
    return run.result


def _folder(base: Base, concept: Concept, plan: Recipe, seed: int) -> Path:
    """A folder of this run alone: anything else that it depends on gives another name."""
    model = [base.name, base.fingerprint()]
    identity = [dataclasses.asdict(plan), *model, concept.name, seed, FORMAT]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]
    return workspace() / f"{concept.name}-{plan.name}-{digest}"
