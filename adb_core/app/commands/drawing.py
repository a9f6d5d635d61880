"""``adb generate`` and ``adb attention``: what a model draws, and where its words look."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .. import options as o, provenance_options as options
from ..arguments import check_file, check_seed, find_model

if TYPE_CHECKING:
    from ...generation import Generation
    from ...provenance.record import Signing


def generate(
    prompts: o.Prompts,
    model: o.Model = "tiny",
    seed: o.Seeds = [0],
    steps: o.Steps = None,
    guidance: o.Guidance = None,
    device: o.Device = "auto",
    dtype: o.Dtype = None,
    tf32: o.Tf32 = None,
    batch: o.Pictures = 8,
    watermark: options.Watermark = None,
    sign_test: options.SignTest = False,
    out: o.SheetFile = Path("out/generated.png"),
    quiet: o.Quiet = False,
) -> None:
    """Draw prompts, and write them as one picture without labels.

    Its file says that it is generated, and how: see adb inspect.

    \b
      adb generate "a photo of a {}" "a sketch of a {} in the snow" --model out/pico \
--seed 0 --seed 1
    """
    check_seed(*seed)
    check_file(out)
    from ...generation import generate as draw
    from ...provenance.credentials import check_c2pa, signed
    from ...provenance.watermark import check_key, check_size

    if sign_test:
        check_c2pa("--sign-test")
    if watermark is not None:
        check_key(watermark)
    loaded = find_model(model, prompts, device, dtype, quiet)
    if watermark is not None:
        check_size(loaded.base.side, loaded.base.side)
    from ...system.devices import tf32 as with_tf32

    how = {"steps": steps, "guidance": guidance, "batch": batch, "progress": not quiet}
    with with_tf32(tf32):
        drawn = draw(loaded, prompts, seed, **how)
    _save_sheet(drawn, len(seed), out, watermark, signed if sign_test else None)
    n, h, w, _ = drawn.images.shape
    typer.echo(f"{n} pictures of {w} x {h}: {out}")


def _save_sheet(
    drawn: Generation, columns: int, out: Path, key: str | None, sign: Signing | None = None
) -> None:
    """Write pictures as one, row by row, with their provenance, a watermark and a signature."""
    from ...provenance.marking import is_seamless, marked
    from ...provenance.record import save_generated

    images = drawn.images
    each = key is not None and is_seamless(images.shape[1:])
    if key is not None and each:
        images = marked(images, key, drawn.about)
    n, h, w, c = images.shape
    rows = images.reshape(n // columns, columns, h, w, c).swapaxes(1, 2)
    sheet = rows.reshape(n // columns * h, columns * w, c)
    if key is not None and not each:
        sheet = marked(sheet[None], key, drawn.about)[0]
    save_generated(out, sheet, drawn.about, sign)


def attention(
    prompt: o.Prompt,
    model: o.Model = "tiny",
    word: o.Words = None,
    seed: o.Seed = 0,
    steps: o.Steps = None,
    guidance: o.Guidance = None,
    device: o.Device = "auto",
    dtype: o.Dtype = None,
    tf32: o.Tf32 = None,
    out: o.MapsFile = Path("out/attention.png"),
    quiet: o.Quiet = False,
) -> None:
    """Draw one prompt, and where each of its words looked while it was drawn.

    The maps are averaged over layers, heads and sampling steps, and laid over the picture; each has
    its own colour scale, and its largest probability stands above it.
    """
    check_seed(seed)
    check_file(out)
    loaded = find_model(model, [prompt], device, dtype, quiet)
    from ... import plots
    from ...generation import generate as draw
    from ...system.devices import tf32 as with_tf32

    how = {"steps": steps, "guidance": guidance, "progress": not quiet}
    with with_tf32(tf32):
        drawn = draw(loaded, prompt, [seed], maps=True, words=word or None, **how)
    figure = plots.word_maps(drawn.images[0], drawn.word_maps(0), drawn.prompts[0])
    plots.to_png(figure, out, about=drawn.about)
    typer.echo(plots.alt_text(figure))
    typer.echo(f"picture: {out}")
