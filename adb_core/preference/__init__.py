"""Would people prefer it? A preference study: made, voted in, and counted.

    study      a folder: what is asked, the pictures, and the key apart from both
    making     pictures to a study;  drawing  the pictures of saved models
    trials     what one rater sees, in which order, on which side
    votes      SQLite, one row a vote;  session  what a rater's face of a study may ask
    server     the page in which people vote
    exact      binomial intervals, tests and power;  bradley_terry  one strength for each recipe
    resampling intervals over raters and concepts;  agreement  between raters, and with oneself
    analysis   from votes to answers;  report  the same in words and as CSV
    panel      simulated raters whose taste is known, to test all of this

Importing this package loads none of them: each is loaded when it is first used, as
``adb_core.preference.exact``. None but ``drawing`` and the judge's taste in ``panel`` need torch.
"""

from importlib import import_module
from pkgutil import iter_modules

_FILES = sorted(module.name for module in iter_modules(__path__))


def __getattr__(name: str):
    """Load a file of this package at first use (PEP 562)."""
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_FILES})
