"""What the notebooks share: exercises, facts, predictions, the quiz, training that is kept."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import ipywidgets
import matplotlib.figure
import nbformat
import numpy as np
import pytest
import torch
from models import tiny_base, tiny_concept
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

import adb_core
from adb_core import personalization, teaching
from adb_core.recipes import recipe
from adb_core.system import locks
from adb_core.teaching import fact, kept, predict, questions, quiz, trained, workspace
from adb_core.teaching.exercises import check, differs, verdict

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import notebooks as builder  # noqa: E402

EXERCISES = [
    (name, number) for name in builder.names() for number in builder.exercises(builder.read(name))
]

# ---------------------------------------------------------------- exercises


def answer(name: str, number: str, part: str):
    """What the exercise's function is, after its stub or its solution has run alone."""
    cells = builder.exercises(builder.read(name))[number]
    asked = re.search(rf'check\("{re.escape(number)}", (\w+)\)', cells["check"])
    assert asked, f"the check of {number} does not name its answer"
    space = {"np": np, "torch": torch, "adb": adb_core}
    exec(cells[part], space)
    return space[asked[1]]


@pytest.mark.parametrize(("name", "number"), EXERCISES)
def test_solution_passes_its_check(name, number):
    assert verdict(number, answer(name, number, "solution")) is None


@pytest.mark.parametrize(("name", "number"), EXERCISES)
def test_unsolved_stub_fails_its_check_and_is_told_why(name, number, capsys):
    said = verdict(number, answer(name, number, "stub"))
    assert said and len(said.split()) > 3
    check(number, answer(name, number, "stub"))
    assert capsys.readouterr().out.startswith(f"Exercise {number}: not yet. ")


@pytest.mark.parametrize(("name", "number"), EXERCISES)
def test_wrong_answers_are_explained_not_raised(name, number):
    for wrong in (lambda *_: None, lambda *_: "a text", lambda *_: 1 / 0, None, ...):
        assert verdict(number, wrong)


def test_the_sampler_of_an_exercise_is_the_librarys():
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(
        beta_schedule="scaled_linear", prediction_type="v_prediction", timestep_spacing="leading"
    )
    scheduler.set_timesteps(8)
    times = [int(t) for t in scheduler.timesteps]
    x = start = torch.randn((1, 1, 2, 3), generator=torch.Generator().manual_seed(0)).double()
    for t in scheduler.timesteps:
        x = scheduler.step(torch.tanh(x + int(t) / 400) - 0.4 * x, t, x).prev_sample
    sample = answer("01_latent_diffusion_by_hand", "01.3", "solution")
    table = scheduler.alphas_cumprod.double().numpy()
    got = sample(start.numpy(), lambda x, t: np.tanh(x + t / 400) - 0.4 * x, times, table)
    np.testing.assert_allclose(got, x.numpy(), atol=1e-5)


def test_unknown_exercise_is_an_error():
    with pytest.raises(ValueError, match="no exercise"):
        verdict("99.1", None)


def test_differs_names_the_shape_and_the_size_of_the_error():
    assert differs(np.zeros(3), np.zeros(3)) is None
    assert "shape (3,), expected (2,)" in differs(np.zeros(3), np.zeros(2))
    assert "off by up to 0.5" in differs(np.array([0.5]), np.zeros(1))
    assert "None" in differs(None, np.zeros(1))


# ---------------------------------------------------------------- facts


def test_a_fact_says_its_number_and_its_band(capsys):
    fact("attention of [V] over 'cat'", 1.1912, between=(0.9, 1.5))
    fact("peaks on the hat", torch.tensor(34), between=(30, 36), unit="of 36")
    fact("loss", 1.2e-4, between=(0, 1e-3))
    assert capsys.readouterr().out.splitlines() == [
        "attention of [V] over 'cat': 1.19 (expected 0.9 to 1.5)",
        "peaks on the hat: 34 of 36 (expected 30 to 36 of 36)",
        "loss: 0.00012 (expected 0 to 0.001)",
    ]


