"""Stored results that can be checked: one cell is made again, and held against what is stored.

A folder of results holds at least ``summary.json`` and ``table.csv``; where it has the cells as
well, every picture's scores are compared, else the table's rows, which are means.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..concept import Concept
from .bench import Bench, is_number
from .cell import Cell, check_known
from .plan import Plan, StudyError
from .table import KEYS, rows

TOLERANCE = 2e-3  # between two machines, or two builds of the same libraries
FIRST = 5  # differences that are shown


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes:
        count: numbers that were compared; differences: a line for each that is too far away.
    """

    name: str
    count: int
    differences: list[str]
    tolerance: float

    def lines(self) -> list[str]:
        """What is printed: the verdict, then the first differences."""
        far, tolerance = len(self.differences), f"{self.tolerance:g}"
        if not far:
            return [f"{self.name}: {self.count} numbers, all within {tolerance} of what is stored"]
        verdict = f"{self.name}: {far} of {self.count} numbers differ by more than {tolerance}"
        return [verdict, *self.differences[:FIRST], *(["..."] if far > FIRST else [])]


@dataclass(frozen=True)
class Stored:
    """A folder of results."""

    folder: Path
    summary: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Stored:
        """
        Raises:
            StudyError: no results there, or damaged ones.
        """
        path = folder / "summary.json"
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise StudyError(
                f"{folder} holds no results of adb evaluate (no summary.json): name its --out"
            ) from error
        except ValueError as error:
            raise StudyError(f"{path} is damaged: restore it, or measure anew") from error
        if not isinstance(summary, dict) or not {"plan", "known", "cells"} <= summary.keys():
            raise StudyError(f"{path} does not say how it was made: measure anew")
        return cls(folder, summary)

    @property
    def plan(self) -> Plan:
        """What was compared.

        Raises:
            StudyError: the results are of another version of this program.
        """
        settings, names = self.summary["plan"], {field.name for field in fields(Plan)}
        if settings.keys() != names:
            odd = min(settings.keys() ^ names)
            raise StudyError(
                f"the results in {self.folder} are of another version ({odd}): measure anew"
            )
        lists = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        return Plan(**lists)

    def cell(self, name: str, work: Path) -> Cell:
        """The cell of a name as "attndreambooth,pico,0", to be made in the folder ``work``.

        Raises:
            StudyError: there is no such cell.
        """
        known = self.summary["cells"]
        if name not in known:
            some = ", ".join(sorted(known)[:3]).replace(", ", "  ")
            raise StudyError(
                f"no cell {name!r} in {self.folder}: name recipe,concept,seed as in {some}"
            )
        recipe, concept, seed, *rate = name.split(",")
        return Cell(recipe, concept, int(seed), work, float(rate[0]) if rate else 1.0)

    def check(self, bench: Bench, name: str, work: Path, tolerance: float = TOLERANCE) -> Checked:
        """Make a cell again and compare it with what is stored.

        Args:
            bench: of :attr:`plan`. work: an empty folder, for the new cell.
            tolerance: how far a number may be from the stored one.

        Raises:
            StudyError: no such cell, or it is of another model, judge, CLIP, recipe, concept or of
                other prompts.
        """
        cell = self.cell(name, work)
        check_known(self.summary["known"], bench.known, self.folder, "check it with that one")
        concept = Concept.bundled(cell.concept)
        digest = cell.digest(bench, concept)
        refuse_other(str(cell), self.summary["cells"][name], digest)
        kept = Cell(cell.recipe, cell.concept, cell.seed, self.folder, cell.rate)
        stored = kept.stored(bench, concept)
        if stored is not None:
            lines = recompute(stored, bench, concept, work, tolerance)
            count = sum(1 for part in ("moments", "final") for _ in numbers(stored[part]))
            return Checked(name, count, lines, tolerance)
        theirs = [row for row in self.table() if _of(row, cell)]
        ours = [_whole(row) for row in rows(cell.make(bench, concept), bench.plan)]
        lines = differences([_whole(row) for row in theirs], ours, "rows", tolerance)
        return Checked(name, sum(1 for _ in numbers(ours)), lines, tolerance)

    def table(self) -> list[dict[str, Any]]:
        """The rows of ``table.csv``, numbers as numbers.

        Raises:
            StudyError: it is not there, or is no such table.
        """
        path = self.folder / "table.csv"
        try:
            with open(path, encoding="utf-8", newline="") as file:
                found = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError) as error:
            raise StudyError(f"{path} cannot be read: restore it, or measure anew") from error
        if found and not set(KEYS) <= found[0].keys():
            raise StudyError(f"{path} is not a table of adb evaluate: restore it, or measure anew")
        return [{key: _value(text) for key, text in row.items()} for row in found]


def _value(text: str | None) -> Any:
    """A CSV field as JSON would have it."""
    try:
        return float(text) if text else None
    except ValueError:
        return text


def _of(row: Mapping[str, Any], cell: Cell) -> bool:
    about = (row["recipe"], row["concept"], row["seed"], row["rate"])
    return about == (cell.recipe, cell.concept, cell.seed, cell.rate)


def _whole(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without what it does not have, so that a row and its line in a CSV are the same."""
    return {key: value for key, value in row.items() if value is not None}


# ---------------------------------------------------------------- made again


def refuse_other(cell: str, stored: str, digest: str) -> None:
    """
    Raises:
        StudyError: the two fingerprints of a cell differ.
    """
    if digest != stored:
        raise StudyError(
            f"the stored cell {cell} was made with another model, recipe, judge or other prompts "
            f"({stored}, now {digest}): measure it anew"
        )


def recompute(
    stored: dict, bench: Bench, concept: Concept, folder: Path, tolerance: float = TOLERANCE
) -> list[str]:
    """Make a stored cell again, and say where the two differ.

    Args:
        folder: an empty one, for the new cell.

    Returns:
        One line for each number that differs by more than ``tolerance``; none if the cell stands.

    Raises:
        StudyError: the cell is of another model, recipe, judge or of other prompts.
    """
    about = (stored["recipe"], stored["concept"], stored["seed"])
    cell = Cell(*about, folder, stored["rate"])
    refuse_other(str(cell), stored["fingerprint"], cell.digest(bench, concept))
    again = cell.make(bench, concept)
    return [
        line
        for part in ("moments", "final")
        for line in differences(stored[part], again[part], part, tolerance)
    ]


def numbers(value: Any) -> Iterator[float]:
    """All numbers of a JSON value."""
    if is_number(value):
        yield value
    elif isinstance(value, (dict, list)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from numbers(each)


def differences(ours: Any, theirs: Any, where: str, tolerance: float = TOLERANCE) -> list[str]:
    """Where two JSON values differ: numbers by more than rounding, anything else at all."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        missing = [f"{where}.{key} is on one side only" for key in ours.keys() ^ theirs.keys()]
        both = sorted(ours.keys() & theirs.keys())
        return missing + [
            line
            for key in both
            for line in differences(ours[key], theirs[key], f"{where}.{key}", tolerance)
        ]
    if isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            return [f"{where} has {len(ours)} and {len(theirs)} entries"]
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [
            line for k, (a, b) in pairs for line in differences(a, b, f"{where}[{k}]", tolerance)
        ]
    same = abs(ours - theirs) <= tolerance if is_number(ours, theirs) else ours == theirs
    return [] if same else [f"{where}: {ours} and {theirs}"]
