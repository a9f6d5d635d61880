"""What can be wrong with a study, from a judge that is missing to a process beside it: one line.

A table: each case arranges its mistake, and says which words the line has.
"""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from command_line import run
from small_study import LABELS, PROMPTS, SmallJudge, make_small, small_bench, small_plan

from adb_core.concept import Concept
from adb_core.study import bench as bench_module, plan as plan_module, run as run_module
from adb_core.study.bench import Bench
from adb_core.study.cell import Cell
from adb_core.study.plan import BASE, Plan
from adb_core.study.run import cells, run_study
from adb_core.system.locks import exclusive
from adb_core.system.paths import data_dir

COMMAND = ["evaluate", "--concepts", "pico", "--seeds", 0, "--moments", 1, "--out", "found"]
RECIPE = ["--recipes", "textual_inversion"]


@pytest.fixture
def arranged(monkeypatch, random_base, tmp_path):
    """Short recipes, a random model; what a case changes is ``patch``'s, as are its files."""
    make_small(monkeypatch.setattr)
    monkeypatch.setattr(plan_module, "prompt_entries", lambda *_: PROMPTS)
    return SimpleNamespace(patch=monkeypatch.setattr, env=monkeypatch.setenv, folder=tmp_path)


def small(case, **other) -> None:
    """The study is by the judge of colors."""
    case.patch(Bench, "load", lambda base, plan: small_bench(plan, **other))


def judged(case) -> None:
    """The same judge, where the study loads its own."""
    clip = SimpleNamespace(model=torch.nn.Linear(1, 1))
    case.patch(bench_module, "load_judge", lambda device: SmallJudge())
    case.patch(bench_module, "load_clip", lambda device: clip)


def data_without(case, *names) -> None:
    """A data folder that lacks some of its own folders."""
    data = case.folder / "data"
    data.mkdir()
    for name in ("concepts", "prompts", "judge", "tiny-clip"):
        if name not in names:
            (data / name).symlink_to(data_dir() / name)
    case.env("ADB_DATA", str(data))


def no_judge(case):
    data_without(case, "judge")


def no_clip(case):
    data_without(case, "tiny-clip")


def another_model(case):
    small(case)
    assert run(*COMMAND, *RECIPE, "--quiet").exit_code == 0
    small(case, seed=1)


def another_judge(case):
    small(case)
    assert run(*COMMAND, *RECIPE, "--quiet").exit_code == 0
    small(case, tint=1.0)


def another_model_to_check(case):
    another_model(case)
    return ["--check", "textual_inversion,pico,0"]


def unknown_label(case):
    judged(case)
    prompts = ({"prompt": "a {}", "asks": {"mood": "sad"}},)
    case.patch(plan_module, "prompt_entries", lambda *_: prompts)


def unknown_word(case):
    judged(case)
    prompts = ({"prompt": "a {}", "asks": {"place": "attic"}},)
    case.patch(plan_module, "prompt_entries", lambda *_: prompts)


def no_prompts(case):
    judged(case)
    case.patch(plan_module, "prompt_entries", lambda *_: ())


def no_masks(case):
    small(case)
    bundled = Concept.bundled
    case.patch(Concept, "bundled", lambda name: replace(bundled(name), masks=()))
    return ["--recipes", "masked_map"]


def damaged_folder(case):
    small(case)
    (case.folder / "found").mkdir()
    (case.folder / "found/study.json").write_text("[]")


def damaged_results(case):
    small(case)
    (case.folder / "found").mkdir()
    (case.folder / "found/summary.json").write_text("{")
    return ["--check", "textual_inversion,pico,0"]


CASES = [
    (no_judge, "the judge cannot be loaded: "),
    (no_clip, "the CLIP 'tiny' cannot be loaded: "),
    (another_model, "holds results of another base model (", "choose another folder with --out"),
    (another_judge, "holds results of another judge (", "choose another folder with --out"),
    (another_model_to_check, "holds results of another base model (", "check it with that one"),
    (unknown_label, "asks for a mood, which the judge does not know: it reads category, place"),
    (unknown_word, "asks for place 'attic', which the judge does not know: it reads plain, beach"),
    (no_prompts, "the prompt set is empty: give at least one prompt"),
    (no_masks, "concept 'pico' has no masks, which recipe 'masked_map' is shown: leave out one"),
    (damaged_folder, "study.json is damaged: delete it, or choose another --out"),
    (damaged_results, "summary.json is damaged: restore it, or measure anew"),
]
NAMES = [arrange.__name__ for arrange, *_ in CASES]


@pytest.mark.parametrize("arrange, says", [(a, says) for a, *says in CASES], ids=NAMES)
def test_a_mistake_is_one_line_and_nothing_is_trained(arranged, arrange, says):
    more = arrange(arranged) or RECIPE
    arranged.patch(Cell, "_trained", lambda *_: pytest.fail("trained"))
    done = run(*COMMAND, *more)
    assert done.exit_code == 2 and done.stderr.count("\n") == 1, done.output
    assert all(text in done.stderr for text in says), done.stderr


def test_an_empty_set_among_the_prompts_is_an_empty_prompt_set(tmp_path, monkeypatch):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/none.json").write_text(json.dumps({"prompts": []}))
    monkeypatch.setenv("ADB_DATA", str(tmp_path))
    assert plan_module.prompt_entries(4, ["none"]) == ()
    with pytest.raises(plan_module.StudyError, match="the prompt set is empty"):
        plan_module.check_prompts((), LABELS)


def test_an_interrupted_study_says_what_is_kept_and_goes_on(arranged):
    small(arranged)

    def interrupted(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cell, "_trained", interrupted)
        done = run(*COMMAND, *RECIPE)
    assert done.exit_code == 130 and done.stderr == "adb: stopped\n", done.output
    assert "stopped; 4 cells are kept in found: the same command goes on" in done.stdout
    assert not (arranged.folder / "found/summary.json").exists()
    again = run(*COMMAND, *RECIPE)
    assert again.exit_code == 0 and "1 of 5 cells are to be made" in again.stdout


def test_whoever_waits_for_another_process_says_so_once(monkeypatch, tmp_path):
    """Two on one cell: the second one waits, says for how many, and takes what the first made."""
    make_small(monkeypatch.setattr)
    plan: Plan = small_plan(recipes=("textual_inversion",))
    bench, concept, said = small_bench(plan), Concept.bundled("pico"), []
    cell = next(c for c in cells(plan, tmp_path) if c.recipe == BASE)
    lock = exclusive(cell.path(cell.digest(bench, concept)).with_suffix(".lock"))
    lock.__enter__()
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            lock.__exit__(None, None, None)

    monkeypatch.setattr(run_module, "sleep", sleep)  # not time.sleep: threads use that too
    found = [str(made) for made, _ in run_study(bench, tmp_path, said.append)]
    assert found[-1] == "base, pico, seed 0" and len(found) == 5 and len(slept) == 3
    waits = [line for line in said if "another process" in line]
    assert waits == ["waiting for 1 cell that another process is making"]
