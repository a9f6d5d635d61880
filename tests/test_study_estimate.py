"""How long a study will take: counted, timed, or read off what is finished."""

import time
from dataclasses import replace

import pytest
import torch
from small_study import make_small, small_bench, small_plan

from adb_core.recipes import recipe
from adb_core.study import estimate
from adb_core.study.bench import Bench
from adb_core.study.estimate import Forecast, Kind, Pace, forecast, pictures, seconds_of, truths
from adb_core.study.plan import BASE, CEILING, UNTRAINED, StudyError
from adb_core.study.run import cells, run_study


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """One thread, as many as the machine surely has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    make_small(monkeypatch.setattr)
    yield
    torch.set_num_threads(before)


def no_word(line: str) -> None:
    pass


def test_the_pictures_of_a_cell_are_those_that_it_draws(tmp_path, monkeypatch):
    """Counted as the study draws them, row by row."""
    drawn, draw = [], Bench.draw

    def counted(self, model, prompts, seeds):
        drawn.append(len(prompts) * len(seeds))
        return draw(self, model, prompts, seeds)

    monkeypatch.setattr(Bench, "draw", counted)
    bench = small_bench()
    rows = {}
    for cell, _ in run_study(bench, tmp_path, no_word):
        rows[cell.recipe] = sum(drawn)
        drawn.clear()
    spread = 3 * bench.plan.spread  # needs CLIP, which this bench has not
    rows["textual_inversion"] -= bench.plan.unrelated  # the base model's, of this category
    assert {name: pictures(bench.plan, name) for name in rows} == {
        name: count + (0 if name in UNTRAINED and name != BASE else spread)
        for name, count in rows.items()
    }


def test_time_is_steps_and_pictures():
    plan = small_plan(recipes=("attndreambooth",))
    work = cells(plan, None)
    trained = plan.long("attndreambooth")
    kinds = {Kind.of(trained, stage): 1.0 for stage in trained.stages}
    assert len(kinds) == 3
    pace = Pace(picture=0.5, truth=0.25, setup=2.0, steps=kinds)
    cell = next(c for c in work if c.recipe == "attndreambooth")
    drawn = pictures(plan, "attndreambooth")
    assert seconds_of(cell, plan, pace) == 2 + trained.steps + drawn * 0.5
    assert seconds_of(next(c for c in work if c.recipe == CEILING), plan, pace) == 0
    # true pictures: of two prompts, the concept's two each and the stranger's one
    assert truths(plan, work) == 2 * (2 + 1)
    more = replace(plan, seeds=(0, 1))
    assert truths(more, cells(more, None)) == 2 * (2 + 1) + 2 * 2
    prior = replace(recipe("dreambooth_prior"), name="x")
    assert Kind.of(prior, prior.stages[0]) != Kind.of(trained, trained.stages[-1])


def test_a_study_is_forecast_and_then_known(tmp_path):
    """Before: within a factor of what it takes. On the way and after: by what is finished."""
    bench = small_bench()
    before = forecast(bench, tmp_path)
    assert (before.count, before.there) == (6, 0) and before.total == before.left > 0
    assert not list(tmp_path.iterdir())  # nothing is written
    work, began = run_study(bench, tmp_path, no_word), time.perf_counter()
    for _ in range(len(UNTRAINED) + 1):
        next(work)
    half = forecast(bench, tmp_path)
    assert half.there == 5 and 0 < half.left < half.total
    for _ in work:
        pass
    took = time.perf_counter() - began
    assert took / 20 < before.total < 20 * took  # wide: whatever else the machine is doing
    done = forecast(bench, tmp_path)
    assert done.left == 0 and done.pace is None and done.there == 6
    assert 0.3 * took < done.total <= took + 1


def test_finished_cells_are_believed_and_nothing_is_timed(tmp_path, monkeypatch):
    bench = small_bench()
    list(run_study(bench, tmp_path, no_word))
    monkeypatch.setattr(estimate, "timed", lambda *_: pytest.fail("timed again"))
    more = small_bench(small_plan(seeds=(0, 1)))
    found = forecast(more, tmp_path)
    assert found.there == 6 and found.count == 8 and found.left > 0


def test_a_forecast_changes_no_numbers(tmp_path):
    def scores(folder):
        cell = small_bench(small_plan(recipes=("textual_inversion",)))
        made = {str(c): n for c, n in run_study(cell, folder, no_word)}
        return made["textual_inversion, pico, seed 0"]["moments"]

    first = scores(tmp_path / "a")
    bench = small_bench(small_plan(recipes=("textual_inversion",)))
    forecast(bench, tmp_path / "b")
    made = {str(c): n for c, n in run_study(bench, tmp_path / "b", no_word)}
    assert made["textual_inversion, pico, seed 0"]["moments"] == first


def test_what_is_printed():
    bench = small_bench(small_plan(recipes=("textual_inversion", "attndreambooth", "core")))
    found = forecast(bench, estimate.Path("nowhere"))
    first, second, third = found.lines()
    assert first.startswith("7 cells, 0 of them are there already: about ")
    assert first.endswith("left for one process") and second.startswith("timed here: 0.")
    assert third.startswith(
        "note: 8 comparisons over 1 concepts cannot reach a corrected p of 0.05"
    )
    enough = Forecast(3, 1, 7200.0, 40.0, None, estimate.Family.sized(4, 12))
    assert enough.lines() == [
        "3 cells, 1 of them are there already: about 2.0 h in all, 40 s left for one process"
    ]


def test_another_models_folder_is_refused_before_anything_is_timed(tmp_path, monkeypatch):
    list(zip(range(1), run_study(small_bench(), tmp_path, no_word), strict=False))
    monkeypatch.setattr(estimate, "timed", lambda *_: pytest.fail("timed"))
    with pytest.raises(StudyError, match="holds results of another base model"):
        forecast(small_bench(seed=1), tmp_path)
