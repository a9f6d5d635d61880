"""The canvas: how long from letting go to a picture, and how often the subject is in its box.

    python benchmarks/canvas.py [--moves 20] [--no-browser] [--steps 8 --first 3 --times 2]

Times are taken in Chromium: a key on the slider "box: across", until the picture in the page is
another one; a JupyterLab and a kernel of its own run behind it. The share of tries is taken
without a browser, over boxes and seeds: the subject's mask is read off the finished picture
(``beyond.map_mask``, 0.75 of intersection over union with true masks), and a try counts where at
least three quarters of it lie in the box. Beside it stands the same without a push. Bars: 0.5 s, on
two cores, and 80 %.
"""

from __future__ import annotations

import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from urllib.request import urlopen

import numpy as np
import torch
import typer
from timing import bundled_base, machine, verdict

import adb_core as adb
from adb_core.beyond.layout import FEW_STEPS, GENTLE, Push
from adb_core.system.commands import run_command

SECONDS, SHARE = 0.5, 0.8  # bars
INSIDE = 0.75  # of a mask, that a try counts
PROMPT, WORD = "a photo of a red cat on the beach", "cat"
CENTERS = (0.25, 0.5, 0.75)
WIDE, HIGH, DOWN = 0.5, 0.625, 0.625  # what the canvas begins with
CELLS = """
import adb_core as adb
from adb_core.beyond.layout import Push
canvas = adb.widgets.Canvas(adb.load_base("tiny"), {prompt!r}, {word!r}, push={push}, steps={steps})
canvas.view
"""


def shares_inside(base, push: Push, steps: int, seeds: list[int]) -> np.ndarray:
    """Share of the subject's mask in its box, (boxes, seeds, 2): without a push, and with it."""
    plain = adb.generate(base, PROMPT, seeds, steps=steps).images
    found = []
    for x in CENTERS:
        box = adb.beyond.Box.around(x, DOWN, WIDE, HIGH)
        placed = adb.beyond.place(base, PROMPT, box, WORD, seeds, push, steps=steps).images
        cover = box.cover((base.side, base.side))
        row = []
        for images in (plain, placed):
            heats = adb.beyond.picture_maps(base, PROMPT, images, WORD)
            masks = [adb.beyond.map_mask(heat, base.side) for heat in heats]
            row.append([float((m * cover).sum() / max(1, m.sum())) for m in masks])
        found.append(np.array(row).T)
    return np.array(found)


def kernel_seconds(base, push: Push, steps: int, moves: int) -> list[float]:
    """What the kernel takes for a picture, without browser and messages."""
    canvas = adb.widgets.Canvas(base, PROMPT, WORD, push=push, steps=steps)
    took: list[float] = []
    canvas.picture.observe(lambda _: took.append(time.perf_counter() - began), names="value")
    for move in range(moves):
        began = time.perf_counter()
        canvas.across.value = CENTERS[move % len(CENTERS)] + 1 / 16
    return took


def browser_seconds(push: Push, steps: int, moves: int) -> Iterator[float]:
    """Seconds from a key to another picture, one a move; the first is not counted."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    import nbformat
    import test_browser as browser_tests
    from nbformat.v4 import new_code_cell, new_notebook
    from playwright.sync_api import sync_playwright

    code = CELLS.format(prompt=PROMPT, word=WORD, push=push, steps=steps).strip()
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=[new_code_cell(code)], metadata={"kernelspec": kernel})
    root = str(Path(__file__).resolve().parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        nbformat.write(notebook, Path(folder) / "canvas.ipynb")
        port, token = browser_tests.free_port(), secrets.token_hex(16)
        server = browser_tests.start_lab(Path(folder), port, token)
        try:
            path, flags = browser_tests.CHROMIUM, browser_tests.FLAGS
            browser = playwright.chromium.launch(executable_path=path, args=flags)
            page = browser.new_page(viewport={"width": 1200, "height": 1500})
            address = f"http://127.0.0.1:{port}/lab/tree/canvas.ipynb?token={token}"
            asked = f"http://127.0.0.1:{port}/api/status?token={token}"
            browser_tests.wait_for(lambda: urlopen(asked, timeout=5), 60, "JupyterLab")
            page.goto(address)
            page.locator(".jp-Notebook").wait_for(timeout=60_000)
            time.sleep(5)  # until the kernel is there
            page.locator(".jp-Notebook").click()
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.get_by_text("Run All Cells", exact=True).click()
            page.get_by_text("lies in the box").wait_for(timeout=180_000)
            handle = page.locator(".noUi-handle").first
            for move in range(moves + 1):
                key = "ArrowRight" if move % 16 < 8 else "ArrowLeft"
                took = browser_tests.step_slider(page, handle, 0, key) / 1000
                time.sleep(1.5)  # what is measured after the picture is painted
                if move:
                    yield took
            browser.close()
        finally:
            server.terminate()
            server.wait(20)


def spread(seconds: list[float]) -> str:
    """Median, quartiles and range."""
    low, _, high = statistics.quantiles(seconds, n=4)
    middle = statistics.median(seconds)
    return (
        f"{middle:.2f} s (quartiles {low:.2f} to {high:.2f}, {min(seconds):.2f} to "
        f"{max(seconds):.2f}, {len(seconds)} moves)"
    )


def main(
    moves: Annotated[int, typer.Option(min=4, help="Pictures that are timed.")] = 20,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds a box.")] = 16,
    browser: Annotated[bool, typer.Option(help="Time it in Chromium too.")] = True,
    steps: Annotated[int, typer.Option(min=1, help="Of sampling.")] = FEW_STEPS,
    first: Annotated[int, typer.Option(help="Steps with a push.")] = GENTLE.first,
    times: Annotated[int, typer.Option(help="Pushes before each of them.")] = GENTLE.times,
    strength: Annotated[float, typer.Option(help="Of a push.")] = GENTLE.strength,
) -> None:
    """Time the canvas, and count how often the subject is where it was asked to be."""
    base, push = bundled_base("cpu"), Push(first, times, strength)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{machine(torch.device('cpu'))}, {cores} cores; {steps} steps, {push}")
    print(f"kernel alone: {spread(kernel_seconds(base, push, steps, moves))}")
    if browser:
        took = list(browser_seconds(push, steps, moves))
        judged = verdict(statistics.median(took), SECONDS)
        print(f"in Chromium, key to picture: {spread(took)}: {judged}")
    found = shares_inside(base, push, steps, list(range(seeds)))  # (boxes, seeds, 2)
    for k, name in enumerate(("without a push", "pushed")):
        hits = (found[..., k] >= INSIDE).mean((1,))
        mean, every = found[..., k].mean(), (found[..., k] >= INSIDE).mean()
        by_box = ", ".join(f"{x:g}: {hit:.0%}" for x, hit in zip(CENTERS, hits, strict=True))
        judged = f" (bar {SHARE:.0%})" if k else ""
        print(f"{name}: mask in the box in {every:.0%} of tries{judged}; by center {by_box};")
        print(f"  mean share of the mask inside {mean:.0%}")


if __name__ == "__main__":
    run_command(main, "canvas")
