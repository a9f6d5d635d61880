"""The notebooks' files: in step with their source, executed, well linked and well spelt.

What they print is compared by nbval, which ``make test`` runs after these tests.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import notebooks as builder  # noqa: E402

NAMES = builder.names()
EXERCISES = [(name, number) for name in NAMES for number in builder.exercises(builder.read(name))]
NOTEBOOKS = {name: ROOT / "notebooks" / f"{name}.ipynb" for name in NAMES}


def read(name: str):
    return nbformat.read(NOTEBOOKS[name], as_version=4)


def test_every_source_has_its_notebook_and_the_other_way_round():
    assert NAMES and {p.stem for p in (ROOT / "notebooks").glob("*.ipynb")} == set(NAMES)
    numbers = [int(name[:2]) for name in NAMES]
    assert numbers == [*range(15)]


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
    assert "(hard, " in text.lower() or name[:2] in ("13", "14"), "no exercise is hard"
    assert "{{" not in text and "@@" not in text
    assert any("adb.widgets." in c.source for c in cells if c.cell_type == "code"), (
        "there is no widget"
    )


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("13")])
def test_notebook_asks_its_five_questions(name):
    call = f'adb.teaching.quiz(*adb.teaching.questions("{name[:2]}"))'
    (cell,) = [c for c in read(name).cells if c.cell_type == "code" and c.source == call]
    assert cell.outputs[0].data["text/html"].count("<details>") == 5


@pytest.mark.parametrize("name", NAMES)
def test_code_cells_can_be_taken_in_at_a_glance(name):
    """At most fifteen lines a cell and a hundred columns a line; solutions are folded away."""
    for cell in builder.read(name):
        if cell.cell_type == "code" and builder.kind(cell) != "solution":
            lines = [line for line in cell.source.split("\n") if line.strip()]
            assert len(lines) <= 15, f"{len(lines)} lines in the cell\n{cell.source}"
            assert max(map(len, lines), default=0) <= 100, cell.source


NO_PROSE = (
    r"```.*?```",  # fenced code
    r"\$\$.*?\$\$|\$[^$\n]+\$",  # formulas
    r"`[^`]*`|\{\{\w+\}\}",  # code in a sentence; what the builder fills in
    r"<[^>]+>|\]\([^)]*\)|^\[\w+\]: \S+$",  # tags; where links lead to
)


def prose_words(text: str) -> int:
    """How many words a text gives to read: formulas, code and addresses are none.

    A word is what stands between two spaces and has a letter or a digit. Exercises, tables, lists
    and what to read count; a solution is folded code and does not.
    """
    for pattern in NO_PROSE:
        text = re.sub(pattern, " ", text, flags=re.DOTALL | re.MULTILINE)
    return sum(1 for word in text.split() if re.search(r"\w", word))


def test_prose_is_counted_without_code_formulas_and_addresses():
    assert prose_words("## One *two*, three.\n\n- four: [five six](a/b.md) - 7") == 7
    assert prose_words("one $a + b$ two\n$$\nc = d\n$$\n```python\nx = 1\n``` `f(x)` {{time}}") == 2


@pytest.mark.parametrize("name", NAMES)
def test_notebook_has_three_or_four_exercises_one_of_them_hard(name):
    texts = "\n".join(c.source for c in builder.read(name) if builder.kind(c) == "markdown")
    levels = re.findall(r"^### Exercise \d \((\w+), \d+ minutes\)", texts, re.MULTILINE)
    assert len(builder.exercises(builder.read(name))) == len(levels) in (3, 4)
    assert levels.count("HARD") == 1 and set(levels) <= {"easy", "medium", "HARD"}


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_read_in_one_sitting(name):
    texts = [c.source for c in builder.read(name) if builder.kind(c) == "markdown"]
    count = prose_words("\n\n".join(texts))
    assert count <= 1200, f"{count} words"


def printed_lines(name: str) -> list[str]:
    """What the cells of a stored notebook have printed, without empty lines."""
    outputs = [o for c in read(name).cells if c.cell_type == "code" for o in c.outputs]
    printed = "\n".join(o.text for o in outputs if o.output_type == "stream")
    return [line for line in printed.split("\n") if line.strip()]


def is_verdict(line: str) -> bool:
    """Whether a line answers with a bare True or False, where a number would say how much."""
    return re.search(r"\b(True|False)\b", line) is not None


def test_notebooks_print_numbers_rather_than_booleans():
    """Less than 15 % of all printed lines: a reader shall see the size of an effect."""
    assert is_verdict("equal: True") and not is_verdict("identity: 0.71 (expected 0.6 to 0.9)")
    lines = [line for name in NAMES for line in printed_lines(name)]
    assert len(lines) > 300 and sum(map(is_verdict, lines)) < 0.15 * len(lines)


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_jupyterlab_serves_what_the_notebooks_link_to():
    """A picture beside the notebooks' folder is shown only if Jupyter's root is the repository."""
    said = subprocess.run(
        ["make", "-n", "lab"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    started = next(line for line in said.splitlines() if "-m jupyterlab" in line)
    assert "cd notebooks" not in started and "/lab/tree/notebooks/00_start_here.ipynb" in started
    assert "cd notebooks" not in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_local_links_lead_somewhere(name):
    text = "\n".join(c.source for c in builder.build(name).cells if c.cell_type == "markdown")
    written = re.findall(r"\]\(([^)\s]+)\)|^\[\w+\]: (\S+)$", text, re.MULTILINE)
    links = [
        link
        for link in (here or below for here, below in written)
        if "://" not in link and not link.startswith("#")
    ]
    assert links
    for link in links:
        path = ROOT / "notebooks" / link.partition("#")[0]
        assert path.exists(), link


# ---------------------------------------------------------------- the builder


def test_solved_version_has_the_solutions_and_nothing_folded():
    for name in NAMES:
        cells = builder.build(name, solved=True).cells
        assert not any("<details>" in c.source for c in cells)
        for parts in builder.exercises(builder.read(name)).values():
            assert parts["solution"] in [c.source for c in cells]
            assert set(parts) == {"stub", "solution", "check"}


def test_badge_and_bootstrap_take_their_address_from_one_place(monkeypatch, tmp_path):
    monkeypatch.setattr(builder, "ADDRESS", tmp_path / "address.txt")
    assert "no public address" in builder.badge("00_start_here")
    builder.ADDRESS.write_text("https://github.com/somebody/copy.git\n")
    assert "github/somebody/copy/blob/main/notebooks/00_start_here.ipynb" in builder.badge(
        "00_start_here"
    )
    code = builder.bootstrap()
    assert "'git+https://github.com/somebody/copy.git'" in code and len(code.split("\n")) <= 5
    assert code in [c.source for c in builder.build("00_start_here").cells]


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
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in lacking else real(name)
    )
    if version:
        monkeypatch.setattr(sys, "version_info", tuple(map(int, version.split("."))))
        monkeypatch.setattr(sys, "version", f"{version} (main)")
    code = compile(builder.bootstrap(), "first cell", "exec")
    if says is None:
        exec(code, {})
        return
    with pytest.raises(SystemExit, match=says):
        exec(code, {})


def test_parse_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="unknown tag 'mystery'"):
        builder.parse('# %% tags=["mystery"]\nx')
    with pytest.raises(ValueError, match="needs its number"):
        builder.parse('# %% tags=["stub"]\nx')


@pytest.mark.parametrize("name", NAMES)
def test_source_opens_as_a_notebook_and_is_written_back_as_it_was(name):
    """Whoever edits a source in Jupyter must not change what they did not touch."""
    text = (builder.SOURCES / f"{name}.py").read_text(encoding="utf-8")
    notebook = jupytext.reads(text, fmt="py:percent")
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    written = jupytext.writes(notebook, fmt="py:percent")
    assert re.sub(r"^#       jupytext_version: .*\n", "", written, flags=re.MULTILINE) == text


@pytest.mark.parametrize("name", NAMES)
def test_cells_need_one_import_of_ours(name):
    code = "\n".join(c.source for c in builder.read(name) if c.cell_type == "code")
    ours = re.findall(r"^[ \t]*(?:import|from) adb_core.*$", code, re.MULTILINE)
    assert ours == ["import adb_core as adb"]
    assert max(map(len, code.split("\n"))) <= 100


def test_new_notebook_is_one_source_and_its_exercises(monkeypatch, tmp_path):
    (tmp_path / "10_new.py").write_text(
        '# %% [markdown]\n# # 10\n\n# %% tags=["bootstrap"]\n\n# %%\nprint(1)\n\n'
        '# %% tags=["stub"] exercise="10.1"\nf = ...\n\n'
        '# %% tags=["solution"] exercise="10.1"\nf = 2\n\n'
        '# %% tags=["check"] exercise="10.1"\nprint(f)\n'
    )
    monkeypatch.setattr(builder, "SOURCES", tmp_path)
    assert builder.names() == ["10_new"]
    kinds = [c.cell_type for c in builder.build("10_new").cells]
    assert kinds == ["markdown", "code", "code", "code", "markdown", "code"]
    solved = [c.source for c in builder.build("10_new", solved=True).cells]
    assert solved[-2:] == ["f = 2", "print(f)"]


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
