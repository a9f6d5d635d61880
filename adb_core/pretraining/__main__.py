"""``python -m adb_core.pretraining --minutes 240``."""

from ..system.commands import run_command
from .command import main

if __name__ == "__main__":
    run_command(main, "pretraining")
