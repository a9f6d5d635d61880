"""Studies in notebooks: one's own is kept with its votes, a rehearsal's truth is found again."""

from __future__ import annotations

import pytest
from studies import concept, pictures

from adb_core.concept import bundled_concepts
from adb_core.preference.analysis import care, order
from adb_core.preference.panel import Panel
from adb_core.preference.study import Design, StudyError
from adb_core.preference.votes import SIMULATED, Votes
from adb_core.teaching import ballot, kept_study, rehearsal, studies

CONCEPTS = {"pico": concept("pico")}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "workspace", lambda: tmp_path)
    return tmp_path


def test_the_same_pictures_open_the_same_study_with_its_votes(folder):
    design = Design(raters=1)
    made = kept_study("mine", pictures(), CONCEPTS, design)
    with Votes(made) as votes:
        panel = ballot(made, votes)
        for row in panel.questions.values():
            row.value = "left"
        panel.next.click()
        assert panel.text.startswith("2 of")
    again = kept_study("mine", pictures(), CONCEPTS, design)
    assert again == made
    with Votes(again) as votes:  # as after a restart of the kernel: nothing but the disk remembers
        assert ballot(again, votes).text.startswith("2 of")
        with pytest.raises(StudyError, match="this study has its 1 raters"):
            ballot(again, votes, "somebody else")
    assert kept_study("mine", pictures(prompts=3), CONCEPTS, design).folder != made.folder
    assert kept_study("mine", pictures(), CONCEPTS, Design(raters=2)).folder != made.folder


def test_a_name_that_is_taken_elsewhere_is_refused(folder):
    made = kept_study("mine", pictures(), CONCEPTS, Design(raters=2))
    with Votes(made) as votes:
        votes.enroll("you")
        with pytest.raises(StudyError, match="the name 'you' is taken"):
            ballot(made, votes)


def test_a_rehearsal_is_simulated_and_its_truth_is_found():
    truth = {"plain": 0.0, "better": 0.7, "best": 1.6}
    done = rehearsal(truth, Panel(25, spread=0.3, seed=1), concept_spread=0.2)
    names = {name for half in bundled_concepts().values() for name in half}
    assert set(done.study.photos) == names and len(done.study.pairs) == 3 * len(names)
    assert all(v.simulated and v.rater.startswith(SIMULATED) for v in done.votes)
    assert not done.study.folder.exists() and done.truth == truth
    found = order(done.study, done.key, done.votes, "overall")
    assert found.recipes == ("best", "better", "plain")
    mean = sum(truth.values()) / 3
    for name, value in zip(found.recipes, found.strengths.values, strict=True):
        assert value == pytest.approx(truth[name] - mean, abs=0.3)


def test_a_careless_panel_is_caught():
    shares = [
        care(done.study, done.votes).caught.value
        for done in (rehearsal({"a": 0.0, "b": 1.0}, Panel(10, lapses=x)) for x in (0.0, 0.4))
    ]
    assert shares[0] == 1.0 and 0.4 < shares[1] < 0.8


@pytest.mark.parametrize("strengths", [{}, {"a": 0.0}, dict.fromkeys("abcdef", 0.0)])
def test_a_rehearsal_of_too_few_or_too_many_recipes_is_refused(strengths):
    with pytest.raises(StudyError, match=f"2 to 5 recipes, got {len(strengths)}"):
        rehearsal(strengths, Panel(3))
