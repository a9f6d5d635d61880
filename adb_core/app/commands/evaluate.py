"""``adb evaluate``: the study behind the collection's claims."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import typer

from ...system.commands import InputError
from .. import arguments, evaluate_options as options, options as o

if TYPE_CHECKING:
    from ...study.bench import Bench
    from ...study.plan import Plan


def evaluate(
    out: options.StudyFolder = Path("out/study"),
    archive: options.ArchiveFile = None,
    quick: options.Quick = False,
    recipes: options.Recipes = None,
    concepts: options.Concepts = None,
    half: options.HalfName = options.Half.held_out,
    seeds: options.TrainingSeeds = None,
    prompts: options.PromptSets = None,
    per_set: options.PerSet = None,
    images: options.Images = 1,
    moments: options.Moments = 8,
    rates: options.Rates = None,
    steps: options.PictureSteps = 15,
    guidance: o.Guidance = None,
    forecast: options.ForecastOnly = False,
    report: options.ReportOnly = False,
    check: options.CheckedCell = None,
    tolerance: options.Tolerance = 2e-3,
    base: o.BaseName = "tiny",
    data: options.DataFolder = None,
    device: o.Device = "auto",
    threads: options.Threads = None,
    quiet: o.Quiet = False,
) -> None:
    """Train recipes on concepts, measure them on their way, and compare them.

    Every finished (recipe, concept, seed) is kept in OUT: after Ctrl-C or a crash the same command
    goes on, and a second process with the same command shares the work. Writes table.csv and .md,
    summary.json and figures; with --rates, tuning.md. Recipes are tuned on the tuning half; the
    held-out half is for reporting. An archive is one file of finished cells: another machine goes
    on with it.

    \b
      adb evaluate --quick --threads 1        # twice, for two cores; --forecast: how long it takes
      adb evaluate --half tuning --rates 0.5 --rates 1 --rates 2 --out out/tuning
      adb evaluate --out out/study --check attndreambooth,zorro,0
    """
    _prepared(SimpleNamespace(**locals()))()


def _prepared(asked: SimpleNamespace) -> Callable[[], None]:
    """What was asked for, all checked before any weights load; to be called."""
    _use_data(asked.data)
    arguments.check_seed(*(asked.seeds or ()))
    per_set = 1 if asked.per_set is None else asked.per_set
    arguments.check_counts(moments=asked.moments, images=asked.images, per_set=per_set)
    arguments.check_device(asked.device)
    arguments.refuse_pickle(asked.base)
    from ...study.plan import edition
    from ...study.stored import Stored

    say = (lambda *_: None) if asked.quiet else typer.echo
    if asked.check is not None:
        if not 0 <= asked.tolerance < 1:
            raise InputError(f"--tolerance {asked.tolerance:g} must be at least 0 and below 1")
        stored = Stored.read(asked.out)
        _use_threads(asked.threads)
        return lambda: _check(stored, asked)
    chosen = {n: getattr(asked, n) or () for n in ("recipes", "concepts", "seeds", "rates")}
    half = asked.half.value.replace("-", "_")
    plan = edition(asked.quick, half, asked.prompts or (), asked.per_set, asked.moments, chosen)
    _check_out(asked.out)
    if asked.archive is not None:
        _check_archive(asked.archive)
    _use_threads(asked.threads)
    plan = replace(_sampled(plan, asked.steps, asked.guidance), images=asked.images)
    return lambda: _run(plan, asked, say)


def _sampled(plan: Plan, steps: int, guidance: float | None) -> Plan:
    """The plan with that sampling; odd numbers are refused now, not after a training."""
    from ...generation import Sampling

    scale = plan.guidance if guidance is None else guidance
    Sampling(steps=steps, guidance=scale)
    return replace(plan, steps=steps, guidance=scale)


def _use_threads(count: int | None) -> None:
    """Cores of this process, where several share a machine."""
    if count is None:
        return
    arguments.check_counts(threads=count)
    import torch

    torch.set_num_threads(count)


def _use_data(folder: Path | None) -> None:
    """Another folder of data, for this process."""
    if folder is None:
        return
    if not folder.is_dir():
        raise InputError(f"--data {folder} is not a folder: name one that is laid out as data/")
    os.environ["ADB_DATA"] = str(folder.resolve())


def _check_out(out: Path) -> None:
    from ...system.files import check_writable

    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, not a folder: choose another with --out")
    check_writable(out)


def _check_archive(archive: Path) -> None:
    from ...system.files import check_writable

    if archive.is_dir():
        raise InputError(f"{archive} is a folder, not a file: choose another with --archive")
    check_writable(archive.parent)


def _run(plan: Plan, asked: SimpleNamespace, say: Callable[[str], None]) -> None:
    """The forecast, the study and its report, or one of the first and the last alone."""
    from ... import base
    from ...study import archive, estimate, run
    from ...study.bench import Bench

    bench, out = Bench.load(base.load_base(asked.base, device=asked.device), plan), asked.out
    if asked.archive is not None:
        say(f"{archive.take(asked.archive, out, bench.known)} cells taken from {asked.archive}")
    if asked.report:
        _report([found for _, found in run.finished(bench, out)], bench, out)
        return
    foreseen = estimate.forecast(bench, out)
    for line in foreseen.lines():
        (typer.echo if asked.forecast else say)(line)
    if asked.forecast:
        return
    found: list[dict] = []
    try:
        for _, numbers in run.run_study(bench, out, say):
            found.append(numbers)
    except KeyboardInterrupt:
        say(f"stopped; {len(found)} cells are kept in {out}: the same command goes on")
        raise
    finally:
        if asked.archive is not None and found:
            say(f"{archive.keep(out, asked.archive)} cells are in {asked.archive}")
    _report(found, bench, out)


def _report(found: list[dict], bench: Bench, out: Path) -> None:
    """Write and print what the cells say."""
    from ...study import report

    if not found:
        raise InputError(f"no finished cells of this study are in {out}: leave out --report")
    summary = report.write_report(found, bench.plan, bench.known, out)
    for line in report.lines(summary):
        typer.echo(line)
    typer.echo(f"results: {out / 'table.csv'}, {out / 'table.md'}, {out / 'summary.json'}")


def _check(stored, asked: SimpleNamespace) -> None:
    """One stored cell, made again; exit code 1 if it does not stand."""
    from ... import base
    from ...study.bench import Bench

    with tempfile.TemporaryDirectory() as work:
        stored.cell(asked.check, Path(work))  # a name that is not there is said at once
        bench = Bench.load(base.load_base(asked.base, device=asked.device), stored.plan)
        checked = stored.check(bench, asked.check, Path(work), asked.tolerance)
    for line in checked.lines():
        typer.echo(line)
    if checked.differences:
        raise typer.Exit(1)
