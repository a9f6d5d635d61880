"""``adb evaluate``: one command, and one line for each mistake; the base model is at chance."""

import json
import re

import numpy as np
import pytest
from command_line import run
from small_study import PROMPTS, make_small, small_bench

from adb_core.base import load_base
from adb_core.concept import Concept
from adb_core.study.bench import Bench
from adb_core.study.plan import CEILING, OTHER, SHUFFLED, edition
from adb_core.system.paths import data_dir


@pytest.fixture
def small(monkeypatch, random_base):
    """The command makes the small study: random model, short recipes, a judge of colors."""
    make_small(monkeypatch.setattr)
    monkeypatch.setattr("adb_core.study.plan.prompt_entries", lambda *_: PROMPTS)
    monkeypatch.setattr(Bench, "load", lambda base, plan: small_bench(plan))


COMMAND = ["evaluate", "--concepts", "pico", "--seeds", 0, "--moments", 2, "--recipes"]


def test_the_command_makes_the_study_and_then_nothing_again(small, tmp_path):
    done = run(*COMMAND, "textual_inversion", "--out", "found")
    assert done.exit_code == 0, done.output
    assert "5 cells, 0 of them are there already: about " in done.stdout
    assert "5 of 5 cells are to be made" in done.stdout
    assert re.search(r"cell 5 of 5: textual_inversion, pico, seed 0: \d+ s; about 0 s", done.stdout)
    assert "identity_share" in done.stdout and "summary.json" in done.stdout
    summary = json.loads((tmp_path / "found/summary.json").read_text())
    assert list(summary["rows"])[0] == "base" and summary["plan"]["recipes"] == [
        "textual_inversion"
    ]
    assert {"base model", "judge", "CLIP"} == set(summary["known"])
    again = run(*COMMAND, "textual_inversion", "--out", "found")
    assert "5 cells, 5 of them are there already" in again.stdout and "cell 5" not in again.stdout
    assert " in all, 0 s left" in again.stdout and "timed here" not in again.stdout
    assert len((tmp_path / "found/table.csv").read_text().splitlines()) > 10


def test_an_archive_is_begun_with_and_kept(small, tmp_path):
    command = (*COMMAND, "textual_inversion", "--archive", "cells.zip", "--out")
    first = run(*command, "here")
    assert first.exit_code == 0 and "0 cells taken from cells.zip" in first.stdout, first.output
    assert "5 cells are in cells.zip" in first.stdout
    more = run(*command, "there", "--recipes", "dreambooth")
    assert "5 cells taken from cells.zip" in more.stdout, more.output
    assert "1 of 6 cells are to be made" in more.stdout and "6 cells are in" in more.stdout


def test_a_forecast_is_printed_and_nothing_is_made(small, tmp_path):
    done = run(*COMMAND, "textual_inversion", "--out", "found", "--forecast", "--quiet")
    assert done.exit_code == 0, done.output
    first, second = done.stdout.splitlines()
    assert first.startswith("5 cells, 0 of them are there already: about ")
    assert second.startswith("timed here: ") and not (tmp_path / "found").exists()


