"""``adb evaluate``: the study behind the collection's claims."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ...system.commands import InputError
from .. import arguments, options as o

if TYPE_CHECKING:
    from ...study.plan import Plan


def evaluate(
    out: o.StudyFolder = Path("out/study"),
    quick: o.Quick = False,
    recipes: o.Recipes = None,
    concepts: o.Concepts = None,
    half: o.HalfName = o.Half.held_out,
    seeds: o.TrainingSeeds = None,
    prompts: o.PromptSets = None,
    per_set: o.PerSet = None,
    moments: o.Moments = 8,
    rates: o.Rates = None,
    steps: o.PictureSteps = 15,
    guidance: o.Guidance = None,
    base: o.BaseName = "tiny",
    data: o.DataFolder = None,
    device: o.Device = "auto",
    threads: o.Threads = None,
    quiet: o.Quiet = False,
) -> None:
    """Train recipes on concepts, measure them on their way, and compare them.

    Every finished (recipe, concept, seed) is kept in OUT: after Ctrl-C or a crash the same command
    goes on, and a second process with the same command shares the work. Writes table.csv,
    summary.json and figures. Recipes are tuned on the tuning half; the held-out half is for
    reporting.

    \b
      adb evaluate --quick --threads 1        # twice, for two cores
      adb evaluate --recipes textual_inversion --recipes attndreambooth --seeds 0 --seeds 1
    """
    _use_data(data)
    arguments.check_seed(*(seeds or ()))
    arguments.check_counts(moments=moments, per_set=1 if per_set is None else per_set)
    arguments.check_device(device)
    arguments.refuse_pickle(base)
    from ...study.plan import edition

    chosen = {"recipes": recipes, "concepts": concepts, "seeds": seeds, "rates": rates}
    chosen = {name: values or () for name, values in chosen.items()}
    plan = edition(quick, half.value.replace("-", "_"), prompts or (), per_set, moments, chosen)
    _check_out(out)
    say = (lambda *_: None) if quiet else typer.echo
    _use_threads(threads)
    _run(_sampled(plan, steps, guidance), base, device, out, say)


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


def _run(plan, name: str, device: str, out: Path, say) -> None:
    """The study, and its report; what is there already is said after Ctrl-C too."""
    from ... import base
    from ...study import report
    from ...study.bench import Bench
    from ...study.run import run_study

    bench = Bench.load(base.load_base(name, device=device), plan)
    found = []
    try:
        for _, numbers in run_study(bench, out, say):
            found.append(numbers)
    except KeyboardInterrupt:
        say(f"stopped; {len(found)} cells are kept in {out}: the same command goes on")
        raise
    summary = report.write_report(found, plan, bench.known, out)
    for line in report.lines(summary):
        typer.echo(line)
    typer.echo(f"results: {out / 'table.csv'}, {out / 'summary.json'}")
