"""One cell of a study: one recipe on one concept with one seed, trained once, measured on its way.

A cell is a JSON file, written whole or not at all. While it is made, what was measured so far and
the training's last checkpoint lie beside it, so that a process that is killed loses no more than
the last seconds: the next one goes on there, and ends with the same numbers.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..checkpoint import CheckpointError
from ..concept import Concept
from ..personalization import Run
from ..recipes import recipe as named
from ..system.files import atomic_write_json
from ..system.locks import exclusive
from .bench import FORMAT, Bench
from .plan import BASE, UNTRAINED, StudyError, half_of

SAVE_SECONDS = 20.0  # a checkpoint takes about a second to write


@dataclass(frozen=True)
class Cell:
    """Which one.

    Attributes:
        folder: where the study's cells lie. rate: factor of the learning rate, see Plan.
    """

    recipe: str
    concept: str
    seed: int
    folder: Path
    rate: float = 1.0

    def __str__(self) -> str:
        tuned = "" if self.rate == 1 else f", learning rate x {self.rate:g}"
        return f"{self.recipe}, {self.concept}, seed {self.seed}{tuned}"

    def digest(self, bench: Bench, concept: Concept) -> str:
        """Of everything that its numbers depend on."""
        return bench.fingerprint(self.recipe, concept, self.seed, self.rate)

    def path(self, digest: str) -> Path:
        """Its file, which another model, recipe, judge or prompt gives another name."""
        name = f"{self.concept}-{self.seed}-{digest[:8]}.json"
        return self.folder / "cells" / self.recipe / name

    # ------------------------------------------------------------ made once

    def stored(self, bench: Bench, concept: Concept) -> dict | None:
        """The finished cell, or None."""
        digest = self.digest(bench, concept)
        return read_cell(self.path(digest), digest)

    def make(self, bench: Bench, concept: Concept) -> dict:
        """The cell, made or finished if it is not there.

        Raises:
            Busy: another process is making it.
            DiskFull: no space left; what was made stays.
        """
        digest = self.digest(bench, concept)
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
            "rate": self.rate,
            "preset": named(self.recipe).steps if trained else 0,
            "settings": asdict(bench.plan.long(self.recipe, self.rate)) if trained else None,
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
        marks, plan = bench.plan.marks(self.recipe), bench.plan.long(self.recipe, self.rate)
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


def claim_folder(folder: Path, known: dict[str, str]) -> None:
    """Make a folder one of results by these instruments, or find out that it is one of others.

    Raises:
        StudyError: it holds results of another model, judge or CLIP.
    """
    if not check_folder(folder, known):
        atomic_write_json(folder / "study.json", {"known": known})


def check_folder(folder: Path, known: Mapping[str, str]) -> bool:
    """Whether a folder is one of results by these instruments; False: it is nobody's yet.

    Raises:
        StudyError: it holds results of another model, judge or CLIP.
    """
    path = folder / "study.json"
    if not path.exists():
        return False
    try:
        theirs = json.loads(path.read_text(encoding="utf-8"))["known"]
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path} is damaged: delete it, or choose another --out") from error
    check_known(theirs, known, folder, "choose another folder with --out")
    return True


def check_known(
    theirs: Mapping[str, str], known: Mapping[str, str], folder: Path, cure: str
) -> None:
    """Find out that results are by other instruments.

    Raises:
        StudyError: naming the first one that differs, and the cure.
    """
    for what, value in known.items():
        if theirs.get(what) != value:
            raise StudyError(
                f"{folder} holds results of another {what} ({theirs.get(what)}; this one is "
                f"{value}): {cure}"
            )
