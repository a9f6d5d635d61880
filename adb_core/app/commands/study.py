"""``adb study``: would people prefer it? Make a study, let people vote, count the votes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ...system.commands import InputError, polite, typer_app
from .. import options as o, study_options as options
from ..arguments import check_counts, check_seed, find_concept

if TYPE_CHECKING:
    from ...concept import Concept
    from ...preference.making import Picture

HELP = """Would people prefer it? A study with people who look at pairs of pictures.

\b
  adb study new out/study --model out/a --model out/b --raters 6
  adb study serve out/study      the page in which people vote, on this machine
  adb study report out/study     what they said, once the last has voted
  adb study power 0.65           how many votes it takes to see 65 %
"""


def new(
    folder: options.Folder,
    raters: options.Raters,
    pictures: options.Pictures = None,
    model: options.Models = None,
    prompt: options.Prompts = None,
    seeds: o.Seeds = [0],
    concept: options.Concepts = None,
    pairs: options.Pairs = None,
    repeats: options.Repeats = 2,
    catches: options.Catches = 2,
    steps: o.Steps = 25,
    guidance: o.Guidance = 3.0,
    device: o.Device = "auto",
    quiet: o.Quiet = False,
) -> None:
    """Make a study: pairs of two recipes' pictures for the same concept, prompt and seed.

    The pictures come from folders (--pictures), or are drawn from trained models (--model).
    Which recipe drew which is written to FOLDER/key.json and opened after the last vote.

    A folder of pictures says in manifest.json what they are:

    \b
      {"recipe": "dreambooth", "pictures": [
        {"file": "0.png", "concept": "pico", "prompt": "a photo of a {}", "seed": 0}]}
    """
    from ...preference import making
    from ...preference.study import Design

    check_seed(*seeds)
    design = Design(raters, repeats, catches, seeds[0])
    if pairs is not None:
        check_counts(pairs=pairs)
    if bool(pictures) == bool(model):
        raise InputError("give the pictures either as --pictures FOLDER or as --model FOLDER")
    making.check_free(folder)
    if pictures:
        found = [picture for each in pictures for picture in making.read_pictures(each)]
    else:
        found = _drawn(model or [], prompt, seeds, device, not quiet, (steps, guidance))
    chosen = making.draw_pairs(making.possible_pairs(found), pairs, seeds[0])
    study = making.new_study(folder, chosen, _photos(chosen, concept or []), design)
    typer.echo(f"{folder}: {len(study.pairs)} pairs for {raters} raters")
    typer.echo(f"next: adb study serve {folder}")


def _drawn(
    models: list[Path],
    prompts: list[str] | None,
    seeds: list[int],
    device: str,
    progress: bool,
    how: tuple[int, float],
) -> list[Picture]:
    """The pictures of trained models."""
    from ...preference.drawing import draw_pictures
    from ...system.paths import data_path

    if not prompts:
        said = json.loads(data_path("prompts", "complexity_4.json").read_text(encoding="utf-8"))
        prompts = [entry["prompt"] for entry in said["prompts"]]
    say: Callable[[str], None] = typer.echo
    sampling = {"steps": how[0], "guidance": how[1], "progress": progress}
    return draw_pictures(models, prompts, seeds, device=device, say=say, **sampling)


def _photos(pairs: list[tuple[Picture, Picture]], given: list[str]) -> dict[str, Concept]:
    """The concepts of the pairs: those that were given, then bundled ones of that name."""
    from ...concept import bundled_concepts

    concepts = {c.name: c for c in (find_concept(name, None, None) for name in given)}
    known = {name for half in bundled_concepts().values() for name in half}
    for name in sorted({one.concept for one, _ in pairs} & known - set(concepts)):
        concepts[name] = find_concept(name, None, None)
    return concepts


def serve(
    folder: options.Folder, host: options.Host = "127.0.0.1", port: options.Port = 8765
) -> None:
    """Serve the page in which people vote, until Ctrl-C; every answer is stored at once."""
    from ...preference.server import LOOPBACK, StudyServer
    from ...preference.session import Session
    from ...preference.study import load_study
    from ...preference.votes import Votes

    if not 0 <= port < 65536:
        raise InputError(f"--port {port} must be from 0 to 65535")
    study = load_study(folder)
    with Votes(study) as votes, StudyServer(Session(study, votes), host, port) as server:
        if host not in LOOPBACK:
            typer.echo(
                f"WARNING: {host} lets whoever can reach this machine see the pictures and vote; "
                "there is no password, and nothing is encrypted",
                err=True,
            )
        typer.echo(f"vote at {server.address} (Ctrl-C ends the server; no vote is lost)")
        server.serve_forever()


def report(
    folder: options.Folder, close: options.Close = False, csv: options.CsvFile = None
) -> None:
    """Say what people preferred, and how sure that is; before the last vote, only who has voted."""
    from ...preference import report as words
    from ...preference.analysis import reveal
    from ...preference.study import load_study
    from ...preference.votes import Votes
    from ...system.files import atomic_write_text

    study = load_study(folder)
    with Votes(study) as votes:
        if close:
            votes.seal()
        key = None if votes.missing() else reveal(study, votes)
        everything = votes.all()
        lines = words.progress(study, votes)
        if key is not None:
            lines = words.results(study, key, everything)
    for line in lines:
        typer.echo(line)
    if key is None:
        typer.echo("which recipe is which stays closed until then; --close ends the study now")
    if csv is not None:
        atomic_write_text(csv, words.as_csv(study, everything, key))
        typer.echo(f"{len(everything)} votes: {csv}")


def simulate(folder: options.Folder, taste: options.Taste = None, seed: o.Seed = 0) -> None:
    """Let a program vote in the place of every rater, to try a study and its analysis out.

    It says nothing about people, and the report says so. People cannot vote in the same study.
    """
    from ...preference import panel, report as words
    from ...preference.study import load_study
    from ...preference.votes import Votes

    check_seed(seed)
    study = load_study(folder)
    strengths = _strengths(taste or [])
    if strengths:
        utilities = panel.recipe_taste(study, strengths)
    else:
        utilities = panel.judge_taste(study)
    with Votes(study) as votes:
        count = panel.simulate(study, votes, utilities, panel.Panel(study.design.raters, seed=seed))
    typer.echo(f"{words.SIMULATED_NOTE}\n{count} trials answered")


def _strengths(given: list[str]) -> dict[str, float]:
    """RECIPE=STRENGTH, several times."""
    strengths = {}
    for each in given:
        name, _, number = each.rpartition("=")
        try:
            strengths[name] = float(number)
        except ValueError:
            name = ""
        if not name or not abs(strengths[name]) < 100:
            raise InputError(f"--taste {each!r}: write RECIPE=STRENGTH, as dreambooth=0.5")
    return strengths


def power(share: options.Share, alpha: options.Alpha = 0.05, wanted: options.Wanted = 0.8) -> None:
    """How many votes it takes to see that share of them preferring one of two recipes."""
    from ...preference.report import planned

    typer.echo(planned(share, alpha, wanted))


app = typer_app("study", no_args_is_help=True, help=HELP)
for command in (new, serve, report, simulate, power):
    app.command()(polite(command))
