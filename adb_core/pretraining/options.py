"""The options of the pretraining command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

Minutes = Annotated[float | None, Option(help="Budget of the whole run, in minutes.")]
Steps = Annotated[str, Option(help="vae=100,clip=50,...: steps instead of a share of the minutes.")]
Batch = Annotated[
    str,
    Option(
        help="unet=1024,...: samples a step, where a GPU has room for more than the usual few; "
        "a judge's are counted in 96s."
    ),
]
Device = Annotated[str, Option(help="auto, cpu, cuda or mps.")]
Seed = Annotated[int, Option(help="Of all randomness.")]
Images = Annotated[
    int | None,
    Option(help="Scenes to render; if not given, 600 a minute, 96,000 at most."),
]
Run = Annotated[Path, Option(help="Folder of this run's cache, checkpoints and log.")]
Data = Annotated[Path, Option(help="Folder that gets tiny-sd, tiny-clip and judge.")]
Start = Annotated[
    Path | None,
    Option(
        "--from",
        metavar="FOLDER",
        help="Train the weights of this folder (data, say) further; "
        "0 steps keep a stage's as they are, and a part that is not there begins anew.",
    ),
]
Stages = Annotated[str, Option(help="Which stages, in any order, with commas between.")]
PatchWeight = Annotated[
    float,
    Option(min=0, help="Weight of tiny-clip's token-to-patch loss: how local words are."),
]
