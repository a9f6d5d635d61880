"""Instant checks of the notebooks' exercises.

``check("02.1", answer)`` runs ``nb02.check_1(answer)``, which returns None if the answer is right
and otherwise one sentence that says what is wrong with it, without giving the solution away.
"""

from __future__ import annotations

from importlib import import_module

from ..quizzes import Question

# what a check says to an untouched stub
DOTS = "the three dots are still there: return your result instead"


def verdict(name: str, answer) -> str | None:
    """None if ``answer`` solves exercise ``name`` ("notebook.number"), else what is wrong with it.

    Raises:
        ValueError: there is no such exercise.
    """
    notebook, _, number = name.partition(".")
    try:
        checks = import_module(f"{__name__}.nb{notebook}")
        test = getattr(checks, f"check_{number}")
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"there is no exercise {name!r}") from error
    if answer is ...:
        return "nothing is there yet: replace the three dots"
    try:
        return test(answer)
    except Exception as error:  # whatever the learner's code raises is an answer to be explained
        return f"it raised {type(error).__name__}: {error}"


def questions(notebook: str) -> tuple[Question, ...]:
    """The quiz of a notebook ("10"), kept here so that a page does not show its answers as code.

    Raises:
        ValueError: that notebook has none here.
    """
    try:
        return import_module(f"{__name__}.nb{notebook}").QUIZ
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"there is no quiz of notebook {notebook!r}") from error


def check(name: str, answer) -> None:
    """Print whether the answer to an exercise is right, and if not, what is wrong with it."""
    wrong = verdict(name, answer)
    print(
        f"Exercise {name}: solved."
        if wrong is None
        else f"Exercise {name}: not yet. {wrong[0].upper()}{wrong[1:]}."
    )


def differs(got, wanted, what: str = "it", tolerance: float = 1e-5) -> str | None:
    """None if arrays, tensors or numbers agree in shape and value, else a sentence on ``what``."""
    import numpy as np

    if got is ...:
        return f"{what} is still the three dots: put your own line in their place"
    if got is None:
        return f"{what} is nothing (None): is there a return?"
    try:
        got, wanted = (
            np.asarray(x.detach() if hasattr(x, "detach") else x, dtype=np.float64)
            for x in (got, wanted)
        )
    except (TypeError, ValueError):
        return f"{what} gave {type(got).__name__}, numbers were expected"
    if got.shape != wanted.shape:
        return f"{what} gave the shape {got.shape}, expected {wanted.shape}"
    worst = float(np.abs(got - wanted).max()) if got.size else 0.0
    return None if worst <= tolerance else f"{what} is off by up to {worst:.3g}"
