"""The site: the executed notebooks and the pages they link to, as HTML that needs no network.

    python tools/website.py [--out out/site]

Nothing is executed. A copy of the notebooks as they are stored, of README.md, and of every file
of the repository that a page links to is laid out as in the repository, so that its links hold,
and given to Sphinx (``tools/website/conf.py``). A link that leads nowhere stops the build.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import nbformat
import typer
from nbformat.v4 import new_output

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from adb_core.system.commands import InputError, run_command  # noqa: E402
from adb_core.system.files import atomic_save_pretrained  # noqa: E402

SETTINGS = Path(__file__).resolve().parent / "website"
NEEDED = ("sphinx", "myst_nb", "furo", "sphinx-mathjax-offline")
WIDGET = "application/vnd.jupyter.widget-view+json"
COLUMNS = re.compile(r"\S {3,}\S")
EXTRA = "_extra"  # what Sphinx copies into the site as it is
ALTS = "alternative-texts.json"  # digest of a picture -> what it shows; conf.py reads it

LINK = re.compile(r"(?<=\]\()[^()\s]+(?=\))|(?<=\]: )\S+$", re.MULTILINE)
RAW_IMAGE = re.compile(r"<(?:img|source)\b[^>]*?\bsrc=[\"']([^\"'\s]+)[\"']")
OUTSIDE_IMAGE = re.compile(r"!\[([^\]]*)\]\(https?://[^)\s]*\)")
NO_BADGE = re.compile(r"^\*Colab: this copy has no public address yet.*\*\n\n", re.MULTILINE)
IDEA = re.compile(r"^\| \[[^\]]*\]\((notebooks/[^)]*\.ipynb)\) \| (\D.*) \|$", re.MULTILINE)


# ---------------------------------------------------------------- notebooks


def note(shown: str) -> str | None:
    """What stands where a widget stood: its title; None where it was a progress bar."""
    if not shown.startswith(("VBox(", "HBox(")):
        return None
    title = re.search(r"<b>(.*?)(</b>|…)", shown)
    name = f": <b>{html.escape(html.unescape(title[1]))}</b>" if title else ""
    return f'<p class="widget-note">A widget, where the notebook runs{name}</p>'


def inlined(kind: str, data: str, alt: str) -> str:
    """A picture of a kind that Sphinx does not know, as WebP, in the page itself."""
    return f'<img alt="{html.escape(alt)}" src="data:{kind};base64,{"".join(data.split())}">'


def is_table(printed: str) -> bool:
    """Whether a printed text has three lines or more with columns, set apart by spaces."""
    return sum(COLUMNS.search(line) is not None for line in printed.split("\n")) >= 3


def still(output) -> object | None:
    """An output as it can be shown without a kernel: pictures stay, widgets become a note.

    What was printed is wrapped on a phone, but for tables, which scroll.
    """
    if output.output_type == "stream" and is_table(output.text):
        page = f'<pre class="columns">{html.escape(output.text)}</pre>'
        return new_output("display_data", data={"text/html": page})
    data = output.get("data", {})
    images = {kind: v for kind, v in data.items() if kind.startswith("image/")}
    if "image/webp" in images:
        alt = output.metadata.get("image/webp", {}).get("alt", "a picture that moves")
        output.data = {"text/html": inlined("image/webp", images["image/webp"], alt)}
    elif images:
        output.data = images
    elif WIDGET in data:
        words = note(data.get("text/plain", ""))
        if words is None:
            return None
        output.data = {"text/html": words}
    return output


def alternative_texts(notebook) -> dict[str, str]:
    """Digest of each stored picture -> its alternative text; Sphinx names the files by digest."""
    texts = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            for kind, more in output.get("metadata", {}).items():
                if kind in output.get("data", {}) and "alt" in more:
                    picture = base64.b64decode(output.data[kind])
                    texts[hashlib.sha256(picture).hexdigest()] = more["alt"]
    return texts


def prepare(path: Path, texts: dict[str, str]) -> str:
    """A stored notebook, made fit for a page; adds its pictures' alternative texts to ``texts``."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = plain_links(cell.source)
        else:
            cell.outputs = [o for o in map(still, cell.outputs) if o is not None]
    texts |= alternative_texts(notebook)
    return nbformat.writes(notebook)


# ---------------------------------------------------------------- pages


def plain_links(text: str) -> str:
    """Pictures from elsewhere, as badges, become words; a badge that is not there yet goes."""
    return NO_BADGE.sub("", OUTSIDE_IMAGE.sub(r"\1", text))


def links(text: str, page: str) -> list[tuple[str, str]]:
    """(as written, path from the repository's top) of each link to a file that is there."""
    return local(LINK.findall(text), page)


def raw_images(text: str, page: str) -> list[tuple[str, str]]:
    """The same of pictures that a page shows by plain HTML."""
    return local(RAW_IMAGE.findall(text), page)


def local(addresses: list[str], page: str) -> list[tuple[str, str]]:
    """Those of a page's addresses that are files or folders of the repository."""
    found = []
    for written in addresses:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), written.split("#")[0]))
        if "://" in written or path.startswith("..") or path == ".":
            continue
        if (ROOT / path).exists():
            found.append((written, path))
    return found


