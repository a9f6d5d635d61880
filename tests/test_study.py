"""The study: a cell is made once, survives what can happen to it, and can be made again."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_study import LABELS, PROMPTS, make_small, small_bench, small_plan

from adb_core.concept import Concept
from adb_core.study import cell as cell_module
from adb_core.study.bench import next_concept, rounded
from adb_core.study.cell import Cell, claim_folder
from adb_core.study.plan import (
    BASE,
    CEILING,
    UNTRAINED,
    StudyError,
    check_prompts,
    chosen_concepts,
    chosen_rates,
    chosen_recipes,
    edition,
    prompt_entries,
)
from adb_core.study.run import _left, cells, check_concepts, clock, run_study
from adb_core.study.stored import differences, recompute
from adb_core.system import files
from adb_core.system.files import DiskFull
from adb_core.system.locks import Busy, exclusive

TESTS = Path(__file__).resolve().parent


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As many as the processes of these tests use: with another number, sums differ in their last
    bit, and a random model makes other pictures of that."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small(monkeypatch):
    make_small(monkeypatch.setattr)
    return small_bench()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, one_thread):
    """A study that nothing interrupted: its folder, and its cells by name."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch.setattr)
        made = {str(cell): numbers for cell, numbers in run_study(small_bench(), folder, no_word)}
    return folder, made


def no_word(line: str) -> None:
    pass


def numbers(cell: dict) -> dict:
    """What must not depend on interruptions: everything but the clock."""
    return {k: v for k, v in cell.items() if not k.endswith("seconds")}


# ---------------------------------------------------------------- a cell


def test_a_study_has_its_cells_and_its_controls(whole):
    folder, made = whole
    assert len(made) == len(UNTRAINED) + 2 == len(list(folder.rglob("cells/*/*.json")))
    cell = made["attndreambooth, pico, seed 0"]
    assert [m["step"] for m in cell["moments"]] == [3, 6, 9] and cell["preset"] == 6
    assert all(len(m["pictures"]["identity"]) == 2 for m in cell["moments"])
    names = {"identity", "identity_share", "text", "complete", "joint", "pose_leakage", "category"}
    assert names <= cell["moments"][0]["pictures"].keys()
    final = cell["final"]["values"]
    assert {"word_dependence", "drift_others", "map_distance", "pointing", "iou"} <= final.keys()
    assert 0 < max(final["map_distance"]) <= 1 and max(final["drift_others"]) > 0
    row_only = made["textual_inversion, pico, seed 0"]["final"]
    assert row_only["values"]["drift_others"] == [0.0]  # a row changes no prompt without it
    assert "map_distance" in row_only["left_out"]  # its prompt does not name the category
    assert made["ceiling, pico, seed 0"]["moments"][0]["prompts"] == [0, 0, 1, 1]
    assert not list(folder.rglob("*.work"))
    json.dumps(made, allow_nan=False)


