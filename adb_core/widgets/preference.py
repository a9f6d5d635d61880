"""The study's other face: a rater votes inside a notebook, with the same engine as in the page."""

from __future__ import annotations

import time

import ipywidgets
import numpy as np

from ..images import read_image
from ..pictures import enlarge, side_by_side, stacked
from ..preference.session import Session
from ..preference.study import LEFT, QUESTIONS, RIGHT, SAME, Study
from ..preference.votes import Votes
from .panel import Panel, guarded

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
        folder = self.session.study.folder
        photos = [enlarge(read_image(folder / file), PHOTO_SIDE) for file in trial["photos"]]
        pair = [enlarge(read_image(folder / trial[side])) for side in (LEFT, RIGHT)]
        above, below = side_by_side(*photos), side_by_side(*pair, gap=24)
        width = max(above.shape[1], below.shape[1])
        self.paint(stacked(_widened(above, width), _widened(below, width), gap=16))
        self.say(f"{trial['done'] + 1} of {trial['of']}: “{trial['text']}”")

    def vote(self) -> None:
        """Store the answers and show the next two pictures; what Next does."""
        if self.trial is None or self.next.disabled:
            return
        answers = {question: row.value for question, row in self.questions.items()}
        took = round(1000 * (time.monotonic() - self._began))
        self._show(self.session.vote(self.code, self.trial["number"], answers, took)["next"])


def _widened(picture: np.ndarray, width: int) -> np.ndarray:
    """White at the right, up to a width."""
    return np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=255)
