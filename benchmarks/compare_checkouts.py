"""Two checkouts of this repository, benchmark by benchmark in turn: is one slower than the other?

    python benchmarks/compare_checkouts.py BEFORE AFTER [--rounds 7] [--only step_overhead]

Every run is a process of its own in one of the two folders, with that folder's package and that
folder's benchmark scripts; who goes first changes from round to round. The numbers are read from
what the benchmarks of the engine print: seconds of the three stages, milliseconds of the U-Net
forward and both ways. A step of a stage is so short that a machine's moods between two processes
are longer: there the two run at the same time and take turns step by step, on one thread each
(idle threads of the one would be company for the other). A ratio is AFTER / BEFORE, median over
the rounds or steps with quartiles in brackets. Bar: 1.03.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from lockstep import WARMUP
from timing import ratio, verdict

from adb_core.system.commands import InputError, run_command

BAR = 1.03
# script with its arguments -> the pattern of what it prints; groups: a label, and a number
BENCHMARKS = {
    ("three_stages.py", "--runs", "1"): r"()median ([\d.]+) s",
    ("attention_paths.py", "--model", "tiny"): r"(forward[ +\w]*?)\s+no capture\s+([\d.]+) ms",
}
STEPS_A_ROUND = 10
STEPS = "step_overhead"  # what a step without regularizer takes, in lockstep


def environment(folder: Path) -> dict[str, str]:
    """Of a process that runs that folder's package and scripts."""
    paths = os.pathsep.join((str(folder), str(folder / "benchmarks")))
    return os.environ | {"PYTHONPATH": paths}


def numbers_of(folder: Path, python: str, command: tuple[str, ...]) -> dict[str, float]:
    """Run one benchmark of one checkout; label -> number.

    Raises:
        InputError: it failed, or printed nothing that is known.
    """
    env = environment(folder)
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


def start_lockstep(folder: Path, python: str, steps: int) -> subprocess.Popen[str]:
    """This checkout's lockstep.py on that folder's engine."""
    script = Path(__file__).with_name("lockstep.py").read_text()
    return subprocess.Popen(
        [python, "-c", script, str(steps)],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def step_times(
    folders: dict[str, Path], python: str, steps: int
) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Of each stage a label and the milliseconds of every step on both sides, turn by turn.

    Raises:
        InputError: a side ended too early.
    """
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(start_lockstep(folder, python, steps))
            for name, folder in folders.items()
        }
        for side in sides.values():
            stack.callback(side.kill)

        def answer(name: str) -> str:
            line = sides[name].stdout.readline().strip()
            if not line:
                raise InputError(f"{folders[name]}: lockstep.py ended too early")
            return line

        for _ in range(3):
            label = [answer(name) for name in sides][0]
            times: dict[str, list[float]] = {name: [] for name in sides}
            for turn in range(steps + WARMUP):
                for name in list(sides)[:: 1 if turn % 2 else -1]:
                    sides[name].stdin.write("\n")
                    sides[name].stdin.flush()
                    times[name].append(float(answer(name)))
            yield f"{STEPS} {label}", {name: each[WARMUP:] for name, each in times.items()}


def main(
    before: Annotated[Path, typer.Argument(help="A checkout.")],
    after: Annotated[Path, typer.Argument(help="Another.")],
    rounds: Annotated[int, typer.Option(help="How often each benchmark runs in each.")] = 7,
    python: Annotated[str, typer.Option(help="The Python of both.")] = sys.executable,
    only: Annotated[list[str] | None, typer.Option(help="A benchmark; again for more.")] = None,
) -> None:
    """Compare the speed of the engine in two checkouts."""
    chosen = [command for command in BENCHMARKS if not only or command[0][:-3] in only]
    in_lockstep = not only or STEPS in only
    if not chosen and not in_lockstep:
        names = ", ".join([*(command[0][:-3] for command in BENCHMARKS), STEPS])
        raise InputError(f"--only {' '.join(only or [])}: choose from {names}")
    folders = {"before": before.resolve(), "after": after.resolve()}
    for folder in folders.values():
        if not (folder / "benchmarks" / "three_stages.py").is_file():
            raise InputError(f"{folder} is no checkout of this repository")
    times: dict[str, dict[str, list[float]]] = {}
    if in_lockstep:
        times.update(step_times(folders, python, steps=STEPS_A_ROUND * rounds))
    for number in range(rounds if chosen else 0):
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
