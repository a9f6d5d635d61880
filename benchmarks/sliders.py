"""How long a slider takes to its picture: from a key in Chromium to the new picture in the page.

    python benchmarks/sliders.py [--runs 3]

Each run is the test of the widgets in a real JupyterLab (``tests/test_browser.py``, which needs
Chromium), and moves every slider ten times. The bar of 150 ms is for widgets that look up what they
show; the canvas draws a picture with the model at each key, and has none.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from timing import machine, verdict

from adb_core.system.commands import InputError, run_command

ROOT = Path(__file__).resolve().parent.parent
TEST, FOUND = ROOT / "tests" / "test_browser.py", ROOT / "out" / "browser" / "latency.json"
BAR = 150.0  # milliseconds, median
DRAWS = ("canvas",)  # with the model, at every key


def lines(times: Mapping[str, Sequence[float]]) -> list[str]:
    """Median and range of each widget's times, and whether it is within the bar."""
    said = []
    for widget, each in times.items():
        middle = statistics.median(each)
        judged = "draws with the model, no bar" if widget in DRAWS else verdict(middle, BAR) + " ms"
        said.append(
            f"{widget:20} {len(each):3} keys, median {middle:4.0f} ms "
            f"({min(each):.0f} to {max(each):.0f}): {judged}"
        )
    return said


def once() -> dict[str, list[float]]:
    """One run of the test: widget -> milliseconds of each key.

    Raises:
        InputError: it failed, or was skipped for want of Chromium.
    """
    FOUND.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-rs", str(TEST)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode or not FOUND.exists():
        raise InputError(f"the widgets' test did not run to its end: {done.stdout[-600:].strip()}")
    return json.loads(FOUND.read_text(encoding="utf-8"))


def main(runs: Annotated[int, typer.Option(min=1, help="Of the test; pooled.")] = 3) -> None:
    """Time the sliders of the widgets in Chromium."""
    print(machine(torch.device("cpu")))
    pooled: dict[str, list[float]] = {}
    for _ in range(runs):
        for widget, times in once().items():
            pooled.setdefault(widget, []).extend(times)
    print(*lines(pooled), sep="\n")


if __name__ == "__main__":
    run_command(main, "sliders")
