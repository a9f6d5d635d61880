"""``adb generate`` and ``adb attention``: what a model draws, and where its words look."""

from __future__ import annotations

from pathlib import Path

import typer

from .. import options as o
from ..arguments import check_file, check_seed, find_model


def generate(
    prompts: o.Prompts,
    model: o.Model = "tiny",
    seed: o.Seeds = [0],
    steps: o.Steps = None,
    guidance: o.Guidance = None,
    device: o.Device = "auto",
    tf32: o.Tf32 = None,
    batch: o.Pictures = 8,
    out: o.SheetFile = Path("out/generated.png"),
    quiet: o.Quiet = False,
) -> None:
    """Draw prompts, and write them as one picture without labels.

    \b
      adb generate "a photo of a {}" "a sketch of a {} in the snow" --model out/pico \
--seed 0 --seed 1
    """
    check_seed(*seed)
    check_file(out)
    loaded = find_model(model, prompts, device)
    from ...generation import generate as draw
    from ...provenance.record import save_generated
    from ...system.devices import tf32 as with_tf32

    how = {"steps": steps, "guidance": guidance, "batch": batch, "progress": not quiet}
    with with_tf32(tf32):
        drawn = draw(loaded, prompts, seed, **how)
    n, h, w, c = drawn.images.shape
    rows = drawn.images.reshape(len(prompts), len(seed), h, w, c).swapaxes(1, 2)
    save_generated(out, rows.reshape(len(prompts) * h, len(seed) * w, c), drawn.about)
    typer.echo(f"{n} pictures of {w} x {h}: {out}")


def attention(
    prompt: o.Prompt,
    model: o.Model = "tiny",
    word: o.Words = None,
    seed: o.Seed = 0,
    steps: o.Steps = None,
    guidance: o.Guidance = None,
    device: o.Device = "auto",
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
    loaded = find_model(model, [prompt], device)
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
