"""The notebooks' one source: ``notebooks/src/*.py`` -> ``notebooks/*.ipynb``.

    python tools/notebooks.py run [NAME ...]     build, execute, store the outputs, measure the time
    python tools/notebooks.py solutions          build the solved versions under out/solutions/
    python tools/notebooks.py address [URL]      write the address into badges and bootstrap cells
    python tools/notebooks.py refresh            write texts anew, keep the stored outputs of code

A source is a notebook in jupytext's percent format, and opens as one in Jupyter. What is ours are
tags: ``bootstrap`` on the common first cell, and an exercise in three cells with the same
``exercise="02.1"`` and the tags ``stub``, ``solution`` and ``check``. Learners get the stub, the
check, and the solution folded away; the solved version has the solution in the stub's place.
``{{badge}}`` and ``{{time}}`` in a text are replaced.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import jupytext
import nbformat
import typer
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
SOURCES = FOLDER / "src"
TIMES = SOURCES / "times.json"  # written by run
ADDRESS = SOURCES / "address.txt"  # written by address; empty: nobody has published this copy yet
TABLE = ("<!-- notebook times: written by make notebooks -->", "<!-- end of notebook times -->")
PARTS = ("stub", "solution", "check")  # of an exercise
TAGS = {"bootstrap", *PARTS}

sys.path.insert(0, str(ROOT))
from adb_core.system.files import atomic_write_json, atomic_write_text  # noqa: E402

BOOTSTRAP = """import importlib.util, subprocess, sys
if importlib.util.find_spec("adb_core") is None:  # on Colab: install the core, leave the rest alone
    {install}
from adb_core.teaching.bootstrap import start
start()"""
INSTALL = 'subprocess.run([sys.executable, "-m", "pip", "install", "-q", {source!r}], check=True)'
REFUSE = 'raise SystemExit("This copy does not know where its repository is: see README.md")'


# ---------------------------------------------------------------- building


def kind(cell) -> str:
    """bootstrap, stub, solution, check, or the cell's own type.

    Raises:
        ValueError: a tag that the builder does not know, or an exercise's cell without a number.
    """
    tags = cell.metadata.get("tags", [])
    if unknown := set(tags) - TAGS:
        raise ValueError(f"unknown tag {sorted(unknown)[0]!r}: there are {', '.join(sorted(TAGS))}")
    if set(tags) & set(PARTS) and "exercise" not in cell.metadata:
        raise ValueError(f'a {tags[0]} needs its number, as exercise="02.1"')
    return tags[0] if tags else cell.cell_type


def parse(source: str):
    """The cells of a source.

    Raises:
        ValueError: see :func:`kind`.
    """
    cells = jupytext.reads(source, fmt="py:percent").cells
    for cell in cells:
        cell.source = cell.source.strip("\n")
        kind(cell)
    return cells


def read(name: str):
    """The cells of ``notebooks/src/<name>.py``."""
    return parse((SOURCES / f"{name}.py").read_text(encoding="utf-8"))


def exercises(cells) -> dict[str, dict[str, str]]:
    """Exercise number -> {"stub", "solution", "check"}: the texts of its cells."""
    parts: dict[str, dict[str, str]] = {}
    for cell in cells:
        if kind(cell) in PARTS:
            parts.setdefault(cell.metadata["exercise"], {})[kind(cell)] = cell.source
    return parts


def build(name: str, *, solved: bool = False):
    """The notebook of ``notebooks/src/<name>.py``, without outputs."""
    cells = read(name)
    answers = exercises(cells)
    built = []
    for cell in cells:
        what, text, number = kind(cell), cell.source, cell.metadata.get("exercise")
        if what == "markdown":
            built.append(new_markdown_cell(_fill(text, name)))
        elif what == "bootstrap":
            built.append(new_code_cell(bootstrap()))
        elif what == "solution":
            if not solved:
                built.append(new_markdown_cell(_folded(number, text)))
        else:
            stub = solved and what == "stub"
            built.append(new_code_cell(answers[number]["solution"] if stub else text))
    for number, cell in enumerate(built):  # the same source gives the same file
        cell["id"] = f"cell-{number:02d}"
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return new_notebook(cells=built, metadata=metadata)


def _folded(number: str, code: str) -> str:
    return (
        f"<details><summary>Solution of {number}</summary>\n\n```python\n{code}\n```\n\n</details>"
    )


def bootstrap() -> str:
    """The first cell; it may be run twice, and reinstalls nothing that is there."""
    install = INSTALL.format(source=f"git+{address()}") if address() else REFUSE
    return BOOTSTRAP.format(install=install)


def address() -> str:
    return ADDRESS.read_text(encoding="utf-8").strip() if ADDRESS.exists() else ""


def _fill(text: str, name: str) -> str:
    return text.replace("{{badge}}", badge(name)).replace("{{time}}", said_time(name))


def badge(name: str) -> str:
    """The Colab badge, or a sentence where nobody has said where the repository is."""
    where = address().removesuffix(".git")
    if not where.startswith("https://github.com/"):
        return (
            "*Colab: this copy has no public address yet; `make address URL=...` writes the badge.*"
        )
    target = where.removeprefix("https://github.com/")
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"(https://colab.research.google.com/github/{target}/blob/main/notebooks/{name}.ipynb)"
    )


def times() -> dict[str, float]:
    return json.loads(TIMES.read_text()) if TIMES.exists() else {}


def said_time(name: str) -> str:
    seconds = times().get(name)
    if seconds is None:
        return "not measured yet"
    return f"{max(1, round(seconds / 10)) * 10} s on 2 CPU cores; not measured on a GPU"


def names() -> list[str]:
    return sorted(p.stem for p in SOURCES.glob("[0-9]*.py"))


# ---------------------------------------------------------------- running


def execute(notebook, folder: Path) -> float:
    """Run all cells in place; returns the seconds it took."""
    from nbclient import NotebookClient

    began = time.monotonic()
    NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
        coalesce_streams=True,
    ).execute()
    return time.monotonic() - began


def clean(notebook) -> None:
    """Drop what must not be stored: widget state, timing of cells, execution metadata."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)


