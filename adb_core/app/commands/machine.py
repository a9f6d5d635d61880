"""``adb concepts`` and ``adb doctor``: what comes with the project, and what this machine has."""

from __future__ import annotations

import json

import typer

from ...system.commands import InputError


def concepts() -> None:
    """List the concepts that come with the project.

    The tuning half served to choose the tiny presets; the held-out half is for honest results.
    """
    from ...concept import bundled_concepts
    from ...system.paths import data_path

    for half, names in bundled_concepts().items():
        typer.echo(f"{half.replace('_', '-')}:")
        for name in names:
            path = data_path("concepts", name, "concept.json")
            info = json.loads(path.read_text(encoding="utf-8"))
            count = f"{len(info['photos'])} pictures"
            typer.echo(f"  {name:<8} {info['category']:<9} {count}   {info['looks']}")


def doctor() -> None:
    """Say what this machine has, whether the bundled data are whole, and which tier fits.

    The exit code is 0 if the tiny preset can run, else 2.
    """
    from ..doctor import examine

    findings = examine()
    for name, text in findings.lines:
        typer.echo(f"{name:<14} {text}")
    typer.echo(f"{'tier':<14} {findings.advice}")
    if findings.problems:
        raise InputError("; ".join(findings.problems))