@pytest.mark.parametrize("value", [0.8, 1.6, float("nan"), float("inf")])
def test_a_fact_outside_of_its_band_raises_and_prints_nothing(value, capsys):
    with pytest.raises(
        teaching.OutsideBand, match=r"ratio: .* \(expected 0.9 to 1.5\): if nothing"
    ):
        fact("ratio", value, between=(0.9, 1.5))
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="upside down"):
        fact("ratio", 1.0, between=(1.5, 0.9))


@pytest.mark.parametrize(
    ("stored", "agrees"),
    [
        ("ratio: 1.19 (expected 0.9 to 1.5)", True),
        ("ratio: -3.1e-05 (expected 0.9 to 1.5)", True),
        ("ratio: 1.19 (expected 0.9 to 1.6)", False),
        ("share: 1.19 (expected 0.9 to 1.5)", False),
    ],
)
def test_the_strict_check_compares_the_band_and_not_the_number(stored, agrees, tmp_path):
    code = "print('ratio: 1.2345 (expected 0.9 to 1.5)')"
    output = new_output("stream", name="stdout", text=stored + "\n")
    cell = new_code_cell(code, execution_count=1, outputs=[output])
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(
        new_notebook(cells=[cell], metadata={"kernelspec": kernel}), tmp_path / "a.ipynb"
    )
    rules = f"--nbval-sanitize-with={ROOT / 'notebooks' / 'sanitize.cfg'}"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval"]
    done = subprocess.run(
        [*command, "--nbval-current-env", rules, "a.ipynb"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode == 0) == agrees, done.stdout[-2000:]


# ---------------------------------------------------------------- questions


def test_a_prediction_is_compared_with_what_came_out(capsys):
    guess = predict("Which token gets most attention?", ["cat", "the start token"])
    assert guess.choice is None
    guess.compare("the start token")
    guess.choice = "cat"
    guess.compare("the start token")
    guess.choice = "the start token"
    guess.compare("the start token")
    none, wrong, right = capsys.readouterr().out.splitlines()
    assert none.startswith("It turned out: the start token. You made no prediction")
    assert "You predicted: cat" in wrong and right.endswith("You predicted it.")
    with pytest.raises(ValueError, match="'dog' was no choice"):
        guess.compare("dog")
    with pytest.raises(ValueError, match="two different choices"):
        predict("?", ["cat"])


def test_a_quiz_folds_its_answers_and_escapes_what_it_is_given(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    question = teaching.Question("Is 1 < 2?", ("yes", "no"), "yes", "Count.")
    quiz(question, question)
    page = shown[0]["text/html"]
    assert page.count("<details>") == 2 and "1 &lt; 2?" in page and "<b>yes.</b> Count." in page
    assert shown[0]["text/plain"] == "<quiz: 2 questions>"
    with pytest.raises(ValueError, match="no choice"):
        teaching.Question("?", ("yes", "no"), "maybe", "")
    with pytest.raises(ValueError, match="at least one"):
        quiz()


@pytest.mark.parametrize("number", [f"{n:02}" for n in range(15) if n != 13])
def test_a_quiz_that_is_kept_with_the_exercises_has_five_questions(number):
    asked = questions(number)
    assert len({question.text for question in asked}) == 5
    for question in asked:
        assert 2 <= len(set(question.choices)) == len(question.choices) and question.why


def test_a_quiz_that_is_not_there_is_said_so(monkeypatch):
    with pytest.raises(ValueError, match="no quiz of notebook '99'"):
        questions("99")
    monkeypatch.delattr("adb_core.teaching.exercises.nb10.QUIZ")
    with pytest.raises(ValueError, match="no quiz of notebook '10'"):
        questions("10")


def test_a_shown_figure_carries_its_description(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: shown.append((a, k)))
    figure = matplotlib.figure.Figure()
    figure.set_label("An empty page.")
    teaching.show(figure)
    (data,), options = shown[0]
    assert data["image/png"].startswith(b"\x89PNG") and data["text/plain"] == "<figure>"
    assert options["metadata"]["image/png"]["alt"] == "An empty page."


def test_a_shown_film_moves_and_says_where_it_begins_and_ends(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: shown.append((a, k)))
    figures = []
    for text in ("Nothing.", "A line."):
        figure = matplotlib.figure.Figure(figsize=(1, 1), dpi=50)
        figure.set_label(text)
        figures.append(figure)
    figures[1].add_subplot().plot([0, 1])
    teaching.show_film(figures, 100)
    (data,), options = shown[0]
    with Image.open(io.BytesIO(data["image/png"])) as film:
        assert film.size == (50, 50) and film.n_frames >= 2
    assert options["metadata"]["image/png"]["alt"] == (
        "Film, first frame: Nothing. Last frame: A line."
    )


def test_shown_clips_move_side_by_side(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: shown.append((a, k)))
    clips = {name: np.full((3, 8, 8, 3), 20, np.uint8) for name in ("walk", "jump")}
    clips["jump"][1] = 200
    teaching.show_clips(clips, "a square.")
    (data,), options = shown[0]
    with Image.open(io.BytesIO(data["image/png"])) as film:
        assert film.size == (20, 8) and film.n_frames >= 2
    alt = options["metadata"]["image/png"]["alt"]
    assert alt == "Film, from left to right walk, jump: a square."


# ---------------------------------------------------------------- what notebooks share


def test_workspace_is_the_repositorys_or_here_or_at_least_somewhere(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT / "notebooks")
    assert workspace() == ROOT / "out" / "notebooks"
    monkeypatch.chdir(tmp_path)
    assert workspace() == tmp_path / "out" / "notebooks" and not list(workspace().iterdir())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "out").write_text("a file where the folder should be")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert workspace() == tmp_path / "temporary" / "adb-notebooks"
    assert "cannot be written" in capsys.readouterr().out


def test_trained_goes_on_after_a_restart_and_then_loads(tmp_path, monkeypatch):
    """A cell that is interrupted loses nothing: the run is saved where it stops."""
    monkeypatch.chdir(tmp_path)
    plan = recipe("textual_inversion")
    plan = replace(plan, stages=(replace(plan.stages[0], steps=6, batch_size=2),))
    base, concept = tiny_base(), tiny_concept()
    taken = []

    class Restart(BaseException):
        pass

    class Watched(personalization.Run):
        def __iter__(self):
            for record in super().__iter__():
                taken.append(record.step)
                if record.step == stop:
                    raise Restart
                yield record

    monkeypatch.setattr(kept, "Run", Watched)
    stop = 5
    with pytest.raises(Restart):
        trained(base, concept, plan, view_count=2, save_every=2)
    stop = None
    again = trained(base, concept, plan, view_count=2, save_every=2)
    assert taken == [1, 2, 3, 4, 5, 6]
    loaded = trained(base, concept, plan, view_count=2)
    assert len(taken) == 6 and torch.equal(again.token.rows, loaded.token.rows)
    whole = personalization.personalize(tiny_base(), tiny_concept(), plan, view_count=2)
    assert torch.equal(again.token.rows, whole.token.rows)


def test_trained_waits_while_another_notebook_trains_the_same(tmp_path, monkeypatch):
    """Two pages open at once: the second one waits for the first, says so, and goes on."""
    monkeypatch.chdir(tmp_path)
    plan = recipe("textual_inversion")
    plan = replace(plan, stages=(replace(plan.stages[0], steps=1, batch_size=2),))
    trained(tiny_base(), tiny_concept(), plan, view_count=2)
    (lock,) = workspace().glob("*.lock")
    other, bars, slept = locks.exclusive(lock), [], []
    other.__enter__()

    class Bar(ipywidgets.IntProgress):
        def __init__(self, **given):
            super().__init__(**given)
            bars.append(self)

    def sleep(seconds):
        slept.append(bars[0].description)
        if len(slept) == 2:
            other.__exit__(None, None, None)

    monkeypatch.setattr(ipywidgets, "IntProgress", Bar)
    monkeypatch.setattr(locks, "sleep", sleep)
    trained(tiny_base(), tiny_concept(), plan, view_count=2)
    assert slept == ["waiting", "waiting"]
    assert (bars[0].description, bars[0].bar_style, bars[0].value) == ("training", "success", 1)
