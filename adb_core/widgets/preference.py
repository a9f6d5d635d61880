"""The study's other face: a rater votes inside a notebook, with the same engine as in the page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import ipywidgets
import numpy as np

from .. import plots
from ..images import read_image
from ..pictures import enlarge, side_by_side, stacked
from ..preference.session import Session
from ..preference.study import LEFT, QUESTIONS, RIGHT, SAME, Study
from ..preference.votes import Votes
from .panel import Panel, guarded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PHOTO_SIDE = 96  # pixels
CHOICES = [("left", LEFT), ("no difference", SAME), ("right", RIGHT)]


class PreferencePanel(Panel):
    """Photos above, two pictures below; three questions, then Next. Every vote is stored at once.

    Args:
        study: of :func:`adb_core.preference.study.load_study`. name: the rater's; code: what
            ``code`` was, to go on with the same name in another session.

    Raises:
        StudyError: a name that is taken or none, or a study that takes no more raters.
    """

    def __init__(self, study: Study, votes: Votes, name: str, code: str = ""):
        self.session = Session(study, votes)
        start = self.session.enroll(name, code)
        self.code: str = start["code"]
        self.questions = {
            question: ipywidgets.ToggleButtons(options=CHOICES, value=None, description=question)
            for question in QUESTIONS
        }
        self.next = ipywidgets.Button(description="Next", disabled=True)
        words = [ipywidgets.HTML(text) for text in QUESTIONS.values()]
        rows = [each for pair in zip(words, self.questions.values(), strict=True) for each in pair]
        super().__init__([*rows, self.next], "Which picture?")
        for row in self.questions.values():
            row.observe(self._ready, names="value")
        self.next.on_click(lambda _: guarded(self.vote, self.say))
        self._show(start["next"])

    def _ready(self, _=None) -> None:
        self.next.disabled = any(row.value is None for row in self.questions.values())

    def _show(self, trial: dict | None) -> None:
        self.trial, self._began = trial, time.monotonic()
        for row in self.questions.values():
            row.value, row.disabled = None, trial is None
        self._ready()
        if trial is None:
            self.paint(np.full((1, 1, 3), 255, np.uint8))
            return self.say("That was all. Thank you! Every answer is stored.")
        self.paint(ballot_picture(self.session.study, trial))
        self.say(f"{trial['done'] + 1} of {trial['of']}: “{trial['text']}”")

    def ballots(self, count: int = 3) -> Figure:
        """The next trials side by side, without anybody's answer, for paper and pages.

        Raises:
            ValueError: this rater has no trial left, or ``count`` is none.
        """
        trials = self.session.pending(self.code)[: max(count, 0)]
        if not trials:
            raise ValueError(f"there is no ballot to draw: {count} asked for, or all are answered")
        frames = [ballot_picture(self.session.study, trial) for trial in trials]
        texts = [trial["text"] for trial in trials]
        alt = "Ballots: photos of the concept above two pictures to compare. " + "; ".join(texts)
        height = 2.4 * max(frame.shape[0] / frame.shape[1] for frame in frames)
        return plots.image_grid([frames], column_labels=texts, alt=alt, size=2.4, height=height)

    def vote(self) -> None:
        """Store the answers and show the next two pictures; what Next does."""
        if self.trial is None or self.next.disabled:
            return
        answers = {question: row.value for question, row in self.questions.items()}
        took = round(1000 * (time.monotonic() - self._began))
        self._show(self.session.vote(self.code, self.trial["number"], answers, took)["next"])


def ballot_picture(study: Study, trial: Mapping) -> np.ndarray:
    """What a rater looks at, uint8 (h, w, 3): the photos, and below them two pictures.

    Args:
        trial: as :meth:`adb_core.preference.session.Session.trial` hands it out.
    """
    photos = [enlarge(read_image(study.folder / file), PHOTO_SIDE) for file in trial["photos"]]
    pair = [enlarge(read_image(study.folder / trial[side])) for side in (LEFT, RIGHT)]
    above, below = side_by_side(*photos), side_by_side(*pair, gap=24)
    width = max(above.shape[1], below.shape[1])
    return stacked(_widened(above, width), _widened(below, width), gap=16)


def _widened(picture: np.ndarray, width: int) -> np.ndarray:
    """White at the right, up to a width."""
    return np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=255)
