"""What the notebooks share: starting, showing, asking, checking, and keeping what was trained.

Importing this package is cheap: a name loads the file that defines it when it is first used, so
that the first cell can say what a kernel lacks.
"""

from importlib import import_module

_SUBMODULE_OF = {
    "start": "bootstrap", "problems": "bootstrap",
    "check": "exercises", "questions": "exercises", "verdict": "exercises",
    "OutsideBand": "facts", "fact": "facts",
    "Grid": "grid", "Point": "grid", "load_grid": "grid",
    "trained": "kept", "workspace": "kept",
    "Prediction": "predictions", "predict": "predictions",
    "Question": "quizzes", "quiz": "quizzes",
    "show": "showing", "show_clips": "showing", "show_film": "showing",
    "Rehearsal": "studies", "ballot": "studies", "kept_study": "studies", "rehearsal": "studies",
    "Track": "tracks", "Tracks": "tracks", "View": "tracks", "load_tracks": "tracks",
    "StoredStudy": "stored", "stored_study": "stored",
    "interleave": "timing", "times_faster": "timing",
    "changed_weights": "weights", "copy_weights": "weights",
}  # fmt: skip
_SUBMODULES = {"exercises", "world"}

__all__ = sorted({*_SUBMODULE_OF, *_SUBMODULES})


def __getattr__(name: str):
    """Load a public name from its file at first use (PEP 562)."""
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _SUBMODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_SUBMODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