def test_a_cell_is_made_once(whole, small, monkeypatch):
    folder, made = whole
    monkeypatch.setattr(Cell, "_trained", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(Cell, "_untrained", lambda *_: pytest.fail("measured again"))
    said = []
    again = {str(cell): found for cell, found in run_study(small, folder, said.append)}
    assert again == made and said == []


def test_a_stored_cell_can_be_made_again(whole, small, tmp_path):
    made = whole[1]
    concept = Concept.bundled("pico")
    for name in ("textual_inversion, pico, seed 0", "base, pico, seed 0"):
        assert recompute(made[name], small, concept, tmp_path) == []
    wrong = json.loads(json.dumps(made["base, pico, seed 0"]))
    wrong["moments"][0]["pictures"]["identity"][1] += 0.1
    (line,) = recompute(wrong, small, concept, tmp_path / "b")
    assert line.startswith("moments[0].pictures.identity[1]: ")
    with pytest.raises(StudyError, match="made with another model, recipe, judge"):
        recompute(made["base, pico, seed 0"], small_bench(seed=1), concept, tmp_path / "c")


def test_differences_are_found_wherever_they_are():
    a = {"x": [1.0, None, "t"], "y": {"z": 2}}
    assert differences(a, {"x": [1.001, None, "t"], "y": {"z": 2}}, "") == []
    assert len(differences(a, {"x": [1.1, 0.0, "u"], "y": {}}, "")) == 4
    assert differences([1], [1, 2], "v") == ["v has 1 and 2 entries"]


def test_everything_that_a_cell_depends_on_is_in_its_fingerprint(small):
    concept = Concept.bundled("pico")
    first = small.fingerprint("dreambooth", concept, 0)
    others = [
        small.fingerprint("ti_dreambooth", concept, 0),
        small.fingerprint("dreambooth", concept, 1),
        small.fingerprint("dreambooth", Concept.bundled("nori"), 0),
        small.fingerprint("dreambooth", replace(concept, category="dog"), 0),
        small_bench(small_plan(steps=3)).fingerprint("dreambooth", concept, 0),
        small_bench(small_plan(prompts=PROMPTS[:1])).fingerprint("dreambooth", concept, 0),
        small_bench(seed=1).fingerprint("dreambooth", concept, 0),
        small_bench(tint=1.0).fingerprint("dreambooth", concept, 0),
    ]
    assert len({first, *others}) == 1 + len(others)
    more = small_plan(recipes=("dreambooth",), concepts=("nori",), seeds=(0, 1))
    assert small_bench(more).fingerprint("dreambooth", concept, 0) == first  # of others it is free


def test_measuring_on_the_way_changes_no_training(whole, small, tmp_path):
    """A recipe that is measured once ends where one does that is measured at every moment."""
    once = small_bench(small_plan(moments=1))
    cell = Cell("attndreambooth", "pico", 0, tmp_path)
    found, often = cell.make(once, Concept.bundled("pico")), whole[1][str(cell)]
    assert len(found["moments"]) == 2 and len(often["moments"]) == 3
    assert found["moments"][-1] == often["moments"][-1] and found["final"] == often["final"]


# ---------------------------------------------------------------- what can happen to it


def test_an_interrupted_cell_goes_on_and_ends_with_the_same_numbers(
    whole, small, tmp_path, monkeypatch
):
    concept = Concept.bundled("pico")
    cell, measure, calls = Cell("attndreambooth", "pico", 0, tmp_path), type(small).moment, []

    def fails(self, *about):
        calls.append(about)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(self, *about)

    monkeypatch.setattr(type(small), "moment", fails)
    with pytest.raises(KeyboardInterrupt):
        cell.make(small, concept)
    assert len(list(tmp_path.rglob("notes.json"))) == 1 and cell.stored(small, concept) is None
    found = cell.make(small, concept)
    assert len(calls) == 4  # the first moment was kept
    assert numbers(found) == numbers(whole[1][str(cell)])


def start(folder: Path, pause: float) -> subprocess.Popen:
    path = os.pathsep.join((str(TESTS.parent), str(TESTS)))
    env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TESTS / "small_study.py"), str(folder), str(pause)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)


