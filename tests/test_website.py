"""The site: built from what the notebooks store, whole, without anything from elsewhere."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("sphinx", "myst_nb", "furo", "sphinx-mathjax-offline")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
needs_extra = pytest.mark.skipif(bool(MISSING), reason=f"extra 'site' is not installed: {MISSING}")

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
BEYOND_THE_EDGE = """() => [...document.querySelectorAll('article *')].filter(element => {
    for (let box = element.parentElement; box.tagName !== 'BODY'; box = box.parentElement)
        if (getComputedStyle(box).overflowX !== 'visible') return false;  // it scrolls in its box
    return element.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
}).map(element => element.outerHTML.slice(0, 120))"""

specification = importlib.util.spec_from_file_location("website", ROOT / "tools" / "website.py")
website = importlib.util.module_from_spec(specification)
specification.loader.exec_module(website)

WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "0"}}
DOT = (  # a PNG of one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


class Page(HTMLParser):
    """What a page leads to (``links``), what it loads (``assets``), and its anchors (``ids``)."""

    LOADS = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src"}

    def __init__(self, path: Path):
        super().__init__()
        self.links: list[str] = []
        self.assets: list[str] = []
        self.ids: set[str] = set()
        self.without_text: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if (address := given.get(self.LOADS.get(tag, ""))) is not None:
            self.assets.append(address)
        if tag == "img" and not given.get("alt"):
            self.without_text.append(given.get("src", "?"))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, str(ROOT / "tools" / "website.py"), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


@needs_extra
def test_there_is_a_page_for_each_notebook(site, pages):
    names = [p.stem for p in (ROOT / "notebooks").glob("*.ipynb")]
    assert names and {site / "notebooks" / f"{name}.html" for name in names} <= set(pages)
    first = pages[site / "index.html"].links
    assert all(f"notebooks/{name}.html" in first for name in names)


@needs_extra
def test_every_link_and_asset_is_there(pages):
    broken = []
    for path, page in pages.items():
        for address in (*page.links, *page.assets):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                broken.append(f"{path.name}: {address}")
            elif parts.fragment and target in pages:
                if unquote(parts.fragment) not in pages[target].ids:
                    broken.append(f"{path.name}: {address} has no such anchor")
    assert not broken, broken


@needs_extra
def test_nothing_is_loaded_from_elsewhere(site, pages):
    outside = [a for page in pages.values() for a in page.assets if re.match(r"(https?:)?//", a)]
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8", errors="replace")
        outside += re.findall(r"(?:url\(|@import\s*)[\"']?((?:https?:)?//[^\"')]+)", text)
    assert not outside, outside
    assert any("mathjax/tex-chtml.js" in a for page in pages.values() for a in page.assets)
    assert (site / "_static" / "mathjax" / "tex-chtml.js").is_file()


@needs_extra
def test_stored_pictures_are_there_with_their_texts(site, pages):
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        outputs = [o for c in cells for o in c.get("outputs", ())]
        stored = sum(any(k.startswith("image/") for k in o.get("data", {})) for o in outputs)
        page = pages[site / "notebooks" / f"{path.stem}.html"]
        assert sum("_images/" in a for a in page.assets) >= min(stored, 1)
        assert not page.without_text, path.name
        text = (site / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
        assert "VBox(children=" not in text and "IntProgress(value=" not in text


@pytest.mark.browser
@needs_extra
def test_a_browser_asks_for_nothing_else_and_sets_the_formulas(site):
    import shutil

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed: make browser")
    from playwright.sync_api import sync_playwright

    every = sorted((site / "notebooks").glob("[0-9]*.html"))
    formulas = [path for path in every if 'class="math ' in path.read_text(encoding="utf-8")]
    asked = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.on("request", lambda request: asked.append(request.url))
        page.goto(formulas[0].as_uri())
        page.locator("mjx-container").first.wait_for(timeout=30_000)
        too_wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        browser.close()
    assert asked and all(url.startswith(("file:", "data:", "blob:")) for url in asked)
    assert too_wide <= 0  # a phone need not scroll sideways


# ---------------------------------------------------------------- the parts


def display(data: dict, metadata: dict | None = None):
    return new_output("display_data", data=data, metadata=metadata or {})


def test_widgets_become_a_note_and_progress_bars_go(tmp_path):
    shown = "VBox(children=(HTML(value='<b>Who looks at &quot;hat&quot;?</b>'), …"
    picture = {"image/png": DOT, "text/plain": "<figure>"}
    outputs = [
        display({**WIDGET, "text/plain": shown}),
        display({**WIDGET, "text/plain": "IntProgress(value=0)"}),
        display({**WIDGET, **picture}, {"image/png": {"alt": "one dot"}}),
        new_output("stream", text="a line\n"),
    ]
    notebook = new_notebook(
        cells=[new_code_cell("1", outputs=outputs)], metadata={"widgets": {"state": {}}}
    )
    nbformat.write(notebook, tmp_path / "one.ipynb")
    texts: dict[str, str] = {}
    made = nbformat.reads(website.prepare(tmp_path / "one.ipynb", texts), as_version=4)
    first, second, third = made.cells[0].outputs
    assert "widgets" not in made.metadata
    assert "<b>Who looks at &quot;hat&quot;?</b>" in first.data["text/html"]
    assert list(second.data) == ["image/png"] and third.text == "a line\n"
    assert list(texts.values()) == ["one dot"]


def test_printed_tables_keep_their_columns_and_nothing_else_does(tmp_path):
    table = "name     mean\ncat      0.12\n<hat>    0.34\n"
    outputs = [
        new_output("stream", text=table),
        new_output("stream", text="ratio: 1.19 (expected 0.9 to 1.5)\n" * 4),
    ]
    notebook = new_notebook(cells=[new_code_cell("1", outputs=outputs)])
    nbformat.write(notebook, tmp_path / "one.ipynb")
    made = nbformat.reads(website.prepare(tmp_path / "one.ipynb", {}), as_version=4)
    first, second = made.cells[0].outputs
    assert first.data["text/html"] == (
        '<pre class="columns">name     mean\ncat      0.12\n&lt;hat&gt;    0.34\n</pre>'
    )
    assert second.text == outputs[1].text


def test_moving_pictures_stay_in_the_page(tmp_path):
    webp = display({"image/webp": DOT + "\n"}, {"image/webp": {"alt": 'it "moves"'}})
    notebook = new_notebook(cells=[new_code_cell("1", outputs=[webp])])
    nbformat.write(notebook, tmp_path / "one.ipynb")
    made = nbformat.reads(website.prepare(tmp_path / "one.ipynb", {}), as_version=4)
    (output,) = made.cells[0].outputs
    words = output.data["text/html"]
    assert words == f'<img alt="it &quot;moves&quot;" src="data:image/webp;base64,{DOT}">'


def test_pictures_in_plain_html_are_found():
    text = '<p align="center"><img width="80%" src="data/world.png"></p> <img src="https://x.y/z">'
    assert website.raw_images(text, "README.md") == [("data/world.png", "data/world.png")]
    assert website.raw_images('<img src="../data/world.png">', "notebooks/a.ipynb") == [
        ("../data/world.png", "data/world.png")
    ]


def test_badges_become_words(tmp_path):
    badge = "[![Open in Colab](https://elsewhere.example/badge.svg)](https://example.org/n.ipynb)"
    notebook = new_notebook(cells=[new_markdown_cell(f"# Title\n\n{badge}\n\nText")])
    nbformat.write(notebook, tmp_path / "one.ipynb")
    made = nbformat.reads(website.prepare(tmp_path / "one.ipynb", {}), as_version=4)
    assert made.cells[0].source == "# Title\n\n[Open in Colab](https://example.org/n.ipynb)\n\nText"


def test_what_pages_link_to_is_carried_and_folders_lead_to_their_readme(tmp_path):
    carried = website.lay_out(tmp_path)
    assert {"README.md", "data/README.md", "LICENSE"} <= set(carried)
    assert json.loads((tmp_path / website.ALTS).read_text(encoding="utf-8"))
    assert website.settle_folders("[d](data/) [t](tests)", "README.md") == "[d](data/README.md) t"


def test_an_idea_does_not_repeat_its_title():
    assert website.beyond("05 · Stage 1: alignment", "stage 1: a place") == "a place"
    assert website.beyond("03 · How it fails", "How it fails") == ""
    assert website.beyond("00 · Start", "what is asked") == "what is asked"


def test_mistakes_end_with_one_line(tmp_path):
    (tmp_path / "precious.txt").write_text("x")
    command = [sys.executable, str(ROOT / "tools" / "website.py"), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert (tmp_path / "precious.txt").read_text() == "x"
    if not MISSING:
        assert "not a site" in done.stderr


def test_the_workflow_publishes_what_make_site_writes():
    text = (ROOT / ".github" / "workflows" / "site.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    steps = jobs["build"]["steps"]
    assert [s["run"] for s in steps if "run" in s] == ["make site"]
    (path,) = [s["with"]["path"] for s in steps if "upload-pages" in s.get("uses", "")]
    assert path == "out/site" and '"out/site"' in (ROOT / "tools/website.py").read_text()
    assert jobs["publish"]["needs"] == "build"


@needs_extra
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: make browser")
@pytest.mark.parametrize("width", [390, 1400])
def test_nothing_leaves_the_page_on_a_phone_or_a_desk(site, width):
    from playwright.sync_api import sync_playwright

    pages = ("index", "notebooks/00_start_here", "notebooks/08_the_regularizer", "data/README")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": width, "height": 844})
        for name in pages:
            page.goto((site / f"{name}.html").as_uri())
            assert page.evaluate(BEYOND_THE_EDGE) == [], name
            across = page.evaluate("document.documentElement.scrollWidth")
            assert across <= width, f"{name} is {across} pixels wide"
        browser.close()
