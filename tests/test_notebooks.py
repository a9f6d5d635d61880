"""The notebooks' files: in step with their source, executed, free of errors, well linked and well spelt.

What they print is compared by nbval, which ``make test`` runs after these tests.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from models import tiny_base, tiny_concept

from adb_core import personalization
from adb_core.recipes import recipe
from adb_core.system import devices
from adb_core.teaching.exercises import check, differs, verdict
from adb_core.teaching.notebook import trained, workspace

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import notebooks as builder  # noqa: E402

NAMES = builder.names()
NOTEBOOKS = {name: ROOT / "notebooks" / f"{name}.ipynb" for name in NAMES}
EXERCISES = [
    (name, number)
    for name in NAMES
    for number in builder.exercises(
        builder.parse((builder.SOURCES / f"{name}.py").read_text(encoding="utf-8"))
    )
]


def read(name: str):
    return nbformat.read(NOTEBOOKS[name], as_version=4)


def test_every_source_has_its_notebook_and_the_other_way_round():
    assert NAMES and {p.stem for p in (ROOT / "notebooks").glob("*.ipynb")} == set(NAMES)
    assert [int(name[:2]) for name in NAMES] == list(range(10))


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_what_its_source_says(name):
    stored, fresh = read(name), builder.build(name)
    assert [(c.cell_type, c.source) for c in stored.cells] == [
        (c.cell_type, c.source) for c in fresh.cells
    ]


@pytest.mark.parametrize("name", NAMES)
def test_notebook_was_executed_from_top_to_bottom_without_an_error(name):
    cells = [c for c in read(name).cells if c.cell_type == "code"]
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    outputs = [o for c in cells for o in c.outputs]
    assert not [o for o in outputs if o.output_type == "error"]
    assert not [o.text for o in outputs if o.get("name") == "stderr"], "warnings were stored"
    assert not [o.text for o in outputs if "DEBUG" in o.get("text", "")], (
        "a number for the author was left in"
    )
    assert "widgets" not in read(name).metadata
    assert NOTEBOOKS[name].stat().st_size < 3e6


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_carries_a_description(name):
    pictures = [
        o
        for c in read(name).cells
        if c.cell_type == "code"
        for o in c.outputs
        if "image/png" in o.get("data", {})
    ]
    assert pictures
    for output in pictures:
        assert len(output.metadata["image/png"]["alt"]) > 20


@pytest.mark.parametrize("name", NAMES)
def test_notebook_follows_the_skeleton(name):
    cells = builder.build(name).cells
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    assert cells[0].source.startswith(f"# {name[:2]} · ")
    for part in (
        "**You will learn**",
        "**Prerequisites:**",
        "**Measured time:**",
        "**Predict.**",
        "**Explain.**",
        "## Exercises",
        "## Summary",
        "**Read next:**",
    ):
        assert part in text, f"{part} is missing"
    assert 2 <= sum(1 for n, _ in EXERCISES if n == name) <= 4
    assert "{{" not in text and "@@" not in text
    assert any("adb_core.widgets" in c.source for c in cells if c.cell_type == "code"), (
        "there is no widget"
    )


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_jupyterlab_serves_what_the_notebooks_link_to():
    """A picture beside the notebooks' folder is shown only if JupyterLab's root is the repository."""
    said = subprocess.run(
        ["make", "-n", "lab"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    started = next(line for line in said.splitlines() if "-m jupyterlab" in line)
    assert "cd notebooks" not in started and "/lab/tree/notebooks/00_start_here.ipynb" in started
    assert "cd notebooks" not in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_local_links_lead_somewhere(name):
    text = "\n".join(c.source for c in builder.build(name).cells if c.cell_type == "markdown")
    links = [
        link
        for link in re.findall(r"\]\(([^)\s]+)\)", text)
        if "://" not in link and not link.startswith("#")
    ]
    assert links
    for link in links:
        path = ROOT / "notebooks" / link.partition("#")[0]
        assert path.exists(), link


# ---------------------------------------------------------------- exercises


def answer(name: str, number: str, part: str):
    """What the exercise's function is, after its stub or its solution has run alone."""
    cells = builder.exercises(
        builder.parse((builder.SOURCES / f"{name}.py").read_text(encoding="utf-8"))
    )[number]
    asked = re.search(rf'check\("{re.escape(number)}", (\w+)\)', cells["check"])
    assert asked, f"the check of {number} does not name its answer"
    space = {"np": np, "torch": torch}
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


def test_unknown_exercise_is_an_error():
    with pytest.raises(ValueError, match="no exercise"):
        verdict("99.1", None)