def settle_folders(text: str, page: str) -> str:
    """A link to a folder leads to its README, or, where it has none, becomes code."""
    for written, path in links(text, page):
        if not (ROOT / path).is_dir():
            continue
        if (ROOT / path / "README.md").is_file():
            text = text.replace(f"]({written})", f"]({written.rstrip('/')}/README.md)")
        else:
            text = re.sub(rf"\[([^\]]*)\]\({re.escape(written)}\)", r"\1", text)
    return text


def index(readme: str) -> str:
    """The first page: README's opening, and the notebooks with the one idea of each."""
    opening = readme.partition("\n## ")[0]
    ideas = dict(IDEA.findall(readme))
    lines, names = [], sorted(p.stem for p in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
    for name in names:
        title = first_heading(ROOT / "notebooks" / f"{name}.ipynb")
        idea = beyond(title, ideas.get(f"notebooks/{name}.ipynb", ""))
        lines.append(f"- [{title}](notebooks/{name}.ipynb)" + (f": {idea}" if idea else ""))
    chapters = "\n".join(f"notebooks/{name}" for name in names)
    return (
        f"{opening}\n\n## The notebooks\n\n" + "\n".join(lines) + "\n\n"
        "How to run them, and what was found: [about the project](README.md).\n\n"
        f"```{{toctree}}\n:hidden:\n:caption: The notebooks\n\n{chapters}\n```\n\n"
        "```{toctree}\n:hidden:\n:caption: The project\n\n"
        "About the project <README>\nPAGES\n```\n"
    )


def beyond(title: str, idea: str) -> str:
    """An idea without its opening, as in "stage 1: ...", where the title has said that already."""
    opening, _, rest = idea.partition(": ")
    said, again = (re.sub(r"\W+", " ", words).lower() for words in (title, opening))
    return rest if again in said else idea


def first_heading(path: Path) -> str:
    """The title of a notebook."""
    for cell in nbformat.read(path, as_version=4).cells:
        if heading := re.search(r"^# (.+)$", cell.source, re.MULTILINE):
            return heading[1]
    return path.stem


def lay_out(source: Path) -> list[str]:
    """Fill Sphinx's source folder with README, the notebooks and all that they link to.

    A picture in plain HTML is none of Sphinx's business: it gets its place in the site as it is.

    Returns:
        the paths of the pages and files, from the repository's top.
    """
    queue = ["README.md", *(f"notebooks/{p.name}" for p in (ROOT / "notebooks").glob("*.ipynb"))]
    carried: list[str] = []
    texts: dict[str, str] = {}
    while queue:
        page = queue.pop(0)
        if page in carried or not (ROOT / page).is_file():
            continue
        carried.append(page)
        target = source / page
        target.parent.mkdir(parents=True, exist_ok=True)
        if page.endswith(".ipynb"):
            text = prepare(ROOT / page, texts)
            cells = nbformat.reads(text, as_version=4).cells
            words = "\n".join(c.source for c in cells if c.cell_type == "markdown")
        elif page.endswith(".md"):
            text = words = settle_folders(
                plain_links((ROOT / page).read_text(encoding="utf-8")), page
            )
        else:
            shutil.copyfile(ROOT / page, target)
            continue
        target.write_text(text, encoding="utf-8")
        for _, path in raw_images(words, page):
            (source / EXTRA / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, source / EXTRA / path)
        queue += [path for _, path in links(words, page)]
    (source / EXTRA).mkdir(exist_ok=True)
    (source / ALTS).write_text(json.dumps(texts), encoding="utf-8")
    pages = sorted(p[:-3] for p in carried if p.endswith(".md") and p != "README.md")
    first = index((source / "README.md").read_text(encoding="utf-8"))
    first = first.replace("\nPAGES\n", "\n" + "\n".join(pages) + "\n")
    (source / "index.md").write_text(first, encoding="utf-8")
    return carried


# ---------------------------------------------------------------- building


def check_installed() -> None:
    """Raises:
    InputError: the extra ``site`` is not installed.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise InputError(
            f"{', '.join(missing)} not installed: run 'make setup', or "
            "pip install -c constraints.txt -e '.[site]'"
        )


def build(out: Path) -> None:
    """Build the site into ``out``, an empty folder.

    Raises:
        InputError: something is not installed, or Sphinx has found fault; what is above.
    """
    check_installed()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"
        source.mkdir()
        lay_out(source)
        command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q"]
        folders = ["-c", str(SETTINGS), "-d", f"{scratch}/doctrees", str(source), str(out)]
        # Sphinx dates its pages by this variable, if it is set: the same in, the same out
        environment = {"SOURCE_DATE_EPOCH": "0", **os.environ}
        done = subprocess.run([*command, *folders], env=environment)
    if done.returncode:
        raise InputError("the site was not built: mend what Sphinx reports above")


def main(
    out: Annotated[Path, typer.Option(help="The folder to write; replaced as a whole.")] = Path(
        "out/site"
    ),
) -> None:
    """Build the site of the executed notebooks."""
    check_installed()
    if out.exists() and not (out / "index.html").exists() and any(out.iterdir()):
        raise InputError(f"{out} holds something that is not a site: name another folder")
    atomic_save_pretrained(build, out)
    pages = sum(1 for _ in out.rglob("*.html"))
    typer.echo(f"{out / 'index.html'}: {pages} pages")


if __name__ == "__main__":
    run_command(main, "website")