def write(path: Path, notebook) -> None:
    atomic_write_text(path, nbformat.writes(notebook) + "\n")


def write_table() -> None:
    """The table of measured times in README.md."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    if TABLE[0] not in text:
        return
    measured = {name: times()[name] for name in names() if name in times()}
    rows = [f"| [{n}](notebooks/{n}.ipynb) | {seconds:.0f} s |" for n, seconds in measured.items()]
    head = ["| notebook | time on 2 CPU cores, empty cache |", "|---|---|"]
    table = "\n".join([*head, *rows, f"| all | {sum(measured.values()):.0f} s |"])
    before, _, rest = text.partition(TABLE[0])
    after = rest.partition(TABLE[1])[2]
    atomic_write_text(path, f"{before}{TABLE[0]}\n{table}\n{TABLE[1]}{after}")


# ---------------------------------------------------------------- commands

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


@app.command()
def run(chosen: Annotated[list[str] | None, typer.Argument(help="notebooks; all")] = None) -> None:
    """Build, execute, store the outputs, measure the time."""
    if unknown := set(chosen or ()) - set(names()):
        there = ", ".join(names())
        sys.exit(f"no source for {', '.join(sorted(unknown))}: there are {there}")
    for name in chosen or names():
        notebook = build(name)
        seconds = execute(notebook, FOLDER)
        atomic_write_json(TIMES, {**times(), name: round(seconds, 1)})
        for cell, fresh in zip(notebook.cells, build(name).cells, strict=True):
            cell["source"] = fresh["source"]  # with the time just measured
        clean(notebook)
        write(FOLDER / f"{name}.ipynb", notebook)
        typer.echo(f"{name}: {seconds:.0f} s")
    write_table()


@app.command()
def solutions() -> None:
    """Build the solved versions under out/solutions/."""
    folder = ROOT / "out" / "solutions"
    folder.mkdir(parents=True, exist_ok=True)
    for name in names():
        write(folder / f"{name}.ipynb", build(name, solved=True))
    typer.echo("solved versions: out/solutions/")


@app.command()
def refresh() -> None:
    """Write texts and bootstrap cells anew; code that has changed must be run."""
    for name in names():
        path = FOLDER / f"{name}.ipynb"
        if not path.exists():
            continue
        stored, fresh = nbformat.read(path, as_version=4), build(name)
        again = f"run: python tools/notebooks.py run {name}"
        if [c.cell_type for c in stored.cells] != [c.cell_type for c in fresh.cells]:
            sys.exit(f"{name}: cells were added or removed; {again}")
        for old, new in zip(stored.cells, fresh.cells, strict=True):
            ours = old.cell_type == "markdown" or new.source == bootstrap()
            if old.source != new.source and not ours:
                sys.exit(f"{name}: code has changed; {again}")
            old["source"] = new["source"]
        write(path, stored)


@app.command("address")
def write_address(url: Annotated[str, typer.Argument(help="of the repository; none")] = "") -> None:
    """Write the repository's address into badges and bootstrap cells."""
    ADDRESS.write_text(url + "\n", encoding="utf-8")
    refresh()


if __name__ == "__main__":
    app()
