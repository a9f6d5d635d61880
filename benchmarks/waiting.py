"""How torch's threads wait: training steps a second alone, beside a second copy, and beside another busy program.

    python benchmarks/waiting.py [--seconds 8] [--rounds 3]

GNU OpenMP lets a thread that has nothing to do spin for a while, and that is quickest for a program
that has the machine for itself. When two share the cores, each spins on the core that the other one
needs. OMP_WAIT_POLICY=PASSIVE lets such threads sleep; with one thread nobody waits for anybody, which
is what the notebooks choose where another program holds a core. The settings take turns, each run
in processes of its own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from contextlib import contextmanager

SETTINGS: dict[str, dict[str, str]] = {
    "default": {},
    "PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
BUSY = "while True: sum(k * k for k in range(10**6))"
CHILD = """
import sys, time
import adb_core as adb
from dataclasses import replace
plan = adb.recipe("dreambooth")
plan = replace(plan, stages=tuple(replace(s, steps=10**6) for s in plan.stages))
learner = adb.Learner(adb.load_base("tiny", device="cpu"), adb.Concept.bundled("pico"), plan, view_count=2)
steps = adb.train_stage(learner, plan.stages[0])
for _ in range(3):
    next(steps)
print("ready", flush=True)
sys.stdin.readline()
began, count = time.perf_counter(), 0
while time.perf_counter() - began < float(sys.argv[1]):
    next(steps)
    count += 1
print(count / (time.perf_counter() - began))
"""


@contextmanager
def company(busy: bool):
    """Within, a program of one thread that never rests, or nothing."""
    other = subprocess.Popen([sys.executable, "-c", BUSY]) if busy else None
    try:
        yield
    finally:
        if other is not None:
            other.kill()
            other.wait()


def measure(setting: dict[str, str], copies: int, seconds: float) -> float:
    """Mean training steps a second of each of ``copies`` programs that run together."""
    env = {
        k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS")
    } | setting
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(seconds)],
            env=env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(copies)
    ]
    for child in children:
        child.stdout.readline()
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    return statistics.mean(float(child.communicate()[0]) for child in children)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    for where, copies, busy in (
        ("alone", 1, False),
        ("two at a time", 2, False),
        ("beside a busy program", 1, True),
    ):
        rates: dict[str, list[float]] = {name: [] for name in SETTINGS}
        for _ in range(args.rounds):
            for name, setting in SETTINGS.items():
                with company(busy):
                    rates[name].append(measure(setting, copies, args.seconds))
        print(
            f"{where}, steps a second of each: "
            + ", ".join(f"{name} {statistics.median(r):.2f}" for name, r in rates.items()),
            flush=True,
        )
        for name in list(SETTINGS)[1:]:
            ratios = sorted(b / a for a, b in zip(rates["default"], rates[name]))
            print(
                f"  {name} / default {statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]",
                flush=True,
            )


if __name__ == "__main__":
    main()
