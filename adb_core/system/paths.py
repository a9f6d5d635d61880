"""Where the bundled data lie: the tiny model, the concepts, the prompts.

A checkout of the repository keeps them in `data/`, beside the package; an installed wheel
carries the same folders inside the package, as `adb_core/_data/`. The environment
variable `ADB_DATA` names another folder of the same layout.
"""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def data_dir() -> Path:
    """The folder that holds the bundled data.

    Returns:
        `$ADB_DATA` if it is set, else `data/` of the checkout that this package is
        imported from, else the copy inside the installed package.

    Raises:
        FileNotFoundError: none of them exists; the message says what to do.
    """
    override = os.environ.get("ADB_DATA")
    if override:
        folder = Path(override).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError(
                f"ADB_DATA names {folder}, which is not a folder: correct it, or unset it"
            )
        return folder
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "data" / "README.md").is_file():
        return checkout / "data"
    if (_PACKAGE / "_data").is_dir():
        return _PACKAGE / "_data"
    raise FileNotFoundError(
        f"the bundled data are neither in {checkout / 'data'} (a checkout) nor in "
        f"{_PACKAGE / '_data'} (an installed wheel): install adb-core again, or let the "
        "environment variable ADB_DATA name the data folder"
    )


def data_path(*parts: str) -> Path:
    """A file or folder of the bundled data, as in `data_path("concepts", name)`.

    Raises:
        FileNotFoundError: it does not exist; the message lists what is there instead.
    """
    path = data_dir().joinpath(*parts)
    if path.exists():
        return path
    parent = next(folder for folder in path.parents if folder.is_dir())
    there = ", ".join(sorted(entry.name for entry in parent.iterdir())) or "nothing"
    raise FileNotFoundError(f"no {'/'.join(parts)} in the bundled data; {parent} holds: {there}")
