"""The finished cells of a study in one file, with which another machine goes on.

A zip of the cells' own JSON files and of the folder's ``study.json``: the same cells give the same
bytes. A repository keeps one where a folder of hundreds of files would be in the way.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from ..system.files import atomic_write_bytes
from .cell import check_known, claim_folder
from .plan import StudyError

CELL = re.compile(r"[a-z0-9_]+/[a-z0-9_]+-\d+-[0-9a-f]{8}\.json")
STUDY = "study.json"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can say


def take(archive: Path, folder: Path, known: Mapping[str, str]) -> int:
    """Put the archive's cells into a folder of results; returns how many the folder lacked.

    An archive that is not there yet holds none.

    Args:
        known: the instruments that are in use, see :class:`.bench.Bench`.

    Raises:
        StudyError: the file is no archive of cells or damaged, or the archive or the folder holds
            results of another model, judge or CLIP.
        DiskFull: no space left.
    """
    if not archive.exists():
        return 0
    try:
        with zipfile.ZipFile(archive) as file:
            names = [name for name in file.namelist() if CELL.fullmatch(name)]
            theirs = json.loads(file.read(STUDY))["known"]
            found = {name: file.read(name) for name in names}
    except (OSError, zipfile.BadZipFile, zlib.error, ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{archive} is no archive of cells, or damaged: restore it, or name another --archive"
        ) from error
    check_known(theirs, known, archive, "name another --archive")
    claim_folder(folder, dict(known))
    missing = {name: data for name, data in found.items() if not (folder / "cells" / name).exists()}
    for name, data in missing.items():
        path = folder / "cells" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(path, data)
    return len(missing)


def keep(folder: Path, archive: Path) -> int:
    """Write all finished cells of a folder into the archive; returns how many they are.

    Raises:
        DiskFull: no space left; an earlier archive stays.
    """
    cells = folder / "cells"
    names = sorted(path.relative_to(cells).as_posix() for path in cells.glob("*/*.json"))
    content = {STUDY: folder / STUDY} | {n: cells / n for n in names if CELL.fullmatch(n)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name, path in content.items():
            text = json.dumps(json.loads(path.read_bytes()), separators=(",", ":"))
            file.writestr(zipfile.ZipInfo(name, EPOCH), text, zipfile.ZIP_DEFLATED, 9)
    archive.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(archive, buffer.getvalue())
    return len(content) - 1
