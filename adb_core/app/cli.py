"""The command line ``adb``: one application, its commands in :mod:`adb_core.app.commands`.

Heavy libraries load inside the commands, so that ``adb --help`` answers at once.
"""

from __future__ import annotations

from ..system.commands import polite, typer_app
from .commands.drawing import attention, generate
from .commands.evaluate import evaluate
from .commands.inspection import inspect
from .commands.machine import concepts, doctor
from .commands.photos import crop_preview
from .commands.study import app as study
from .commands.training import demo, train

HELP = """Teach a text-to-image model one new thing from a few pictures: AttnDreamBooth and its \
baselines.

Nothing is downloaded unless you name a model of the hub: a tiny model, concepts and prompts
come with the project. A first round:

\b
  adb demo                                       the whole method, and a report of it
  adb train --concept pico --out out/pico        personalize the tiny model
  adb generate "a photo of a {} on the beach" --model out/pico
  adb attention "a photo of a {} on the beach" --model out/pico
  adb evaluate --quick                           compare methods, with intervals

Mistakes in what you type end with one line that names the cure and exit code 2; Ctrl-C ends
with exit code 130.
"""

app = typer_app("adb", no_args_is_help=True, help=HELP)
drawing = (generate, attention, inspect)
for command in (demo, train, crop_preview, *drawing, evaluate, concepts, doctor):
    app.command()(polite(command))
app.add_typer(study, name="study")


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``adb``."""
    app(args=arguments, prog_name="adb")