def test_what_is_there_is_reported_and_a_cell_is_checked(small, tmp_path):
    arguments = (*COMMAND, "textual_inversion", "--out", "found")
    none = run(*arguments, "--report")
    assert none.exit_code == 2 and "no finished cells of this study are in found" in none.stderr
    assert run(*arguments, "--quiet").exit_code == 0
    (tmp_path / "found/table.md").unlink()
    (made,) = (tmp_path / "found/cells/textual_inversion").glob("*.json")
    made.rename(tmp_path / "kept.json")
    part = run(*arguments, "--report")
    assert part.exit_code == 0 and (tmp_path / "found/table.md").exists(), part.output
    assert "textual_inversion" not in part.stdout and not made.exists()
    (tmp_path / "kept.json").rename(made)
    assert run(*arguments, "--report").exit_code == 0
    check = ("evaluate", "--out", "found", "--check", "textual_inversion,pico,0")
    stands = run(*check)
    assert stands.exit_code == 0 and "all within 0.002 of what is stored" in stands.stdout
    cell = json.loads(made.read_text())
    cell["moments"][0]["pictures"]["identity"][0] += 0.1
    made.write_text(json.dumps(cell))
    falls = run(*check, "--tolerance", 0.01)
    assert falls.exit_code == 1 and "differ by more than 0.01" in falls.stdout
    assert "moments[0].pictures.identity[0]: " in falls.stdout and not falls.stderr


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--recipes", "magic"], "unknown recipe 'magic': choose from attndreambooth"),
        (["--concepts", "rex"], "unknown concept 'rex': choose from pico"),
        (["--prompts", "hard"], "unknown prompt set 'hard': choose from"),
        (["--seeds", "-1"], "--seed -1 must be between"),
        (["--guidance", "0.5"], "guidance at least 1"),
        (["--threads", "0"], "--threads must be at least 1"),
        (["--rates", "2"], "is held out, and rates are tuned on the tuning half alone"),
        (["--moments", "0"], "--moments must be at least 1"),
        (["--per-set", "0"], "--per-set must be at least 1"),
        (["--data", "nowhere"], "--data nowhere is not a folder"),
        (["--base", "model.ckpt"], "is a pickle file"),
        (["--out", "file"], "file is a file, not a folder"),
        (["--images", "0"], "--images must be at least 1"),
        (["--check", "x,pico,0"], "out/study holds no results of adb evaluate"),
        (["--check", "x,pico,0", "--tolerance", "-1"], "--tolerance -1 must be at least 0"),
    ],
)
def test_mistakes_are_one_line(random_base, tmp_path, arguments, says):
    (tmp_path / "file").write_text("")
    done = run("evaluate", *arguments)
    assert done.exit_code == 2 and done.stderr.count("\n") == 1, done.output
    assert says in done.stderr


def test_a_model_of_another_size_and_a_missing_judge_are_one_line(
    random_base, tmp_path, monkeypatch
):
    done = run("evaluate", "--quick")  # the random model's pictures have 32 pixels
    assert done.exit_code == 2 and "the base model makes 32x32: name the data" in done.stderr
    data = tmp_path / "data"
    for name in ("concepts", "prompts"):
        (data / name).parent.mkdir(exist_ok=True)
        (data / name).symlink_to(data_dir() / name)
    monkeypatch.setenv("ADB_DATA", str(data))
    done = run("evaluate", "--quick")
    assert done.exit_code == 2 and "the judge cannot be loaded" in done.stderr


def test_the_base_model_and_the_wrong_truth_are_at_chance():
    """On the bundled model: who knows no concept has no joint score; the true pictures have."""
    asked = {"recipes": ("dreambooth",), "concepts": ("pico",), "seeds": (), "rates": ()}
    plan = edition(True, "tuning", (), 2, 1, asked)
    bench, concept = Bench.load(load_base("tiny", device="cpu"), plan), Concept.bundled("pico")
    truth, shuffled, other = (bench.control(k, concept, 0) for k in (CEILING, SHUFFLED, OTHER))
    base = bench.moment(bench.base, concept, 0)
    scores = {
        name: {key: np.mean(values) for key, values in found["pictures"].items()}
        for name, found in (("t", truth), ("s", shuffled), ("o", other), ("b", base))
    }
    assert scores["t"]["joint"] > 0.6 and scores["t"]["identity_share"] == pytest.approx(1, 0.01)
    # a picture of another prompt may show all that a plain prompt asks for, and no more than that
    asks, half = plan.asks, len(plan.asks) // 2
    chance = np.mean([asked.items() <= asks[k - half].items() for k, asked in enumerate(asks)])
    assert scores["s"]["joint"] <= chance < 0.4 and scores["o"]["joint"] == 0.0, scores
    assert scores["b"]["joint"] <= 0.1 and scores["b"]["identity_share"] < 0.6, scores
    assert scores["b"]["text"] > scores["s"]["text"] + 0.2  # it follows prompts; it knows nobody
