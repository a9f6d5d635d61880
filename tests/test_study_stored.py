"""Stored results can be checked: one cell is made again, and stands or does not."""

import json
import shutil

import pytest
import torch
from small_study import PROMPTS, make_small, small_bench, small_plan

from adb_core.study.plan import StudyError
from adb_core.study.report import write_report
from adb_core.study.run import run_study
from adb_core.study.stored import Checked, Stored, differences, numbers

NAME = "textual_inversion,pico,0"


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    make_small(monkeypatch.setattr)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a finished study."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch.setattr)
        bench = small_bench(small_plan(recipes=("textual_inversion",)))
        found = [cell for _, cell in run_study(bench, folder, lambda line: None)]
        write_report(found, bench.plan, bench.known, folder)
    return folder


@pytest.fixture
def committed(whole, tmp_path):
    """What one would commit of it: the summary and the table, without the cells."""
    folder = tmp_path / "committed"
    folder.mkdir()
    for name in ("summary.json", "table.csv"):
        shutil.copy(whole / name, folder)
    return folder


def checked(folder, tmp_path, name=NAME, **more) -> Checked:
    stored = Stored.read(folder)
    return stored.check(small_bench(stored.plan), name, tmp_path / "work", **more)


def test_the_plan_is_read_back(whole):
    assert Stored.read(whole).plan == small_plan(recipes=("textual_inversion",))
    assert Stored.read(whole).plan.prompts == PROMPTS


@pytest.mark.parametrize("name", [NAME, "base,pico,0"])
def test_a_cell_stands_with_its_pictures_and_by_its_table_alone(whole, committed, tmp_path, name):
    by_pictures, by_rows = (
        checked(folder, tmp_path / str(k), name) for k, folder in enumerate((whole, committed))
    )
    assert by_pictures.differences == by_rows.differences == []
    assert by_pictures.count > 10 and by_rows.count > 10
    (line,) = by_rows.lines()
    assert line == f"{name}: {by_rows.count} numbers, all within 0.002 of what is stored"


def test_a_number_that_was_changed_is_found(committed, tmp_path):
    path = committed / "table.csv"
    lines = path.read_text().splitlines()
    column = lines[0].split(",").index("identity")
    row = next(k for k, line in enumerate(lines) if line.startswith("textual_inversion"))
    cells = lines[row].split(",")
    cells[column] = str(float(cells[column]) + 0.01)
    path.write_text("\n".join([*lines[:row], ",".join(cells), *lines[row + 1 :]]) + "\n")
    found = checked(committed, tmp_path)
    assert len(found.differences) == 1 and ".identity: " in found.differences[0]
    assert found.lines()[0].endswith("numbers differ by more than 0.002")
    assert "1 of " in found.lines()[0]
    assert checked(committed, tmp_path / "b", tolerance=0.02).differences == []


def test_a_row_that_was_taken_out_is_found(committed, tmp_path):
    path = committed / "table.csv"
    lines = [x for x in path.read_text().splitlines() if not x.startswith("textual_inversion")]
    path.write_text("\n".join(lines) + "\n")
    assert checked(committed, tmp_path).differences[0].startswith("rows has 0 and ")


@pytest.mark.parametrize(
    "other, says",
    [({"seed": 1}, "another base model .*check it"), ({"tint": 1.0}, "another judge .*check it")],
)
def test_results_of_another_model_are_refused(committed, tmp_path, other, says):
    stored = Stored.read(committed)
    with pytest.raises(StudyError, match=says) as caught:
        stored.check(small_bench(stored.plan, **other), NAME, tmp_path)
    assert "\n" not in str(caught.value) and not list(tmp_path.glob("cells"))


def spoil(folder, **parts) -> None:
    path = folder / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))


def test_what_cannot_be_checked_is_one_line(committed, tmp_path):
    with pytest.raises(StudyError, match="no cell 'magic,pico,0' in .*: name recipe,concept,seed"):
        checked(committed, tmp_path, "magic,pico,0")
    with pytest.raises(StudyError, match="holds no results of adb evaluate"):
        Stored.read(tmp_path)
    cells = Stored.read(committed).summary["cells"]
    spoil(committed, cells={**cells, NAME: "0123456789abcdef"})
    with pytest.raises(StudyError, match="made with another model, recipe, judge or other prompts"):
        checked(committed, tmp_path)
    spoil(committed, cells=cells, plan={"recipes": []})
    with pytest.raises(StudyError, match="are of another version .*: measure anew"):
        checked(committed, tmp_path)
    (committed / "summary.json").write_text("[]")
    with pytest.raises(StudyError, match="does not say how it was made"):
        Stored.read(committed)
    (committed / "summary.json").write_text("{")
    with pytest.raises(StudyError, match="summary.json is damaged"):
        Stored.read(committed)


def test_a_table_that_is_none_is_one_line(committed, tmp_path):
    (committed / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(StudyError, match="is not a table of adb evaluate"):
        checked(committed, tmp_path)
    (committed / "table.csv").unlink()
    with pytest.raises(StudyError, match="table.csv cannot be read"):
        checked(committed, tmp_path)


def test_a_long_list_of_differences_is_cut():
    found = Checked("x", 20, [f"d{k}" for k in range(9)], 0.1)
    assert found.lines() == [
        "x: 9 of 20 numbers differ by more than 0.1",
        *"d0 d1 d2 d3 d4".split(),
        "...",
    ]
    assert list(numbers({"a": [1, None, True, "x"], "b": {"c": 2.5}})) == [1, 2.5]
    assert differences(1.0, 1.05, "v", 0.1) == [] and differences(1.0, None, "v", 0.1) != []
