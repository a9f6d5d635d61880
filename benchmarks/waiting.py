"""How torch's threads wait: a generation alone, beside a busy program, and beside a second copy.

    python benchmarks/waiting.py [--rounds 5] [--pictures 4]

GNU OpenMP lets a thread that has nothing to do spin for a while, and that is quickest for a program
that has the machine for itself. When two share the cores, each spins on the core that the other one
needs. ``adb_core.system.company`` has such threads sleep as long as there is company; "spinning"
is the same without it, "sleeping" always sleeps, and with one thread nobody waits for anybody.
Settings and companies take turns within a round, every run is a process of its own, and all
pictures have to be equal to the bit, but for one thread. Bar: with care at most 2.5 times as
long beside a busy program as alone.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from timing import ratio, verdict

from adb_core.system.commands import run_command
from adb_core.system.company import SETTINGS as CHOSEN

BAR = 2.5
SETTINGS: dict[str, dict[str, str]] = {
    "care": {},
    "spinning": {"GOMP_SPINCOUNT": "300000"},  # OpenMP's own default; whoever sets it has chosen
    "sleeping": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
COMPANIES = ("alone", "beside a busy program", "beside a second copy")
BUSY = "while True: sum(k * k for k in range(10**6))"
CHILD = """
import hashlib, json, sys, time
import adb_core as adb
from adb_core.system.company import mind_company
mind_company()
base, pictures = adb.load_base("tiny", device="cpu"), int(sys.argv[1])
adb.generate(base, "a photo of a cat", seeds=[0], steps=3)
seconds, digest = [], hashlib.sha256()
while pictures < 0 or len(seconds) < pictures:
    began = time.perf_counter()
    made = adb.generate(base, "a photo of a cat on the beach", seeds=[len(seconds)], steps=25)
    seconds.append(time.perf_counter() - began)
    digest.update(made.images.tobytes())
print(json.dumps([seconds, digest.hexdigest()]))
"""


def start(code: str, setting: dict[str, str], *arguments: str) -> subprocess.Popen:
    """A Python process that decides itself how its threads wait, but for ``setting``."""
    dropped = ("OMP_NUM_THREADS", *CHOSEN)
    env = {name: value for name, value in os.environ.items() if name not in dropped} | setting
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=env, **pipes)


@contextmanager
def company(kind: str, setting: dict[str, str]) -> Iterator[None]:
    """Within, another program that never rests, or nothing."""
    if kind == "alone":
        yield
        return
    busy = kind == "beside a busy program"
    other = start(BUSY, {}) if busy else start(CHILD, setting, "-1")
    try:
        yield
    finally:
        other.kill()
        other.wait()


def measure(kind: str, setting: dict[str, str], pictures: int) -> tuple[float, str]:
    """Seconds of a generation (median), and a digest of all pictures."""
    with company(kind, setting):
        seconds, digest = json.loads(start(CHILD, setting, str(pictures)).communicate()[0])
    return statistics.median(seconds), digest


def main(
    rounds: Annotated[int, typer.Option(help="How often each is measured.")] = 5,
    pictures: Annotated[int, typer.Option(help="Generations a run; their median counts.")] = 4,
) -> None:
    """Measure how long a generation takes, alone and in company."""
    seconds: dict[tuple[str, str], list[float]] = {}
    digests: dict[str, set[str]] = {}
    for number in range(rounds):
        for name, setting in SETTINGS.items():
            for kind in COMPANIES:
                took, digest = measure(kind, setting, pictures)
                seconds.setdefault((name, kind), []).append(took)
                digests.setdefault(name, set()).add(digest)
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    for name in SETTINGS:
        alone = seconds[name, "alone"]
        cost = ratio(alone, seconds["spinning", "alone"])
        print(f"{name}: alone {statistics.median(alone):.2f} s, {cost} of spinning alone")
        for kind in COMPANIES[1:]:
            times = seconds[name, kind]
            found = ratio(times, alone)
            judged = f": {verdict(found.median, BAR)}" if (name, kind) == DECIDES else ""
            print(f"  {kind} {statistics.median(times):.2f} s, {found} of alone{judged}")
    together = set().union(*(digests[name] for name in SETTINGS if name != "one thread"))
    print(f"different pictures among the settings with all threads: {len(together) - 1}")


DECIDES = ("care", "beside a busy program")

if __name__ == "__main__":
    run_command(main, "waiting")
