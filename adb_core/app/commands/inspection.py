"""``adb inspect``: what a picture's file says of its origin, and what its pixels say."""

from __future__ import annotations

import json

import typer

from .. import provenance_options as options


def inspect(
    file: options.PictureFile, key: options.Key = None, as_json: options.Json = False
) -> None:
    """Say where a picture comes from, as far as its file tells.

    Metadata are lost when a picture is re-saved or sent through most platforms: that none are found
    says nothing of how it was made.

    \b
      adb inspect out/generated.png
      adb inspect out/generated.png --key "a long secret"
    """
    from ...provenance.inspection import inspect_file

    found = inspect_file(file, key)
    typer.echo(json.dumps(found.public(), indent=2) if as_json else "\n".join(found.lines()))
