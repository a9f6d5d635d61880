"""What tools see without running the project: ruff, mypy, and the house's rules.

    python tools/check.py [--fix]

All four run, whatever the others say; the exit code is 0 if all are content. ``--fix`` lets ruff
mend and format what it can first. ``make check`` is this, and ``make test`` begins with it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKS = {
    "ruff check": ("ruff", "check", "."),
    "ruff format": ("ruff", "format", "--check", "."),
    "mypy": ("mypy",),
    "the house": ("pytest", "-q", "tests/test_house.py"),
}
FIXES = (("ruff", "check", "--fix", "--quiet", "."), ("ruff", "format", "--quiet", "."))


def run(command: tuple[str, ...]) -> int:
    """One of this Python's tools, from the repository's root; returns its exit code."""
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT).returncode


def main(arguments: list[str]) -> int:
    if "--fix" in arguments:
        for command in FIXES:
            run(command)
    unhappy = []
    for name, command in CHECKS.items():
        print(f"-- {name}", flush=True)
        if run(command):
            unhappy.append(name)
    print(f"NOT CONTENT: {', '.join(unhappy)}" if unhappy else "all content")
    return 1 if unhappy else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
