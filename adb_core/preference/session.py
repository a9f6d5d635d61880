"""What a rater's face of a study, a page or a widget, may ask; nothing here knows of HTTP."""

from __future__ import annotations

from .study import PHOTOS, PICTURES, QUESTIONS, Study
from .trials import trials_of
from .votes import Votes


class Session:
    """A study with its votes, as raters see it: never which recipe, never which kind of trial.

    Attributes:
        files: the only ones that raters may see, from the study's folder.
    """

    def __init__(self, study: Study, votes: Votes):
        self.study, self.votes = study, votes
        names = {file for pair in study.pairs for file in (pair.a, pair.b)}
        self.files = {f"{PICTURES}/{name}" for name in names}
        self.files |= {f"{PHOTOS}/{name}" for files in study.photos.values() for name in files}

    def enroll(self, name: str, code: str = "") -> dict:
        """{"code": ..., "next": the first trial}."""
        code = self.votes.enroll(name, code)
        return {"code": code, "next": self.trial(code)}

    def trial(self, code: str) -> dict | None:
        """The next trial of whoever has this code; None after the last."""
        left = self.pending(code)
        return left[0] if left else None

    def pending(self, code: str) -> list[dict]:
        """All trials that are still to be answered, in order."""
        rater = self.votes.rater(code)
        trials, done = trials_of(self.study, rater), self.votes.done(rater)
        return [
            {
                "number": trial.number,
                "done": len(done),
                "of": len(trials),
                "text": trial.pair.text,
                "left": f"{PICTURES}/{trial.left}",
                "right": f"{PICTURES}/{trial.right}",
                "photos": [f"{PHOTOS}/{f}" for f in self.study.photos[trial.pair.concept]],
                "questions": QUESTIONS,
            }
            for trial in trials
            if trial.number not in done
        ]

    def vote(self, code: str, number: int, answers: dict, milliseconds: int) -> dict:
        """Stores the answers, then hands out the next trial."""
        self.votes.add(self.votes.rater(code), number, answers, milliseconds)
        return {"stored": number, "next": self.trial(code)}