def test_differs_names_the_shape_and_the_size_of_the_error():
    assert differs(np.zeros(3), np.zeros(3)) is None
    assert "shape (3,), expected (2,)" in differs(np.zeros(3), np.zeros(2))
    assert "off by up to 0.5" in differs(np.array([0.5]), np.zeros(1))
    assert "None" in differs(None, np.zeros(1))


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
    """A kernel that is restarted in the middle loses nothing but the steps since the last checkpoint."""
    monkeypatch.chdir(tmp_path)
    plan = recipe("textual_inversion")
    plan = replace(plan, stages=(replace(plan.stages[0], steps=6, batch_size=2),))
    base, concept = tiny_base(), tiny_concept()
    taken = []

    class Restart(BaseException):
        pass

    def step(stop, record):
        taken.append(record.step)
        if record.step == stop:
            raise Restart

    real = personalization.personalize

    def personalize(*args, on_step, **options):
        return real(
            *args,
            on_step=lambda record: (on_step(record), step(stop, record)),
            save_every=2,
            **options,
        )

    monkeypatch.setattr(personalization, "personalize", personalize)
    stop = 5
    with pytest.raises(Restart):
        trained(base, concept, plan, view_count=2)
    stop = None
    again = trained(base, concept, plan, view_count=2)
    assert taken == [1, 2, 3, 4, 5, 5, 6]  # from the checkpoint after step 4
    loaded = trained(base, concept, plan, view_count=2)
    assert len(taken) == 7 and torch.equal(again.token.rows, loaded.token.rows)
    whole = real(tiny_base(), tiny_concept(), plan, seed=0, view_count=2)
    assert torch.equal(again.token.rows, whole.token.rows)


# ---------------------------------------------------------------- the builder


def test_solved_version_has_the_solutions_and_nothing_folded():
    for name in NAMES:
        cells = builder.build(name, solved=True).cells
        assert not any("<details>" in c.source for c in cells)
        for parts in builder.exercises(
            builder.parse((builder.SOURCES / f"{name}.py").read_text(encoding="utf-8"))
        ).values():
            assert parts["solution"] in [c.source for c in cells]
            assert set(parts) == {"stub", "solution", "check"}


def test_badge_and_bootstrap_take_their_address_from_one_place(monkeypatch, tmp_path):
    monkeypatch.setattr(builder, "ADDRESS", tmp_path / "address.txt")
    assert "no public address" in builder.badge("00_start_here")
    builder.ADDRESS.write_text("https://github.com/somebody/copy.git\n")
    assert "github/somebody/copy/blob/main/notebooks/00_start_here.ipynb" in builder.badge(
        "00_start_here"
    )
    code = next(
        c.source for c in builder.build("00_start_here").cells if "importlib.util" in c.source
    )
    assert "'https://github.com/somebody/copy.git'" in code


@pytest.mark.parametrize(
    ("version", "lacking", "says"),
    [
        ("3.9.2", (), "need Python 3.10 or newer, and this kernel runs 3.9.2"),
        (None, ("torch", "diffusers"), "This kernel lacks torch, diffusers: run make setup"),
        (None, (), None),
    ],
)
def test_first_cell_says_what_a_kernel_lacks(monkeypatch, version, lacking, says):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(devices, "busy_elsewhere", lambda: 0.0)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in lacking else real(name)
    )
    if version:
        monkeypatch.setattr(sys, "version_info", tuple(map(int, version.split("."))))
        monkeypatch.setattr(sys, "version", f"{version} (main)")
    code = compile(builder.BOOTSTRAP.format(address=""), "first cell", "exec")
    if says is None:
        exec(code, {})
        return
    with pytest.raises(SystemExit, match=says):
        exec(code, {})


@pytest.mark.parametrize(("busy", "threads"), [(0.0, 2), (0.4, 2), (0.9, 1), (2.1, 1), (None, 2)])
def test_notebooks_leave_busy_cores_alone(monkeypatch, busy, threads):
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(devices.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(devices, "busy_elsewhere", lambda: busy)
    try:
        torch.set_num_threads(2)
        assert devices.share_cores() == threads
        torch.set_num_threads(2)
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert devices.share_cores() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs /proc/stat")
def test_another_programs_work_is_seen_and_ones_own_is_not():
    program = "import time\nend = time.monotonic() + 30\nwhile time.monotonic() < end: pass"
    other = subprocess.Popen([sys.executable, "-c", program])
    try:
        assert max(devices.busy_elsewhere(0.3) for _ in range(5)) > 0.3
    finally:
        other.kill()
        other.wait()


def test_parse_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="unknown kind"):
        builder.parse("# %% [mystery]\nx")
    with pytest.raises(ValueError, match="begins with a cell marker"):
        builder.parse("x = 1\n# %%\n")


def test_spelling():
    """codespell knows common misspellings; words that it wrongly takes for them are listed."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "codespell_lib",
            "--ignore-words-list",
            "vie,nd,vermillion",
            "README.md",
            "CONTRIBUTING.md",
            "notebooks/README.md",
            "notebooks/src",
            "data/README.md",
            "adb_core",
            "benchmarks",
            "tools",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert done.returncode == 0, done.stdout
