"""The model card's tables: parts, measurements, runs, words."""

from __future__ import annotations

import json
import math
from pathlib import Path

from ..toyworld.grammar import (
    ACCESSORY_PHRASES,
    BUILD_WORDS,
    MARK_PHRASES,
    PATTERN_WORDS,
    PLACE_PHRASES,
    RELATION_PHRASES,
    SKY_PHRASES,
    STYLE_PHRASES,
)
from ..toyworld.scene import CATEGORIES, COLORS, OBJECTS
from .rows import show

# Labels of generated pictures that the curve of quality against budget follows.
SHARES = (
    "category", "place", "style", "accessory", "color", "relation", "object", "pattern", "mark"
)  # fmt: skip


def count_parameters(weights: Path) -> int:
    """Numbers in a safetensors file, from its header."""
    from safetensors import safe_open

    with safe_open(weights, framework="np") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())


def _parts(data: Path) -> list[tuple[str, str, Path]]:
    def config(path: Path) -> dict:
        return json.loads(path.read_text())

    unet, vae = config(data / "tiny-sd/unet/config.json"), config(data / "tiny-sd/vae/config.json")
    text = config(data / "tiny-sd/text_encoder/config.json")
    shapes = [
        (
            "text encoder",
            f"CLIPTextModel, {text['num_hidden_layers']} layers, width {text['hidden_size']}, "
            f"{text['max_position_embeddings']} tokens, vocabulary {text['vocab_size']}",
            "tiny-sd/text_encoder",
        ),
        (
            "VAE",
            f"AutoencoderKL, 128x128x3 -> 16x16x{vae['latent_channels']}, "
            f"channels {vae['block_out_channels']}",
            "tiny-sd/vae",
        ),
        (
            "U-Net",
            f"UNet2DConditionModel, channels {unet['block_out_channels']}, "
            f"down blocks {', '.join(unet['down_block_types'])}",
            "tiny-sd/unet",
        ),
        (
            "tiny-clip (metrics)",
            "CLIPModel: this text tower and a ViT with 16x16-pixel patches",
            "tiny-clip",
        ),
        ("judge (metrics)", "convolutional net: twelve label heads, identity embedding", "judge"),
    ]
    return [
        (name, shape, next((data / folder).glob("*.safetensors"))) for name, shape, folder in shapes
    ]


def architecture(data: Path) -> str:
    """What the model is made of."""
    lines = ["| part | what | parameters | MB on disk |", "|---|---|---|---|"]
    for name, shape, weights in _parts(data):
        lines.append(
            f"| {name} | {shape} | {count_parameters(weights) / 1e6:.2f} M | "
            f"{weights.stat().st_size / 1e6:.1f} |"
        )
    return "\n".join(lines)


def measured(results: dict) -> str:
    """Every row of the evaluation."""
    lines = ["| what | measured | 95 % interval | bar | chance | n |", "|---|---|---|---|---|---|"]
    for row in results["rows"]:
        lines.append(_measured_line(row))
    return "\n".join(lines)


def _measured_line(row: dict) -> str:
    def said(key: str) -> str:
        return "" if row[key] is None else show(row[key], row["unit"])

    span = f"{said('low')} to {said('high')}" if row["low"] is not None else ""
    sign = "at most " if row["unit"] == "s" else "at least "
    bar = "" if row["bar"] is None else sign + said("bar")
    missed = " (missed)" if row["passed"] is False else ""
    return (
        f"| {row['group']}: {row['what']} | {said('value')}{missed} | {span} | {bar} | "
        f"{said('chance')} | {row['count']} |"
    )


def budget(record: list[dict]) -> str:
    """The runs one after the other, each with its command and a table of its stages."""
    return "\n\n".join(_run(run, number, len(record)) for number, run in enumerate(record, 1))


def _run(run: dict, number: int, count: int) -> str:
    later = ", going on from the weights before it; stages that it kept as they were are left out"
    said = "".join(f", {run[key]}" for key in ("code", "note") if key in run)
    lines = [
        f"Run {number} of {count}, on {run['hardware']}{said}{later if number > 1 else ''}:",
        "",
        "```",
        run["command"],
        "```",
        "",
        "| stage | steps | minutes | samples a second |",
        "|---|---|---|---|",
    ]
    for name, done in run["stages"].items():
        if done["steps"]:
            seconds = max(done["seconds"], 1e-9)
            rate = f"{done['steps'] * done['batch'] / seconds:.0f}" if done["batch"] else ""
            lines.append(f"| {name} | {done['steps']} | {seconds / 60:.1f} | {rate} |")
    return "\n".join(lines)


def curve(record: list[dict]) -> str:
    """Quality against budget: what each run ended with, and the U-Net's steps until then."""
    steps = 0
    lines = [
        "| U-Net steps in all | drawn with | " + " | ".join(SHARES) + " |",
        "|---|---|" + "---|" * len(SHARES),
    ]
    for run in record:
        steps += run["stages"].get("unet", {}).get("steps", 0)
        for found in run.get("measured", []):
            shares = (show(found[n], "share") if n in found else "" for n in SHARES)
            lines.append(f"| {steps} | {found['drawn with']} | " + " | ".join(shares) + " |")
    return "\n".join(lines)


def grammar() -> str:
    """The words that each part of a prompt can be."""

    def words(phrases: dict) -> str:
        return "; ".join(p.format("...") for options in phrases.values() for p in options)

    return "\n".join(
        [
            f"- style: {words(STYLE_PHRASES)}",
            f"- subject: a or an, {words(BUILD_WORDS)}, one or two colors ({', '.join(COLORS)}), "
            f"{words(PATTERN_WORDS)}, a category ({', '.join(CATEGORIES)})",
            f"- mark: {words(MARK_PHRASES)}",
            f"- accessory: {words(ACCESSORY_PHRASES)}",
            f"- relation: {words(RELATION_PHRASES)}, with {', '.join(OBJECTS)}",
            f"- place: {words(PLACE_PHRASES)}",
            f"- in the air: {words(SKY_PHRASES)}",
        ]
    )
