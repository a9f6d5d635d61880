"""The options of ``adb evaluate``: what a study compares, and where it is kept."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

from .options import option


class Half(str, Enum):
    """Of the bundled concepts."""

    tuning = "tuning"
    held_out = "held-out"


StudyFolder = Annotated[Path, option("--out", "Where cells and results are kept.")]
ArchiveFile = Annotated[
    Path | None, option("--archive", "Begin with this file's cells, and keep all in it.")
]
Quick = Annotated[bool, option("--quick", "A small edition: a few recipes, two concepts.")]
Recipes = Annotated[
    list[str] | None, option("--recipes", "Recipes to train, several times; by default all.")
]
Concepts = Annotated[list[str] | None, option("--concepts", "Bundled concepts, several times.")]
HalfName = Annotated[Half, option("--half", "Half of the concepts.")]
TrainingSeeds = Annotated[
    list[int] | None, option("--seeds", "Seeds of the trainings, several times.")
]
PictureSteps = Annotated[int, option("--steps", "Sampling steps of a picture.")]
Threads = Annotated[
    int | None,
    option("--threads", "Cores of this process; by default all. One each, where two share two."),
]
Rates = Annotated[
    list[float] | None,
    option(
        "--rates",
        "Tune: factors of the learning rates, several times, as 0.5, 1 and 2; with --half tuning.",
    ),
]
PromptSets = Annotated[
    list[str] | None, option("--prompts", "Bundled prompt sets, several times; by default all.")
]
PerSet = Annotated[int | None, option("--per-set", "Prompts of each set.")]
Moments = Annotated[int, option("--moments", "How often a training is measured on its way.")]
DataFolder = Annotated[
    Path | None, option("--data", "Another data folder, as the variable ADB_DATA names one.")
]
Images = Annotated[int, option("--images", "Pictures of each prompt at every moment.")]
ReportOnly = Annotated[bool, option("--report", "Only the results of the cells that are there.")]
ForecastOnly = Annotated[bool, option("--forecast", "Only say how long it will take.")]
CheckedCell = Annotated[
    str | None,
    option("--check", "Make one cell of the results in OUT again, as attndreambooth,pico,0."),
]
Tolerance = Annotated[float, option("--tolerance", "Of --check: how far numbers may differ.")]
