"""One cell of a study: one recipe on one concept with one seed, trained once, measured on its way.

A cell is a JSON file, written whole or not at all. While it is made, what was measured so far and
the training's last checkpoint lie beside it, so that a process that is killed loses no more than
the last seconds: the next one goes on there, and ends with the same numbers.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..checkpoint import CheckpointError
from ..concept import Concept
from ..personalization import Run
from ..recipes import recipe as named
from ..system.files import atomic_write_json
from ..system.locks import exclusive
from .bench import FORMAT, Bench, is_number
from .plan import BASE, UNTRAINED, StudyError, half_of

SAVE_SECONDS = 20.0  # a checkpoint takes about a second to write
TOLERANCE = 2e-3  # between two machines, or two builds of the same libraries


@dataclass(frozen=True)
class Cell:
    """Which one.

    Attributes:
        folder: where the study's cells lie.
    """

    recipe: str
    concept: str
    seed: int
    folder: Path

    def __str__(self) -> str:
        return f"{self.recipe}, {self.concept}, seed {self.seed}"

    def path(self, digest: str) -> Path:
        """Its file, which another model, recipe, judge or prompt gives another name."""
        name = f"{self.concept}-{self.seed}-{digest[:8]}.json"
        return self.folder / "cells" / self.recipe / name

    # ------------------------------------------------------------ made once

    def stored(self, bench: Bench, concept: Concept) -> dict | None:
        """The finished cell, or None."""
        digest = bench.fingerprint(self.recipe, concept, self.seed)
        return read_cell(self.path(digest), digest)

    def make(self, bench: Bench, concept: Concept) -> dict:
        """The cell, made or finished if it is not there.

        Raises:
            Busy: another process is making it.
            DiskFull: no space left; what was made stays.
        """
        digest = bench.fingerprint(self.recipe, concept, self.seed)
        path = self.path(digest)
        done = read_cell(path, digest)
        if done is not None:
            return done
        with exclusive(path.with_suffix(".lock"), f"the cell {self}"):
            done = read_cell(path, digest)  # another process may have finished it meanwhile
            if done is not None:
                return done
            began = time.perf_counter()
            facts = self._facts(bench, concept, digest)
            if self.recipe in UNTRAINED:
                facts |= self._untrained(bench, concept)
            else:
                facts |= self._trained(bench, concept, path.with_suffix(".work"), digest)
            facts["seconds"] = round(time.perf_counter() - began, 2)
            facts = json.loads(json.dumps(facts))  # as whoever reads the file will see it
            atomic_write_json(path, facts)
            shutil.rmtree(path.with_suffix(".work"), ignore_errors=True)
        return facts

    def _facts(self, bench: Bench, concept: Concept, digest: str) -> dict[str, Any]:
        trained = self.recipe not in UNTRAINED
        return {
            "format": FORMAT,
            "fingerprint": digest,
            "known": bench.known,
            "recipe": self.recipe,
            "concept": self.concept,
            "half": half_of(self.concept),
            "seed": self.seed,
            "preset": named(self.recipe).steps if trained else 0,
            "settings": asdict(bench.plan.long(self.recipe)) if trained else None,
        }

    def _untrained(self, bench: Bench, concept: Concept) -> dict[str, Any]:
        if self.recipe == BASE:
            return {
                "moments": [{"step": 0, **bench.moment(bench.base, concept, self.seed)}],
                "final": bench.final(bench.base, concept, self.seed),
            }
        scores = bench.control(self.recipe, concept, self.seed)
        return {"moments": [{"step": 0, **scores}], "final": {"values": {}, "left_out": {}}}

    # ------------------------------------------------------------ trained, and measured on the way

    def _trained(self, bench: Bench, concept: Concept, work: Path, digest: str) -> dict[str, Any]:
        notes = work / "notes.json"
        known = _read_notes(notes, digest)
        marks, plan = bench.plan.marks(self.recipe), bench.plan.long(self.recipe)
        run = _run(bench, concept, plan, self.seed, work)
        behind = len(run.result.history)
        if any(step < behind for step in marks if str(step) not in known["moments"]):
            shutil.rmtree(work)  # a checkpoint without its notes: nothing can be gone back to
            run, behind = _run(bench, concept, plan, self.seed, work), 0

        def measure(step: int) -> None:
            known["moments"][str(step)] = bench.moment(run.result, concept, self.seed)
            if step == named(self.recipe).steps:
                known["final"] = bench.final(run.result, concept, self.seed)
            atomic_write_json(notes, known)

        if behind in marks and str(behind) not in known["moments"]:
            measure(behind)
        saved = time.perf_counter()
        for record in run:
            behind += 1
            known["training_seconds"] += record.seconds
            if behind in marks and str(behind) not in known["moments"]:
                measure(behind)
                if time.perf_counter() - saved > SAVE_SECONDS and not record.is_last:
                    run.save()
                    saved = time.perf_counter()
        return {
            "moments": [{"step": s, **known["moments"][str(s)]} for s in marks],
            "final": known["final"],
            "training_seconds": round(known["training_seconds"], 2),
        }


def _run(bench: Bench, concept: Concept, plan: Any, seed: int, work: Path) -> Run:
    """The training, where its checkpoint left it; one that cannot be read is begun anew."""
    options = {"seed": seed, "watch": False, "out": work, "save_every": plan.steps + 1}
    try:
        return Run(bench.base, concept, plan, **options)
    except CheckpointError:
        shutil.rmtree(work)
        return Run(bench.base, concept, plan, **options)


def _read_notes(path: Path, digest: str) -> dict[str, Any]:
    """What was measured before an interruption."""
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        notes = {}
    if notes.get("fingerprint") == digest:
        return notes
    return {"fingerprint": digest, "moments": {}, "final": None, "training_seconds": 0.0}


def read_cell(path: Path, digest: str) -> dict | None:
    """A finished cell of these settings, or None."""
    try:
        cell = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return cell if cell.get("fingerprint") == digest else None


# ---------------------------------------------------------------- the folder


@contextmanager
def study_folder(folder: Path, known: dict[str, str]) -> Iterator[Path]:
    """Within, a folder that holds results of these instruments and of no others.

    Raises:
        StudyError: it holds results of another model, judge or CLIP.
    """
    path = folder / "study.json"
    if path.exists():
        try:
            theirs = json.loads(path.read_text(encoding="utf-8"))["known"]
        except (ValueError, KeyError, TypeError) as error:
            raise StudyError(f"{path} is damaged: delete it, or choose another --out") from error
        for what, value in known.items():
            if theirs.get(what) != value:
                raise StudyError(
                    f"{folder} holds results of another {what} ({theirs.get(what)}; this one is "
                    f"{value}): choose another folder with --out"
                )
    else:
        atomic_write_json(path, {"known": known})
    yield folder


# ---------------------------------------------------------------- made again, to be checked


def recompute(stored: dict, bench: Bench, concept: Concept, folder: Path) -> list[str]:
    """Make a stored cell again, and say where the two differ.

    Args:
        folder: an empty one, for the new cell.

    Returns:
        One line for each number that differs by more than rounding does; none if the cell stands.

    Raises:
        StudyError: the cell is of another model, recipe, judge or of other prompts.
    """
    cell = Cell(stored["recipe"], stored["concept"], stored["seed"], folder)
    digest = bench.fingerprint(cell.recipe, concept, cell.seed)
    if digest != stored["fingerprint"]:
        raise StudyError(
            f"the stored cell {cell} was made with another model, recipe, judge or other prompts "
            f"({stored['fingerprint']}, now {digest}): measure it anew"
        )
    again = cell.make(bench, concept)
    return [
        line
        for part in ("moments", "final")
        for line in differences(stored[part], again[part], part)
    ]


def differences(ours: Any, theirs: Any, where: str) -> list[str]:
    """Where two JSON values differ: numbers by more than rounding, anything else at all."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        missing = [f"{where}.{key} is on one side only" for key in ours.keys() ^ theirs.keys()]
        both = sorted(ours.keys() & theirs.keys())
        return missing + [
            line for key in both for line in differences(ours[key], theirs[key], f"{where}.{key}")
        ]
    if isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            return [f"{where} has {len(ours)} and {len(theirs)} entries"]
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [line for k, (a, b) in pairs for line in differences(a, b, f"{where}[{k}]")]
    same = abs(ours - theirs) <= TOLERANCE if is_number(ours, theirs) else ours == theirs
    return [] if same else [f"{where}: {ours} and {theirs}"]
