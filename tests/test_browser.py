"""The widgets in a real JupyterLab in a real Chromium, by keyboard.

Screenshots and measured times are in ``out/browser/``. Skipped, with the reason, where Chromium is
not installed (``make browser`` installs it on Debian and Ubuntu).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out" / "browser"
CHROMIUM = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: make browser"),
    pytest.mark.skipif(
        not (ROOT / "data/grid/grid.json").exists(),
        reason="data/grid is not there: python -m adb_core.teaching.make_grid",
    ),
]

CELLS = [
    """
import adb_core as adb
base, concept = adb.load_base("tiny"), adb.Concept.bundled("pico")
recording = adb.record(base, "a photo of a red cat wearing a hat on the beach", steps=12)
""",
    "adb.widgets.AttentionExplorer(recording).view",
    """
playground = adb.widgets.RegularizerPlayground(
    base, concept, adb.recipe("attndreambooth_fast"), grid=adb.teaching.load_grid()
)
playground.view
""",
    """
learner = adb.Learner(base, concept, adb.recipe("attndreambooth"), view_count=1)
table = base.text_encoder.get_input_embeddings().weight.detach()
project = adb.Projection(table)
points = []
for record in adb.train_stage(learner, learner.recipe.stages[0]):
    at = tuple(project(learner.token.rows.detach().mean(0)).tolist())
    drift = learner.token.drift()
    points.append(adb.plots.DriftPoint(record.step, record.stage, drift, at))
    if record.step == 12:
        break
adb.widgets.DriftExplorer(points, project(table).numpy(), {}).view
""",
    """
canvas = adb.widgets.Canvas(base, "a photo of a red cat on the beach", "cat", folder="liked")
canvas.view
""",
    "adb.widgets.FrontierExplorer(adb.teaching.load_tracks()).view",
]


def wait_for(condition, seconds: float, what: str):
    """The first truthy value of ``condition()``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if value := condition():
                return value
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen within {seconds:g} s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_lab(folder: Path, port: int, token: str) -> subprocess.Popen:
    """A JupyterLab that serves ``folder`` and knows nothing of whoever's own settings."""
    options = [
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={folder}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    with open(folder / "jupyter.log", "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "JUPYTER_CONFIG_DIR": str(folder / "config"), "HOME": str(folder)},
        )


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab that serves a notebook with widgets, and a way to ask its API."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [new_code_cell(c.strip()) for c in CELLS]
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, tmp_path / "widgets.ipynb")
    port, token = free_port(), secrets.token_hex(16)
    server, address = start_lab(tmp_path, port, token), f"http://127.0.0.1:{port}"

    def ask(path: str):
        with urllib.request.urlopen(f"{address}{path}?token={token}", timeout=5) as answer:
            return json.load(answer)

    try:
        wait_for(lambda: ask("/api/status"), 60, "the start of JupyterLab")
        yield f"{address}/lab/tree/widgets.ipynb?token={token}", ask
    finally:
        server.terminate()
        server.wait(20)


def picture_of(page, widget: int) -> str:
    """The address of a widget's first picture; it is a new one whenever the picture changes."""
    return (
        page.locator(".widget-vbox:has(> .widget-html)")
        .nth(widget)
        .locator("img")
        .first.get_attribute("src")
        or ""
    )


def step_slider(page, handle, widget: int, key: str = "ArrowRight") -> float:
    """Press a key on a focused slider; the milliseconds until its widget shows another picture."""
    before = picture_of(page, widget)
    handle.focus()
    return page.evaluate(
        """async ([key, widget, before]) => {
        const boxes = () => [...document.querySelectorAll('.widget-vbox')]
            .filter(box => box.querySelector(':scope > .widget-html'));
        const shown = () => boxes()[widget].querySelector('img').getAttribute('src');
        const target = document.activeElement, began = performance.now();
        const keyCode = key === 'ArrowRight' ? 39 : 37;
        target.dispatchEvent(new KeyboardEvent('keydown', {key, keyCode, bubbles: true}));
        while (shown() === before && performance.now() - began < 10000)
            await new Promise(r => setTimeout(r, 2));
        return performance.now() - began;
    }""",
        [key, widget, before],
    )


def run_all(page, ask) -> None:
    """Run every cell, and wait until the last widget is there and the kernel is idle."""

    def idle(kernel) -> bool:
        return kernel["connections"] >= 1 and kernel["execution_state"] == "idle"

    wait_for(lambda: any(map(idle, ask("/api/kernels"))), 90, "a kernel")
    page.locator(".jp-Notebook").click()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.get_by_text("Where is [V] among the words?").wait_for(timeout=180_000)
    wait_for(lambda: all(map(idle, ask("/api/kernels"))), 60, "an idle kernel")
    page.screenshot(path=OUT / "1-widgets.png")


def widget_at(page, number: int):
    """A widget, and its line of text."""
    widget = page.locator(".widget-vbox:has(> .widget-html)").nth(number)
    return widget, widget.locator(".widget-html").nth(1)


