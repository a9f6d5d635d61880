"""The notebooks' one source: ``notebooks/src/*.py`` -> ``notebooks/*.ipynb``.

    python tools/notebooks.py run [NAME ...]     build, execute, store the outputs, measure the time
    python tools/notebooks.py solutions          build the solved versions under out/solutions/
    python tools/notebooks.py address [URL]      write the repository's address into badges and bootstrap cells

A source is cells in percent format: ``# %%`` code, ``# %% [markdown]`` text (in comments),
``# %% [bootstrap]`` the common first cell, and an exercise in three cells, ``# %% [stub] 02.1``,
``# %% [solution] 02.1`` and ``# %% [check] 02.1``. Learners get the stub, the check and the solution
folded away; the solved version has the solution in the stub's place. ``{{badge}}`` and ``{{time}}``
in a text are replaced.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
SOURCES = FOLDER / "src"
TIMES = SOURCES / "times.json"  # written by run
ADDRESS = SOURCES / "address.txt"  # written by address; empty: nobody has published this copy yet
TABLE = ("<!-- notebook times: written by make notebooks -->", "<!-- end of notebook times -->")
CELL = re.compile(r"^# %%(?: \[(\w+)\])?(?: (.+))?$")

BOOTSTRAP = """import importlib.util, subprocess, sys

if sys.version_info < (3, 10):
    raise SystemExit(f"These notebooks need Python 3.10 or newer, and this kernel runs {{sys.version.split()[0]}}: choose another kernel (README).")
# Found already in JupyterLab and CI; on Colab this installs the core and leaves what is there alone.
if importlib.util.find_spec("adb_core") is None:
    address = {address!r}
    if not address:
        raise SystemExit("This copy of the notebook does not know where its repository is: install adb_core first (README).")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", f"git+{{address}}"], check=True)
    importlib.invalidate_caches()
missing = [name for name in ("torch", "diffusers", "transformers", "ipywidgets", "matplotlib") if importlib.util.find_spec(name) is None]
if missing:
    raise SystemExit(f"This kernel lacks {{', '.join(missing)}}: run make setup, and choose the kernel of .venv (README).")
