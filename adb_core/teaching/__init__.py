"""What the notebooks share: showing, asking, checking, and keeping what was trained."""

from .exercises import check, verdict
from .fact import OutsideBand, fact
from .grid import Grid, Point, load_grid
from .kept import trained, workspace
from .predict import Prediction, predict
from .quiz import Question, quiz
from .show import show

__all__ = [
    "Grid",
    "OutsideBand",
    "Point",
    "Prediction",
    "Question",
    "check",
    "fact",
    "load_grid",
    "predict",
    "quiz",
    "show",
    "trained",
    "verdict",
    "workspace",
]
