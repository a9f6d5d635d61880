"""Finished cells in one file: another machine goes on with them."""

import json
import zipfile

import pytest
from command_line import run
from small_study import make_small, small_bench, small_plan

from adb_core.study import cell as cell_module
from adb_core.study.archive import keep, take
from adb_core.study.plan import StudyError
from adb_core.study.run import run_study

PLAN = small_plan(recipes=("textual_inversion",))


@pytest.fixture
def bench(monkeypatch):
    make_small(monkeypatch.setattr)
    return small_bench(PLAN)


def cells_of(folder) -> dict:
    return {p.name: json.loads(p.read_bytes()) for p in sorted(folder.glob("cells/*/*.json"))}


def test_another_machine_makes_no_cell_again(bench, tmp_path, monkeypatch):
    made = [found for _, found in run_study(bench, tmp_path / "here", lambda _: None)]
    assert keep(tmp_path / "here", tmp_path / "cells.zip") == len(made) == 5
    assert take(tmp_path / "cells.zip", tmp_path / "there", bench.known) == 5
    assert cells_of(tmp_path / "there") == cells_of(tmp_path / "here")
    monkeypatch.setattr(cell_module.Cell, "make", None)  # whoever makes one, fails
    assert [f for _, f in run_study(bench, tmp_path / "there", lambda _: None)] == made
    assert take(tmp_path / "cells.zip", tmp_path / "there", bench.known) == 0  # all are there


def test_the_same_cells_are_the_same_bytes_and_no_lock_or_unfinished_one_is_kept(bench, tmp_path):
    for _ in run_study(bench, tmp_path / "here", lambda _: None):
        pass
    files = [tmp_path / "a.zip", tmp_path / "b.zip"]
    keep(tmp_path / "here", files[0])
    (tmp_path / "here" / "cells" / "base" / "half.work").mkdir()
    take(files[0], tmp_path / "there", bench.known)
    keep(tmp_path / "there", files[1])
    assert files[0].read_bytes() == files[1].read_bytes()
    with zipfile.ZipFile(files[0]) as file:
        assert all(name.endswith(".json") for name in file.namelist())


def test_an_archive_that_is_not_there_yet_holds_none(tmp_path):
    assert take(tmp_path / "none.zip", tmp_path / "out", {"judge": "a"}) == 0
    assert not (tmp_path / "out").exists()


def stored(path, known, **members) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("study.json", json.dumps({"known": known}))
        for name, text in members.items():
            file.writestr(name.replace("__", "/"), text)


def test_results_of_another_judge_are_refused(tmp_path):
    stored(tmp_path / "a.zip", {"judge": "0123"})
    with pytest.raises(StudyError, match=r"a\.zip holds results of another judge .*--archive"):
        take(tmp_path / "a.zip", tmp_path / "out", {"judge": "4567"})


@pytest.mark.parametrize("content", [b"", b"no zip", None])
def test_a_damaged_archive_is_one_line(tmp_path, content):
    path = tmp_path / "a.zip"
    if content is None:  # cut in the middle
        stored(path, {"judge": "a"}, base__pico_0="x" * 1000)
        content = path.read_bytes()[:200]
    path.write_bytes(content)
    with pytest.raises(StudyError, match="no archive of cells, or damaged") as caught:
        take(path, tmp_path / "out", {"judge": "a"})
    assert "\n" not in str(caught.value)


def test_only_cells_are_taken_from_it(tmp_path):
    names = {"..__..__evil.json": "{}", "base__notes.txt": "x", "base__pico-0-0123abcd.json": "{}"}
    stored(tmp_path / "a.zip", {"judge": "a"}, **names)
    assert take(tmp_path / "a.zip", tmp_path / "out", {"judge": "a"}) == 1
    files = [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()]
    assert sorted(files) == ["a.zip", "out/cells/base/pico-0-0123abcd.json", "out/study.json"]


def test_a_folder_as_archive_is_refused_before_anything_loads(tmp_path):
    done = run("evaluate", "--quick", "--out", tmp_path / "out", "--archive", tmp_path)
    assert done.exit_code == 2 and "is a folder, not a file" in done.output