from adb_core.system.devices import share_cores
share_cores()  # leaves alone the cores that other programs keep busy
if "google.colab" in sys.modules:
    from google.colab import output
    output.enable_custom_widget_manager()"""


@dataclass(frozen=True)
class Cell:
    """kind: code, markdown, bootstrap, stub, solution or check; name: of the exercise."""

    kind: str
    name: str
    text: str


def parse(source: str) -> list[Cell]:
    """The cells of a source.

    Raises:
        ValueError: an unknown kind, or text before the first cell.
    """
    cells: list[Cell] = []
    kind, name, lines = None, "", []

    def close() -> None:
        text = "\n".join(lines).strip("\n")
        if kind is None:
            if text:
                raise ValueError("a source begins with a cell marker")
            return
        if kind == "markdown":
            text = "\n".join(re.sub(r"^# ?", "", line) for line in text.split("\n"))
        cells.append(Cell(kind, name, text))

    for line in source.split("\n"):
        marker = CELL.match(line)
        if marker is None:
            lines.append(line)
            continue
        close()
        kind, name, lines = marker[1] or "code", marker[2] or "", []
        if kind not in ("code", "markdown", "bootstrap", "stub", "solution", "check"):
            raise ValueError(f"unknown kind of cell {kind!r}")
    close()
    return cells


def exercises(cells: list[Cell]) -> dict[str, dict[str, str]]:
    """Exercise name -> {"stub", "solution", "check"}: the texts of its cells."""
    found: dict[str, dict[str, str]] = {}
    for cell in cells:
        if cell.kind in ("stub", "solution", "check"):
            found.setdefault(cell.name, {})[cell.kind] = cell.text
    return found


def build(name: str, *, solved: bool = False):
    """The notebook of ``notebooks/src/<name>.py``, without outputs."""
    cells = parse((SOURCES / f"{name}.py").read_text(encoding="utf-8"))
    answers = exercises(cells)
    made = []
    for cell in cells:
        if cell.kind == "markdown":
            made.append(new_markdown_cell(_fill(cell.text, name)))
        elif cell.kind == "bootstrap":
            made.append(new_code_cell(BOOTSTRAP.format(address=address())))
        elif cell.kind == "solution":
            if not solved:
                made.append(
                    new_markdown_cell(
                        f"<details><summary>Solution of {cell.name}</summary>\n\n```python\n{cell.text}\n```\n\n</details>"
                    )
                )
        else:
            made.append(
                new_code_cell(
                    answers[cell.name]["solution"] if solved and cell.kind == "stub" else cell.text
                )
            )
    for number, cell in enumerate(made):  # the same source gives the same file
        cell["id"] = f"cell-{number:02d}"
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return new_notebook(
        cells=made, metadata={"kernelspec": kernel, "language_info": {"name": "python"}}
    )


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
    return (
        "not measured yet"
        if seconds is None
        else f"{max(1, round(seconds / 10)) * 10} s on 2 CPU cores; not measured on a GPU"
    )


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
    sys.path.insert(0, str(ROOT))
    from adb_core.system.files import atomic_write_text

    atomic_write_text(path, nbformat.writes(notebook) + "\n")


def run(wanted: list[str]) -> None:
    for name in wanted:
        notebook = build(name)
        seconds = execute(notebook, FOLDER)
        sys.path.insert(0, str(ROOT))
        from adb_core.system.files import atomic_write_json

        atomic_write_json(TIMES, {**times(), name: round(seconds, 1)})
        for cell, fresh in zip(notebook.cells, build(name).cells):  # the time just measured
            cell["source"] = fresh["source"]
        clean(notebook)
        write(FOLDER / f"{name}.ipynb", notebook)
        print(f"{name}: {seconds:.0f} s", flush=True)
    write_table()


def write_table() -> None:
    """The table of measured times in README.md."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    if TABLE[0] not in text:
        return
    rows = [
        f"| [{name}](notebooks/{name}.ipynb) | {times()[name]:.0f} s |"
        for name in names()
        if name in times()
    ]
    total = f"| all | {sum(times()[n] for n in names() if n in times()):.0f} s |"
    table = "\n".join(
        ["| notebook | time on 2 CPU cores, empty cache |", "|---|---|", *rows, total]
    )
    head, _, rest = text.partition(TABLE[0])
    from adb_core.system.files import atomic_write_text

    atomic_write_text(path, f"{head}{TABLE[0]}\n{table}\n{TABLE[1]}{rest.partition(TABLE[1])[2]}")


def refresh() -> None:
    """Write texts and bootstrap cells anew, keeping the stored outputs of code that has not changed."""
    for name in names():
        path = FOLDER / f"{name}.ipynb"
        if not path.exists():
            continue
        stored, fresh = nbformat.read(path, as_version=4), build(name)
        if [c.cell_type for c in stored.cells] != [c.cell_type for c in fresh.cells]:
            sys.exit(
                f"{name}: cells were added or removed; run: python tools/notebooks.py run {name}"
            )
        for old, new in zip(stored.cells, fresh.cells):
            if (
                old.cell_type == "code"
                and old.source != new.source
                and "importlib.util" not in new.source
            ):
                sys.exit(f"{name}: code has changed; run: python tools/notebooks.py run {name}")
            old["source"] = new["source"]
        write(path, stored)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("run", "solutions", "address", "refresh"))
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    if args.action == "run":
        unknown = set(args.names) - set(names())
        if unknown:
            sys.exit(f"no source for {', '.join(sorted(unknown))}: there are {', '.join(names())}")
        run(args.names or names())
    elif args.action == "solutions":
        for name in names():
            (ROOT / "out/solutions").mkdir(parents=True, exist_ok=True)
            write(ROOT / "out/solutions" / f"{name}.ipynb", build(name, solved=True))
        print("solved versions: out/solutions/")
    else:
        if args.action == "address":
            ADDRESS.write_text((args.names[0] if args.names else "") + "\n", encoding="utf-8")
        refresh()


if __name__ == "__main__":
    main()
