"""The comparison that is stored in ``data/results``: whose it is, and that it holds together."""

import json

import pytest

from adb_core import base
from adb_core.concept import bundled_concepts
from adb_core.study.bench import Bench
from adb_core.study.plan import METHOD, edition
from adb_core.system.paths import data_path

FOUND = json.loads(data_path("results", "held_out.json").read_text(encoding="utf-8"))


def test_it_was_measured_with_this_model_judge_and_clip():
    """New weights make it out of date, and what notebook 09 and README say of it."""
    nothing = {"recipes": (), "concepts": (), "seeds": (), "rates": ()}
    plan = edition(True, "held_out", (), None, 8, nothing)
    bench = Bench.load(base.load_base("tiny", device="cpu"), plan)
    assert FOUND["known"] == bench.known


def test_it_is_of_concepts_on_which_nothing_was_tuned():
    assert set(FOUND["plan"]["concepts"]) <= set(bundled_concepts()["held_out"])
    assert FOUND["command"].startswith("adb evaluate") and FOUND["plan"]["rates"] == [1.0]


def test_differences_are_those_of_the_concepts_own_means():
    rows = FOUND["rows"]
    for other, scores in FOUND["method_minus"].items():
        for score, difference in scores.items():
            ours, theirs = (rows[name]["scores"][score] for name in (METHOD, other))
            both = ours["concepts"].keys() & theirs["concepts"].keys()
            apart = [ours["concepts"][name] - theirs["concepts"][name] for name in both]
            assert difference["mean"] == pytest.approx(sum(apart) / len(apart), abs=1e-4)
            assert theirs["low"] <= theirs["mean"] <= theirs["high"]


def test_its_controls_are_at_chance_and_its_ceiling_is_one():
    rows = {name: row["scores"] for name, row in FOUND["rows"].items()}
    assert rows["ceiling"]["identity_share"]["mean"] == 1 and rows["ceiling"]["joint"]["mean"] > 0.9
    assert rows["base"]["joint"]["mean"] <= 0.05 >= rows["another_concept"]["joint"]["mean"]
    assert abs(rows["another_concept"]["identity_share"]["mean"]) < 0.3
    assert rows["shuffled_prompts"]["text"]["mean"] < 0.6