def test_a_killed_study_loses_nothing(whole, small, tmp_path):
    """SIGKILL in the middle of a training: what was finished stays, the rest goes on."""
    process = start(tmp_path, 0.5)
    deadline = time.monotonic() + 150
    while not any(tmp_path.rglob("notes.json")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.communicate()
    finished = {path: path.read_bytes() for path in tmp_path.rglob("cells/*/*.json")}
    assert len(finished) >= len(UNTRAINED) and len(finished) < len(whole[1])
    found = {str(cell): made for cell, made in run_study(small, tmp_path, no_word)}
    assert all(path.read_bytes() == old for path, old in finished.items())
    assert {k: numbers(v) for k, v in found.items()} == {k: numbers(v) for k, v in whole[1].items()}


def test_two_processes_share_a_folder(whole, tmp_path):
    """Side by side, each cell is made by one of them, and both end."""
    both = [start(tmp_path, 0.2) for _ in range(2)]
    said = [process.communicate(timeout=200)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    made = [
        line.split(": ")[1]
        for text in said
        for line in text.splitlines()
        if line.startswith("cell ")
    ]
    assert sorted(made) == sorted(whole[1])


def test_two_on_one_cell_is_one_line(small, tmp_path):
    concept, cell = Concept.bundled("pico"), Cell(BASE, "pico", 0, tmp_path)
    path = cell.path(small.fingerprint(BASE, concept, 0))
    with exclusive(path.with_suffix(".lock")):
        with pytest.raises(
            Busy, match=rf"cell base, pico, seed 0 is being .*process {os.getpid()}"
        ):
            cell.make(small, concept)
    assert cell.make(small, concept)["recipe"] == BASE


def test_results_of_another_model_are_refused(whole, small):
    folder = whole[0]
    with pytest.raises(StudyError, match="holds results of another base model"):
        next(run_study(small_bench(seed=1), folder, no_word))
    with pytest.raises(StudyError, match="results of another judge .*another folder with --out"):
        next(run_study(small_bench(tint=1.0), folder, no_word))


def test_a_damaged_note_is_one_line(tmp_path):
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(StudyError, match="study.json is damaged: delete it"):
        claim_folder(tmp_path, {})


def test_a_full_disk_is_one_line_and_leaves_what_was_made(small, tmp_path, monkeypatch):
    concept, cell = Concept.bundled("pico"), Cell("textual_inversion", "pico", 0, tmp_path)
    write, written = cell_module.atomic_write_json, []

    def full(path, value):
        written.append(path)
        if len(written) == 2:
            raise DiskFull(files.disk_full_message(Path(path), 2**20))
        write(path, value)

    monkeypatch.setattr(cell_module, "atomic_write_json", full)
    with pytest.raises(DiskFull, match="disk full: .*run the same command again"):
        cell.make(small, concept)
    (notes,) = tmp_path.rglob("notes.json")
    assert len(json.loads(notes.read_text())["moments"]) == 1
    assert len(cell.make(small, concept)["moments"]) == 3


# ---------------------------------------------------------------- the plan


def test_a_preset_is_one_of_the_moments():
    plan = edition(
        False, "tuning", (), None, 8, {"recipes": (), "concepts": (), "seeds": (), "rates": ()}
    )
    assert len(plan.recipes) >= 14 and plan.seeds == (0, 1, 2)
    for name in plan.recipes:
        from adb_core.recipes import recipe

        marks = plan.marks(name)
        assert recipe(name).steps in marks and marks[-1] == plan.long(name).steps
        assert len(marks) >= 8 and marks[-1] == round(1.5 * recipe(name).steps)


def test_the_quick_edition_draws_about_three_hundred_true_pictures():
    asked = {"recipes": (), "concepts": (), "seeds": (), "rates": ()}
    plan = edition(True, "held_out", (), None, 8, asked)
    true = len(plan.concepts) * len(plan.prompts) * (plan.truth + 1)  # and the wrong concept's
    assert len(plan.prompts) == 12 and 200 <= true <= 350
    assert {len(a) - 1 for a in plan.asks} == {0, 1, 2, 3, 4, 5} and set(plan.seeds) == {0}


def test_prompt_sets_are_thinned_and_sorted():
    entries = prompt_entries(2)
    assert len(entries) == 12
    assert [len(e["asks"]) for e in entries] == sorted(len(e["asks"]) for e in entries)
    assert len(prompt_entries(99, ["complexity_3"])) == 12
    with pytest.raises(StudyError, match="unknown prompt set 'hard': choose from complexity_0"):
        prompt_entries(2, ["hard"])


@pytest.mark.parametrize(
    "prompts, says",
    [
        ([], "prompt set is empty"),
        ([{"prompt": "a cat"}], "exactly one {}"),
        ([{"prompt": "a {}", "asks": {"mood": "sad"}}], "asks for a mood, which the judge does"),
        ([{"prompt": "a {}", "asks": {"place": "attic"}}], "place 'attic', which the judge .*snow"),
    ],
)
def test_prompts_that_cannot_be_scored_are_one_line(prompts, says):
    with pytest.raises(StudyError, match=says):
        check_prompts(prompts, LABELS)
    check_prompts(PROMPTS, LABELS)


def test_unknown_names_are_one_line():
    with pytest.raises(StudyError, match="unknown concept 'rex': choose from pico"):
        chosen_concepts("tuning", ["rex"])
    with pytest.raises(StudyError, match="choose tuning or held-out"):
        chosen_concepts("third")
    with pytest.raises(StudyError, match="unknown recipe 'magic'"):
        chosen_recipes(["magic"], ())
    assert chosen_concepts("tuning", (), 2) == ("pico", "bolt")


def test_concepts_that_cannot_be_measured_are_one_line(monkeypatch):
    concept = Concept.bundled("pico")
    plan = small_plan(recipes=("masked_map",))
    monkeypatch.setattr(Concept, "bundled", lambda name: replace(concept, masks=()))
    with pytest.raises(StudyError, match="'pico' has no masks, which recipe 'masked_map'"):
        check_concepts(plan)
    monkeypatch.setattr(Concept, "bundled", lambda name: replace(concept, info={}))
    with pytest.raises(StudyError, match="truth about concept 'pico' is not known"):
        check_concepts(plan)


def test_tuning_is_for_the_tuning_half():
    with pytest.raises(StudyError, match="'zorro' is held out, and rates are tuned on the tuning"):
        chosen_rates([0.5, 1], ["pico", "zorro"])
    with pytest.raises(StudyError, match="positive factors, as 0.5 or 2, got -1"):
        chosen_rates([-1], ["pico"])
    assert chosen_rates((), ["zorro"]) == (1.0,) and chosen_rates([1, 2, 1], ["pico"]) == (1.0, 2.0)


def test_a_rate_changes_the_last_stage_alone(small):
    plan = small_plan(recipes=("attndreambooth", "ti_dreambooth"), rates=(1.0, 2.0))
    first, *_, last = plan.long("attndreambooth", 2.0).stages
    old, *_, was = plan.long("attndreambooth").stages
    assert first == old and last == replace(was, lr=2 * was.lr)
    (joint,), (before,) = (plan.long("ti_dreambooth", rate).stages for rate in (2.0, 1.0))
    assert joint.embedding_lr / joint.lr == before.embedding_lr / before.lr
    concept = Concept.bundled("pico")
    assert small.fingerprint("dreambooth", concept, 0, 2.0) != small.fingerprint(
        "dreambooth", concept, 0
    )
    names = [str(cell) for cell in cells(plan, Path("x"))]
    assert "attndreambooth, pico, seed 0, learning rate x 2" in names and len(names) == 4 + 4


def test_cells_are_balanced_and_controls_come_once(tmp_path):
    plan = small_plan(concepts=("pico", "nori"), seeds=(0, 1))
    names = [str(cell) for cell in cells(plan, tmp_path)]
    assert len(names) == len(set(names)) == 2 * len(UNTRAINED) + 2 * 2 * 2
    assert names[0] == "base, pico, seed 0" and not any("base" in n for n in names if "seed 1" in n)


def test_small_things():
    assert [clock(s) for s in (48, 700, 12_000)] == ["48 s", "12 min", "3.3 h"]
    assert _left([], 3) == "" and _left([10.0, 20.0], 2) == "; about 30 s left"
    assert rounded(np.array([0.123456789, np.nan])) == [0.12346, None]
    assert next_concept("pico") == "bolt" and CEILING in UNTRAINED
