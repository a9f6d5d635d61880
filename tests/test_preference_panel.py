"""The study's widget: the same votes as in the page, by moving its controls."""

from __future__ import annotations

import pytest
from studies import study

from adb_core.pictures import opened
from adb_core.preference.study import QUESTIONS, Design, StudyError
from adb_core.preference.trials import trials_of
from adb_core.preference.votes import Votes
from adb_core.widgets import PreferencePanel


def test_a_rater_votes_in_a_notebook_and_goes_on_later(tmp_path):
    made = study(tmp_path / "study", design=Design(raters=2, repeats=1, catches=1))
    count = len(trials_of(made, "Ada"))
    with Votes(made) as votes:
        panel = PreferencePanel(made, votes, "Ada")
        assert panel.text == f"1 of {count}: “{trials_of(made, 'Ada')[0].pair.text}”"
        assert opened(panel.picture.value).shape[2] == 3 and panel.next.disabled
        panel.vote()  # not answered yet
        assert votes.all() == []
        panel.questions["subject"].value = "left"
        panel.questions["text"].value = "same"
        assert panel.next.disabled
        panel.questions["overall"].value = "right"
        assert not panel.next.disabled
        before = panel.picture.value
        panel.next.click()
        assert panel.text.startswith("2 of") and panel.next.disabled
        assert panel.picture.value != before
        answers = {v.question: v.answer for v in votes.all()}
        assert answers == {"subject": "left", "text": "same", "overall": "right"}
        again = PreferencePanel(made, votes, "Ada", panel.code)
        for _ in range(count - 1):
            for row in again.questions.values():
                row.value = "left"
            again.next.click()
        assert again.text.startswith("That was all") and again.next.disabled
        assert len(votes.all()) == count * len(QUESTIONS)


def test_mistakes_are_said_in_the_panel(tmp_path):
    made = study(tmp_path / "study")
    with Votes(made) as votes:
        panel = PreferencePanel(made, votes, "Ada")
        with pytest.raises(StudyError, match="is taken"):
            PreferencePanel(made, votes, "Ada")
        votes.seal()
        for row in panel.questions.values():
            row.value = "left"
        panel.next.click()
        assert "closed" in panel.text and votes.all() == []


def test_ballots_show_the_next_trials_and_answer_none(tmp_path):
    made = study(tmp_path / "study", design=Design(raters=1, repeats=1, catches=0))
    with Votes(made) as votes:
        panel = PreferencePanel(made, votes, "Ada")
        figure = panel.ballots(2)
        trials = trials_of(made, "Ada")
        assert [ax.get_title() for ax in figure.axes] == [t.pair.text for t in trials[:2]]
        assert len(panel.ballots(99).axes) == len(trials) and votes.all() == []
        with pytest.raises(ValueError, match="no ballot to draw"):
            panel.ballots(0)
        for row in panel.questions.values():
            row.value = "left"
        panel.next.click()
        assert [ax.get_title() for ax in panel.ballots(1).axes] == [trials[1].pair.text]
