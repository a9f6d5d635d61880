"""The core's tests with the oldest versions that pyproject.toml promises, in an environment apart.

    python tools/oldest.py [--torch 2.13.0] [--venv .venv-oldest] [TESTS ...]

torch, diffusers, transformers and accelerate are installed at the lower bounds of their ranges, all
else as pip finds it. ``--torch`` names another torch, for a machine where the oldest one cannot be
had without gigabytes of CUDA libraries; the command then says that the bound itself was not tried.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROMISED = ("torch", "diffusers", "transformers", "accelerate")
FURTHER = ("pytest", "hypothesis", "pyyaml", "peft")
CORE = (
    "attention",
    "base",
    "checkpoint",
    "concept",
    "concept_token",
    "generation",
    "images",
    "loading",
    "losses",
    "lora",
    "offload",
    "recipes",
    "regularizer",
    "result",
    "tiers",
    "training",
)


def bounds() -> dict[str, str]:
    """Name -> oldest version, of the four packages, as pyproject.toml has them."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return {name: re.search(rf'^    "{name}>=([\d.]+)', text, re.MULTILINE)[1] for name in PROMISED}


def exact(version: str) -> str:
    """A version with all three numbers: pip takes 2.6 for 2.6.0, but says the latter."""
    return ".".join((version.split(".") + ["0", "0"])[:3])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", help="another version than the oldest")
    parser.add_argument("--venv", default=str(ROOT / ".venv-oldest"), help="where to make it")
    parser.add_argument("tests", nargs="*", help="files or pytest options instead of the core's")
    asked = parser.parse_args()
    oldest = {name: exact(version) for name, version in bounds().items()}
    wanted = oldest | ({"torch": asked.torch} if asked.torch else {})
    folder = Path(asked.venv)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.is_file():
        venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pinned = [f"{name}=={version}" for name, version in wanted.items()]
    code = subprocess.run([*pip, "--editable", str(ROOT), *pinned, *FURTHER]).returncode
    if code:
        return code
    print("with " + ", ".join(pinned), flush=True)
    tests = asked.tests or [f"tests/test_{name}.py" for name in CORE]
    done = subprocess.run([str(python), "-m", "pytest", "-q", *tests], cwd=ROOT)
    if done.returncode < 0:
        print(f"pytest was ended by signal {-done.returncode}: the tests after that were not run")
    if wanted["torch"] != oldest["torch"]:
        print(f"not tried: torch {oldest['torch']}, the oldest that is promised")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
