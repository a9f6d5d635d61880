"""The options of ``adb study``: names, types and help texts, as :mod:`adb_core.app.options`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import option

Folder = Annotated[Path, typer.Argument(help="The study's folder.")]
Pictures = Annotated[
    list[Path] | None,
    option("--pictures", "A folder of one recipe's pictures with manifest.json; give several."),
]
Models = Annotated[
    list[Path] | None,
    option("--model", "What adb train wrote; its pictures are drawn now. Give several."),
]
Prompts = Annotated[
    list[str] | None,
    option("--prompt", "For --model: a text with {}; give several. By default data/prompts."),
]
Concepts = Annotated[
    list[str] | None,
    option(
        "--concept",
        "Whose photos are shown: a folder of photos, for a concept that is not bundled.",
    ),
]
Pairs = Annotated[int | None, option("--pairs", "How many pairs; by default all there are.")]
Raters = Annotated[int, option("--raters", "How many people are to vote.")]
Repeats = Annotated[int, option("--repeats", "Pairs that each sees twice, sides swapped.")]
Catches = Annotated[int, option("--catches", "Trials with the same picture on both sides.")]
Host = Annotated[
    str, option("--host", "127.0.0.1 is this machine alone; 0.0.0.0 whoever can reach it.")
]
Port = Annotated[int, option("--port", "0 takes any that is free.")]
Close = Annotated[bool, option("--close", "End the study now: no more votes, open the key.")]
CsvFile = Annotated[Path | None, option("--csv", "Also write one row a vote to this file.")]
Taste = Annotated[
    list[str] | None,
    option(
        "--taste",
        "RECIPE=STRENGTH in logits, once for each recipe; by default the bundled judge's.",
    ),
]
Share = Annotated[float, typer.Argument(help="The share of votes that one would like to see.")]
Alpha = Annotated[float, option("--alpha", "The level of the two-sided exact test.")]
Wanted = Annotated[float, option("--power", "The probability of seeing it.")]
