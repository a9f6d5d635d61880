"""Two checkouts of this repository, benchmark by benchmark in turn: is one slower than the other?

    python benchmarks/compare_checkouts.py BEFORE AFTER [--rounds 7] [--only step_overhead]

Every run is a process of its own in one of the two folders, with that folder's package and that
folder's benchmark scripts; who goes first changes from round to round. The numbers are read from
what the three benchmarks of the engine print: seconds of the three stages, milliseconds of a step
of each stage, milliseconds of the U-Net forward and both ways. A ratio is AFTER / BEFORE, median
over the rounds with quartiles in brackets. Bar: 1.03.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from timing import ratio, verdict

from adb_core.system.commands import InputError, run_command

BAR = 1.03
# script with its arguments -> the pattern of what it prints; groups: a label, and a number
BENCHMARKS = {
    ("three_stages.py", "--runs", "1"): r"()median ([\d.]+) s",
    ("step_overhead.py", "--steps", "20"): r"stage (\d) \(.*?\)\s+without\s+([\d.]+) ms",
    ("attention_paths.py", "--model", "tiny"): r"(forward[ +\w]*?)\s+no capture\s+([\d.]+) ms",
}


def numbers_of(folder: Path, python: str, command: tuple[str, ...]) -> dict[str, float]:
    """Run one benchmark of one checkout; label -> number.

    Raises:
        InputError: it failed, or printed nothing that is known.
    """
    env = os.environ | {"PYTHONPATH": str(folder)}
    script, *arguments = command
    done = subprocess.run(
        [python, str(folder / "benchmarks" / script), *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
    )
    found = re.findall(BENCHMARKS[command], done.stdout)
    if done.returncode or not found:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise InputError(f"{folder}: benchmarks/{script} failed: {' '.join(last)}")
    name = script.removesuffix(".py")
    return {f"{name} {label}".strip(): float(number) for label, number in found}


def main(
    before: Annotated[Path, typer.Argument(help="A checkout.")],
    after: Annotated[Path, typer.Argument(help="Another.")],
    rounds: Annotated[int, typer.Option(help="How often each benchmark runs in each.")] = 7,
    python: Annotated[str, typer.Option(help="The Python of both.")] = sys.executable,
    only: Annotated[list[str] | None, typer.Option(help="A benchmark; again for more.")] = None,
) -> None:
    """Compare the speed of the engine in two checkouts."""
    chosen = [command for command in BENCHMARKS if not only or command[0][:-3] in only]
    if not chosen:
        names = ", ".join(command[0][:-3] for command in BENCHMARKS)
        raise InputError(f"--only {' '.join(only or [])}: choose from {names}")
    folders = {"before": before.resolve(), "after": after.resolve()}
    for folder in folders.values():
        if not (folder / "benchmarks" / "three_stages.py").is_file():
            raise InputError(f"{folder} is no checkout of this repository")
    times: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds):
        order = list(folders) if number % 2 == 0 else list(folders)[::-1]
        for command in chosen:
            for side in order:
                for label, value in numbers_of(folders[side], python, command).items():
                    sides = times.setdefault(label, {"before": [], "after": []})
                    sides[side].append(value)
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    for label, sides in times.items():
        found = ratio(sides["after"], sides["before"])
        middle = statistics.median(sides["before"])
        print(f"{label:38s} before {middle:8.1f}   after / before {found}", end="   ")
        print(verdict(found.median, BAR))


if __name__ == "__main__":
    run_command(main, "compare_checkouts")
