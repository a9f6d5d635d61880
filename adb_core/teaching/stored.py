"""The comparison of methods that is stored beside the model, as a page shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..study import report
from ..system.paths import data_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class StoredStudy(NamedTuple):
    """What ``adb evaluate`` wrote: its summary, figures by name, and the table as it prints it."""

    summary: Mapping[str, Any]
    figures: Mapping[str, Figure]
    lines: list[str]


def stored_study(half: str = "held_out") -> StoredStudy:
    """The study of a half of the concepts, of ``data/results``."""
    summary = json.loads(data_path("results", f"{half}.json").read_text(encoding="utf-8"))
    return StoredStudy(summary, report.figures(summary), report.lines(summary))
