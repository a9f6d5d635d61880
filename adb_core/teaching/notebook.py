"""What the notebooks share: showing a figure with its description, keeping what was trained, checking an exercise."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..base import Base
    from ..concept import Concept
    from ..result import Result
    from ..recipes import Recipe


def show(figure) -> None:
    """Display a figure as a PNG that carries its description; it looks the same on light and dark pages."""
    from IPython.display import display

    from ..plots import alt_text, to_png

    display(
        {"image/png": to_png(figure), "text/plain": "<figure>"},
        raw=True,
        metadata={"image/png": {"alt": alt_text(figure)}},
    )


def workspace() -> Path:
    """Where notebooks keep what they trained: ``out/notebooks`` of the repository, else of the current folder.

    Where nothing may be written there, a folder for temporary files is used, and a line says so.
    """
    import tempfile

    here = Path.cwd()
    root = next(
        (
            p
            for p in (here, *here.parents)
            if (p / "constraints.txt").is_file() and (p / "adb_core").is_dir()
        ),
        here,
    )
    folder = root / "out" / "notebooks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        other = Path(tempfile.gettempdir()) / "adb-notebooks"
        print(
            f"{folder} cannot be written ({error.strerror}): what is trained here is kept in {other}, until that is cleared"
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
    """:func:`adb_core.personalize` with one progress bar, whose result is kept under :func:`workspace`.

    A second call with the same base, concept, recipe and seed loads the finished weights, and a
    call that was interrupted goes on where it stopped; both end with the same numbers as one
    uninterrupted run.
    """
    import ipywidgets
    from IPython.display import display

    from ..checkpoint import FORMAT
    from ..personalization import Run
    from ..recipes import recipe as named

    plan = named(recipe) if isinstance(recipe, str) else recipe
    said = json.dumps(
        [dataclasses.asdict(plan), base.name, base.fingerprint(), concept.name, seed, FORMAT],
        sort_keys=True,
    )
    folder = (
        workspace() / f"{concept.name}-{plan.name}-{hashlib.sha256(said.encode()).hexdigest()[:10]}"
    )
    steps = sum(stage.steps for stage in plan.stages)
    # One bar that is there whether anything is left to train or not: what a cell shows must not depend on the cache.
    bar = ipywidgets.IntProgress(
        value=0, max=steps, description="training", layout={"width": "420px"}
    )
    display(bar)

    try:
        run = Run(base, concept, plan, seed=seed, out=folder, **options)
        bar.value = len(run.result.history)
        for _ in run:
            bar.value += 1
    except BaseException:
        bar.bar_style = "danger"
        raise
    bar.value, bar.bar_style = steps, "success"
    return run.result
