"""Make the tiny model from nothing: ``python -m adb_core.pretraining --minutes 240``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import typer

from ..system.commands import INTERRUPTED, InputError
from ..system.devices import pick_device
from ..system.files import recover_folder
from . import options as o
from .clip import PATCH_WEIGHT
from .run import SETTINGS, STAGES, TRAINED, Pretraining, image_count
from .settings import Place
from .write import FOLDERS, PARTS

ALL_STAGES = ",".join(STAGES)


def parse_steps(text: str, option: str = "--steps") -> dict[str, int]:
    """``"vae=100,unet=2000"`` to a dict; ``option`` is what a message names.

    Raises:
        InputError: not of that form, or an unknown stage.
    """
    steps = {}
    for item in filter(None, text.split(",")):
        stage, _, number = item.partition("=")
        if stage not in TRAINED:
            raise InputError(f"{option}: unknown stage {stage!r}: choose from {', '.join(TRAINED)}")
        if not number.isdecimal():
            raise InputError(f"{option}: {item!r} is not of the form {stage}=1000")
        steps[stage] = int(number)
    return steps


def parse_batch(text: str) -> dict[str, int]:
    """``"unet=1024"`` to a dict.

    Raises:
        InputError: not of that form, an unknown stage, or a batch that the stage cannot have.
    """
    batch = parse_steps(text, "--batch")
    for stage, size in batch.items():
        least = SETTINGS[stage].batch if stage == "judge" else 1
        if size < 1 or size % least:
            raise InputError(f"--batch: {stage}={size} must be a positive multiple of {least}")
    return batch


def parse_stages(text: str) -> tuple[str, ...]:
    """``"vae,unet"`` to a tuple.

    Raises:
        InputError: an unknown stage, or none.
    """
    stages = tuple(filter(None, text.split(",")))
    for stage in stages:
        if stage not in STAGES:
            raise InputError(f"--stages: unknown stage {stage!r}: choose from {', '.join(STAGES)}")
    if not stages:
        raise InputError(f"--stages is empty: choose from {', '.join(STAGES)}")
    return stages


def check_budget(minutes: float | None, steps: dict[str, int], stages: tuple[str, ...]) -> None:
    """Every trained stage has minutes or steps.

    Raises:
        InputError: one has neither.
    """
    lacking = [stage for stage in TRAINED if stage in stages and stage not in steps]
    if minutes is None and lacking:
        raise InputError(f"give --minutes N, or --steps for {', '.join(lacking)} too")
    if minutes is not None and not 0 < minutes < 1e5:
        raise InputError(f"--minutes must be a positive number, got {minutes:g}")


def check_start(start: Path | None, steps: dict[str, int]) -> None:
    """The weights that stay are there; a part that is not there yet begins anew.

    Raises:
        InputError: they are not, or the folder holds no part at all.
    """
    nothing = [stage for stage, count in steps.items() if count == 0]
    if nothing and start is None:
        raise InputError(
            f"--steps: {nothing[0]} must be positive, unless --from names weights to keep"
        )
    if start is None:
        return
    if not any((start / part).is_dir() for part in PARTS.values()):
        raise InputError(f"--from: {start} holds none of {', '.join(PARTS.values())}")
    for stage in nothing:
        part = start / PARTS.get(stage, PARTS["vae"])  # the decoder is the VAE's
        if not part.is_dir():
            raise InputError(f"--from: {part} is not there, and --steps {stage}=0 would keep it")


def check_numbers(seed: int, images: int | None) -> None:
    """Numbers that make no sense.

    Raises:
        InputError: naming one.
    """
    if images is not None and images < 64:
        raise InputError(f"--images must be at least 64, got {images}")
    if seed < 0:
        raise InputError(f"--seed must not be negative, got {seed}")


def main(
    minutes: o.Minutes = None,
    steps: o.Steps = "",
    device: o.Device = "auto",
    seed: o.Seed = 0,
    images: o.Images = None,
    run: o.Run = Path("out/pretrain"),
    data: o.Data = Path("data"),
    start: o.Start = None,
    stages: o.Stages = ALL_STAGES,
    patch_weight: o.PatchWeight = PATCH_WEIGHT,
    batch: o.Batch = "",
) -> None:
    """Make the tiny model from nothing; the same command resumes after a stop."""
    check_numbers(seed, images)
    for name, folder in (("run", run), ("data", data)):
        if folder.is_file():
            raise InputError(f"--{name}: {folder} is a file, not a folder")
    asked, chosen, sizes = parse_steps(steps), parse_stages(stages), parse_batch(batch)
    check_budget(minutes, asked, chosen)
    check_start(start, asked)
    try:
        where = str(pick_device(device))
    except ValueError as error:
        raise InputError(f"--device: {error}") from error
    pretraining = Pretraining(
        Place(run, seed, where),
        data,
        minutes,
        asked,
        images or image_count(minutes),
        chosen,
        start,
        patch_weight,
        sizes,
        command=shlex.join(["python", "-m", "adb_core.pretraining", *sys.argv[1:]]),
    )
    go(pretraining)


def go(pretraining: Pretraining) -> None:
    """The run, after mending what a kill may have left half-done."""
    try:
        for name in FOLDERS:  # a swap that a kill cut in two
            recover_folder(pretraining.data / name, pretraining.run / "staging")
        pretraining.go()
    except KeyboardInterrupt:
        typer.echo(f"stopped; the same command resumes from {pretraining.run}", err=True)
        raise typer.Exit(INTERRUPTED) from None
