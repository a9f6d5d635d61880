"""What a step reports, in memory and on disk."""

import json
from dataclasses import replace

import pytest

from adb_core.records import StepRecord, by_stage, last_tenth, read_history, write_history


def records(count: int = 23) -> list[StepRecord]:
    one = StepRecord("first", 1, count, 0.5, 0.4, 0.1, 0.0, 0.0, 1.0, 1e-3, 0.1)
    return [replace(one, step=k + 1) for k in range(count)]


def test_the_last_tenth_is_at_least_one():
    assert [r.step for r in last_tenth(records(23))] == [22, 23]
    assert [r.step for r in last_tenth(records(3))] == [3] and records(3)[-1].is_last


def test_stages_come_in_their_order():
    history = [*records(2), *(replace(r, stage="second") for r in records(3))]
    assert {name: len(some) for name, some in by_stage(history).items()} == {
        "first": 2,
        "second": 3,
    }


def test_a_history_is_read_as_it_was_written(tmp_path):
    history = [replace(r, layers=("a", "b"), v_mean=(0.1, 0.2)) for r in records(2)]
    history[1] = replace(history[1], further={"smooth_weight": 0.3})
    write_history(tmp_path / "history.json", history)
    assert read_history(tmp_path / "history.json") == history
    assert read_history(tmp_path / "none.json") == []
    entry = json.loads((tmp_path / "history.json").read_text())[0]
    (tmp_path / "history.json").write_text(json.dumps([{**entry, "more": 1}]))
    with pytest.raises(ValueError, match="not a step's record"):
        read_history(tmp_path / "history.json")