def try_attention_explorer(page) -> list[float]:
    """A step slider moved by key: picture and number change."""
    explorer, said = widget_at(page, 0)
    line = said.inner_text()
    assert "largest probability" in line
    handle = explorer.locator(".noUi-handle").first
    took = [step_slider(page, handle, 0) for _ in range(10)]
    assert said.inner_text() != line
    page.screenshot(path=OUT / "2-attention-slider.png")
    return took


def try_playground(page) -> list[float]:
    """lambda_mu of the second stage: its picture, or a word that there is none."""
    playground, said = widget_at(page, 1)
    line = said.inner_text()
    assert "precomputed:" in line
    handle = playground.locator(".noUi-handle").nth(2)
    # 2 -> 5 and back: a point of the grid has a picture, those between have none
    took = [step_slider(page, handle, 1, key) for key in ["ArrowRight", "ArrowLeft"] * 5]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    wait_for(lambda: "attention 20/" in said.inner_text(), 10, "the slider's new value")
    assert said.inner_text() != line
    page.screenshot(path=OUT / "3-regularizer-slider.png")
    return took


def try_drift_explorer(page) -> list[float]:
    """From its last moment backwards."""
    drift, said = widget_at(page, 2)
    assert said.inner_text().startswith("step 12:")
    handle = drift.locator(".noUi-handle").first
    took = [step_slider(page, handle, 2, "ArrowLeft") for _ in range(10)]
    wait_for(lambda: said.inner_text().startswith("step 2:"), 10, "the second moment")
    page.screenshot(path=OUT / "4-drift-slider.png")
    return took


def try_canvas(page) -> list[float]:
    """The box goes right, key by key, and the subject with it; two pictures are kept."""
    canvas, said = widget_at(page, 3)
    line = said.inner_text()
    assert "of the map of 'cat' lies in the box" in line
    handle = canvas.locator(".noUi-handle").first
    took = [step_slider(page, handle, 3) for _ in range(4)]
    assert said.inner_text() != line
    canvas.get_by_role("button", name="Keep").press("Enter")
    status = canvas.locator(".widget-html").nth(2)
    wait_for(lambda: "1 kept" in status.inner_text(), 10, "the first picture on the strip")
    canvas.get_by_role("button", name="Export").press("Enter")
    wait_for(lambda: "are in liked" in status.inner_text(), 10, "the export")
    page.screenshot(path=OUT / "7-canvas.png")
    return took


def try_frontier_explorer(page) -> list[float]:
    """Through both trainings and back; then another recipe on the left, chosen by key."""
    explorer, said = widget_at(page, 4)
    line = said.inner_text()
    assert "after 0 of" in line and "joint" in line
    handle = explorer.locator(".noUi-handle").first
    took = [step_slider(page, handle, 4) for _ in range(6)]
    took += [step_slider(page, handle, 4, "ArrowLeft") for _ in range(4)]
    wait_for(lambda: said.inner_text() != line, 10, "other scores")
    assert "textual_inversion" not in said.inner_text()
    took.append(step_slider(page, explorer.locator(".noUi-handle").nth(1), 4, "ArrowLeft"))
    wait_for(lambda: "textual_inversion" in said.inner_text(), 10, "another recipe")
    page.screenshot(path=OUT / "8-frontier.png")
    return took


def try_training(page) -> None:
    """Train, see the curve move, stop."""
    playground, _ = widget_at(page, 1)
    status, curve = playground.locator(".widget-html").nth(2), playground.locator("img").nth(1)
    playground.get_by_role("button", name="Train this").press("Enter")
    wait_for(lambda: "training" in status.inner_text(), 60, "the start of training")
    first = wait_for(lambda: curve.get_attribute("src"), 30, "a live curve")
    wait_for(lambda: curve.get_attribute("src") != first, 30, "a curve that moves")
    page.screenshot(path=OUT / "5-training.png")
    playground.get_by_role("button", name="Stop").press("Enter")
    wait_for(lambda: "stopped after" in status.inner_text(), 60, "the stop")
    page.screenshot(path=OUT / "6-stopped.png")


def test_sliders_and_training_by_keyboard(lab):
    """Every slider's picture follows its keys; training starts, draws and stops.

    The milliseconds from key to picture go to ``out/browser/latency.json``, widget -> list;
    ``benchmarks/sliders.py`` holds their medians against a bar.
    """
    from playwright.sync_api import sync_playwright

    address, ask = lab
    OUT.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 1500})
        page.goto(address)
        run_all(page, ask)
        took = {
            "attention explorer": try_attention_explorer(page),
            "regularizer": try_playground(page),
            "drift explorer": try_drift_explorer(page),
            "canvas": try_canvas(page),
            "frontier explorer": try_frontier_explorer(page),
        }
        try_training(page)
        browser.close()
    (OUT / "latency.json").write_text(json.dumps(took, indent=1))
    print({widget: f"{statistics.median(times):.0f} ms" for widget, times in took.items()})
