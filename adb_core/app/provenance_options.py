"""The options that concern where pictures come from: metadata, watermark, signature."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import option

PictureFile = Annotated[str, typer.Argument(help="A picture's file.")]
Json = Annotated[bool, option("--json", "For programs: one JSON object.")]
Watermark = Annotated[
    str | None,
    option(
        "--watermark",
        "Also mark the pixels, invisibly, with this key, any text; adb inspect --key finds it.",
    ),
]
SignTest = Annotated[
    bool,
    option(
        "--sign-test",
        "Also sign the file by C2PA, with a test certificate that nobody trusts (pip install "
        "c2pa-python).",
    ),
]
Key = Annotated[str | None, option("--key", "Of a watermark: look for it in the pixels.")]
