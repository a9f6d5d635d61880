"""What the tests of the command line share: a runner, quick options, pictures in a folder."""

from pathlib import Path

from models import tiny_concept
from PIL import Image
from typer.testing import CliRunner

from adb_core.app.cli import app

QUICK = ["--steps-scale", "0.001", "--quiet", "--device", "cpu"]  # one step a stage
TRAIN = ["train", "--out", "result", *QUICK]
PICO = [*TRAIN, "--concept", "pico"]


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def pictures(folder: Path, count: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for image, k in zip(tiny_concept(count=count).images, range(count), strict=True):
        Image.fromarray(image).save(folder / f"{k}.png")
    return folder
