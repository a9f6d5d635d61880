"""Make the project's `.venv`, or mend it, with any Python from 3.10 on.

    python tools/setup_venv.py

Installs the project in editable form with all of its extras, at the
versions of constraints.txt. A second run finds a stamp and ends at once; the stamp is
written last, so an install that was cut short is started again from an empty `.venv`.
"""

from __future__ import print_function

import sys

if sys.version_info < (3, 10):  # for this to be said, even Python 2 must be able to parse the file
    sys.exit(
        "This project needs Python 3.10 or newer, and this is Python {}.{}. "
        "Install one, or name one: make PYTHON=python3.11 setup".format(*sys.version_info[:2])
    )

import hashlib
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
READY = VENV / ".adb-ready"  # holds key() of the last install that succeeded
INSTALLING = VENV / ".adb-installing"  # there only while pip is at work
REQUIREMENT = ".[logs,lora,notebooks,photos,site,test]"


def key():
    """A digest of all that decides what is installed: the two files, and where they lie."""
    digest = hashlib.sha256(str(ROOT).encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def runs(*arguments):
    """True if the environment's Python exists and carries out `arguments` without an error."""
    silent = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    try:
        done = subprocess.run((VENV_PYTHON, "-I") + arguments, **silent)
    except OSError:
        return False
    return done.returncode == 0


def is_ready():
    """True if the last install succeeded, was of these very files, and still works."""
    return READY.is_file() and READY.read_text() == key() and runs("-c", "import adb_core")


def is_usable():
    """True if pip can install into `.venv` as it stands."""
    new_enough = "import sys; sys.exit(sys.version_info < (3, 10))"
    return not INSTALLING.exists() and runs("-c", new_enough) and runs("-m", "pip", "--version")


def create():
    """Make an empty environment at `.venv`, in place of whatever is there."""
    if not (find_spec("venv") and find_spec("ensurepip")):
        sys.exit(
            "This Python cannot make virtual environments: on Debian and Ubuntu, install "
            "the package python{}.{}-venv and run this again.".format(*sys.version_info[:2])
        )
    print("Making .venv with Python {}.{}".format(*sys.version_info[:2]), flush=True)
    base_python = getattr(sys, "_base_executable", None) or sys.executable
    if subprocess.run([base_python, "-m", "venv", "--clear", VENV]).returncode:
        sys.exit("The virtual environment .venv could not be made: see the message above.")


def install():
    """Install the project at the pinned versions, then write the stamp."""
    print("Installing the project into .venv; the first time this takes some minutes", flush=True)
    READY.unlink(missing_ok=True)
    INSTALLING.touch()
    pip = [VENV_PYTHON, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    wanted = ["--constraint", "constraints.txt", "--editable", REQUIREMENT]
    code = subprocess.run(pip + wanted, cwd=ROOT, stdin=subprocess.DEVNULL).returncode
    if code < 0:  # stopped by a signal: what it left is not to be trusted
        sys.exit("The install was stopped; the next run starts afresh.")
    INSTALLING.unlink()
    if code:
        sys.exit("pip could not install the project: see its message above, then run this again.")
    if not runs("-c", "import adb_core"):
        sys.exit(
            "The install ended well, but adb_core cannot be imported: "
            "delete .venv and run this again."
        )
    READY.write_text(key())
    print("Ready: .venv holds the project and all it needs")


def main():
    """Bring `.venv` to the state that pyproject.toml and constraints.txt ask for."""
    if is_ready():
        return
    if not is_usable():
        create()
    install()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
