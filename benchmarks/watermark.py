"""The watermark: how near the marked picture stays, what it survives, and how often it errs.

    python benchmarks/watermark.py [--pictures 40] [--clean 10000] [--keys 10] [--redraw 8]

Pictures are scenes of the toy world and noise whose spectrum falls as that of photographs does
(power 1/f^2, colors that go together), at 64, 128, 256 and 512 pixels; payloads are as long as the
size allows. Bars: PSNR 40 dB, 99 % of bits right after JPEG 75, of unmarked pictures and of wrong
keys at most one in 10,000 found.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Annotated

import numpy as np
import typer
from PIL import Image, ImageFilter
from timing import bundled_base
from tqdm.auto import tqdm

from adb_core.provenance import watermark
from adb_core.provenance.watermark import capacity, detect, embed
from adb_core.system.commands import run_command
from adb_core.toyworld.render import render_image
from adb_core.toyworld.sampling import sample_scene

SIDES = (64, 128, 256, 512)
LEVELS = (0.1, 0.01, 1e-3, 1e-4)
Change = Callable[[np.ndarray], np.ndarray]


# ---------------------------------------------------------------- pictures


def scene(number: int, side: int) -> np.ndarray:
    """One of the toy world's scenes, uint8 (side, side, 3)."""
    return render_image(sample_scene(np.random.default_rng([number, 0xA])), number, side)


def noise(number: int, side: int) -> np.ndarray:
    """Noise with the spectrum of photographs, uint8 (side, side, 3)."""
    rng = np.random.default_rng([number, 0xB])
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    frequency[0, 0] = 1 / side
    falling = frequency ** -rng.uniform(0.9, 1.3)
    white = rng.normal(size=(4, side, side))
    layers = np.fft.ifft2(np.fft.fft2(white) * falling).real
    values = np.stack([layers[0] + 0.3 * layer for layer in layers[1:]], -1)
    values = (values - values.mean()) / values.std() * rng.uniform(25, 60) + rng.uniform(90, 160)
    return values.clip(0, 255).round().astype(np.uint8)


KINDS = {"scenes": scene, "noise": noise}


# ---------------------------------------------------------------- what is done to them


def jpeg(quality: int) -> Change:
    def change(image: np.ndarray) -> np.ndarray:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=quality)
        return np.asarray(Image.open(stream).convert("RGB"))

    return change


def resized(share: float) -> Change:
    """Reduced, and back to the size that it had."""

    def change(image: np.ndarray) -> np.ndarray:
        h, w = image.shape[:2]
        small = Image.fromarray(image).resize((round(w * share), round(h * share)), 3)
        return np.asarray(small.resize((w, h), 3))

    return change


def cropped(image: np.ndarray) -> np.ndarray:
    """What is left of three quarters of each side, from an odd place on."""
    side = image.shape[0]
    at, kept = side // 8 + 3, 3 * side // 4
    return image[at : at + kept, at : at + kept]


def put_back(image: np.ndarray) -> np.ndarray:
    """The same piece where it was, on black."""
    side = image.shape[0]
    at, canvas = side // 8 + 3, np.zeros_like(image)
    canvas[at : at + 3 * side // 4, at : at + 3 * side // 4] = cropped(image)
    return canvas


def filtered(kind: ImageFilter.Filter) -> Change:
    return lambda image: np.asarray(Image.fromarray(image).filter(kind))


def noisy(deviation: float) -> Change:
    def change(image: np.ndarray) -> np.ndarray:
        grain = np.random.default_rng(0).normal(0, deviation, image.shape)
        return (image + grain).round().clip(0, 255).astype(np.uint8)

    return change


def brighter(image: np.ndarray) -> np.ndarray:
    return (image * 1.15 + 10).round().clip(0, 255).astype(np.uint8)


def turned(degrees: float) -> Change:
    return lambda image: np.asarray(Image.fromarray(image).rotate(degrees, 3))


CHANGES: dict[str, Change] = {
    "nothing": lambda image: image,
    **{f"JPEG {quality}": jpeg(quality) for quality in (95, 85, 75, 60, 50, 40, 30)},
    "resize to 75 % and back": resized(0.75),
    "resize to 50 % and back": resized(0.5),
    "resize to 75 %, size not known": lambda image: resized_only(image, 0.75),
    "crop to 75 %, place known": put_back,
    "crop to 75 %, searched": cropped,
    "blur, radius 0.7": filtered(ImageFilter.GaussianBlur(0.7)),
    "blur, radius 1.5": filtered(ImageFilter.GaussianBlur(1.5)),
    "median of 3 x 3": filtered(ImageFilter.MedianFilter(3)),
    "noise, deviation 5": noisy(5),
    "noise, deviation 15": noisy(15),
    "brightness and contrast": brighter,
    "rotate by 1 degree": turned(1),
    "mirror": lambda image: image[:, ::-1].copy(),
}
SEARCHED = ("crop to 75 %, searched", "resize to 75 %, size not known")


def resized_only(image: np.ndarray, share: float) -> np.ndarray:
    size = [round(n * share) for n in image.shape[1::-1]]
    return np.asarray(Image.fromarray(image).resize(size, 3))


# ---------------------------------------------------------------- measuring


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(255**2 / ((one.astype(float) - other) ** 2).mean())


def marked(kind: str, side: int, count: int) -> Iterator[tuple[str, np.ndarray, np.ndarray, tuple]]:
    """Key, picture, marked picture and payload, one after the other."""
    for number in range(count):
        rng, key = np.random.default_rng(number), f"key {number}"
        bits = tuple(rng.integers(0, 2, capacity(side, side)).tolist())
        image = KINDS[kind](number, side)
        yield key, image, embed(image, key, bits), bits


def outcome(image: np.ndarray, key: str, bits: tuple, search: bool = False) -> tuple[float, bool]:
    """The share of bits that are right, and whether the mark counts as found."""
    found = detect(image, key, len(bits), search=search)
    return float(np.mean(np.equal(found.bits, bits))), found.is_found


def alone(image: np.ndarray, key: str) -> bool:
    """Whether a mark without payload is found after JPEG 75."""
    return detect(jpeg(75)(embed(image, key)), key, 0).is_found


def quality(count: int) -> list[str]:
    """PSNR, and bits after JPEG 75, by kind and size."""
    lines = [
        "| pictures | side | bits | PSNR, least | bits right after JPEG 75 | found after it "
        "| without payload |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        for side in SIDES:
            rows = [
                (psnr(image, mark), *outcome(jpeg(75)(mark), key, bits), alone(image, key))
                for key, image, mark, bits in marked(kind, side, count)
            ]
            near, right, found, bare = zip(*rows, strict=True)
            lines.append(
                f"| {kind} | {side} | {capacity(side, side)} | {min(near):.2f} dB "
                f"| {np.mean(right):.2%} | {np.mean(found):.1%} | {np.mean(bare):.1%} |"
            )
    return lines


def robustness(count: int) -> list[str]:
    """Bits right, and share found, by change and size; scenes alone."""
    lines = ["| change | " + " | ".join(f"{side} px" for side in SIDES) + " |"]
    lines.append("|---" * (len(SIDES) + 1) + "|")
    columns = {side: list(marked("scenes", side, count)) for side in SIDES}
    for name, change in CHANGES.items():
        cells = []
        for rows in columns.values():
            done = [outcome(change(m), key, b, name in SEARCHED) for key, _, m, b in rows]
            right, found = zip(*done, strict=True)
            cells.append(f"{np.mean(right):.1%}, {np.mean(found):.0%}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def errors(count: int, keys: int) -> list[str]:
    """How often unmarked pictures have p-values below a level: half scenes, half noise, of 64 px.

    Each picture is tried with keys of its own and with the same few keys as all others.
    """
    p_values: dict[str, list[float]] = {"keys of their own": [], "the same keys for all": []}
    for number in tqdm(range(count), desc="unmarked"):
        image = (scene if number % 2 else noise)(1_000_000 + number, 64)
        for k in range(keys):
            p_values["keys of their own"].append(detect(image, f"{number} {k}").p_value)
            p_values["the same keys for all"].append(detect(image, f"same {k}").p_value)
    lines = [
        "| unmarked | tries | " + " | ".join(f"p < {level:g}" for level in LEVELS) + " | found |",
        "|---" * (len(LEVELS) + 3) + "|",
    ]
    for name, values in p_values.items():
        shares = [f"{np.mean(np.array(values) < level):.5f}" for level in LEVELS]
        found = sum(value < watermark.FOUND for value in values)
        lines.append(f"| {name} | {len(values)} | " + " | ".join(shares) + f" | {found} |")
    return lines


def wrong_keys(count: int, keys: int) -> str:
    rows = list(marked("scenes", 64, count))
    found = [detect(m, f"wrong {k}").is_found for _, _, m, _ in rows for k in range(keys)]
    return f"wrong keys on marked pictures: {sum(found)} of {len(found)} found"


# ---------------------------------------------------------------- how it is removed


def redrawn(count: int, strengths: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3)) -> list[str]:
    """Image-to-image by the bundled model, of its own size; 0.0 is the VAE there and back alone."""
    import torch
    from diffusers import StableDiffusionImg2ImgPipeline

    base = bundled_base("cpu")
    pipeline = StableDiffusionImg2ImgPipeline(
        **base.pipeline().components, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    lines = ["| redrawn at | bits right | found | PSNR to the marked |", "|---|---|---|---|"]
    rows = list(marked("scenes", base.side, count))
    for strength in strengths:
        results = []
        for key, _, mark, bits in rows:
            if strength == 0:
                pixels = torch.from_numpy(mark).permute(2, 0, 1)[None] / 127.5 - 1
                with torch.no_grad():
                    latents = base.encode_pictures(pixels).mean / base.vae.config.scaling_factor
                    decoded = base.vae.decode(latents).sample[0].permute(1, 2, 0).numpy()
                image = ((decoded + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
            else:
                image = np.asarray(
                    pipeline(
                        "a picture",
                        Image.fromarray(mark),
                        strength=strength,
                        num_inference_steps=50,
                        guidance_scale=1.0,
                        generator=torch.Generator().manual_seed(0),
                    ).images[0]
                )
            results.append((*outcome(image, key, bits), psnr(image, mark)))
        right, found, near = (np.mean(column) for column in zip(*results, strict=True))
        lines.append(f"| strength {strength:g} | {right:.1%} | {found:.0%} | {near:.1f} dB |")
    return lines


def learned(count: int, counts: tuple[int, ...] = (0, 1, 10, 100)) -> list[str]:
    """The signs, guessed without the key from pictures that carry the same mark, and its end.

    Whoever has guessed them moves the coefficients of ``count`` other pictures the other way; with
    no picture at hand, against signs that are thrown.
    """
    signs, _ = watermark._code("one key", 0)
    others = [embed(scene(10_000 + number, 64), "one key") for number in range(count)]
    lines = [
        "| marked pictures at hand | signs guessed right | then found in others | at PSNR |",
        "|---|---|---|---|",
    ]
    total = np.zeros(signs.shape)
    for number in range(max(counts) + 1):
        if number in counts:
            guess = (
                np.sign(total) if number else np.random.default_rng(0).choice((-1, 1), signs.shape)
            )
            right = np.mean(guess == signs)
            erased = [against(other, guess) for other in others]
            found = np.mean([detect(image, "one key", 0).is_found for image in erased])
            near = np.mean([psnr(*pair) for pair in zip(erased, others, strict=True)])
            lines.append(f"| {number} | {right:.1%} | {found:.0%} | {near:.1f} dB |")
        total += watermark._folded(embed(scene(number, 64), "one key") @ watermark.LUMINANCE)
    return lines


def against(image: np.ndarray, guess: np.ndarray, decibels: float = 40.0) -> np.ndarray:
    """A picture of 64 pixels with its chips moved against guessed signs (8, 8, f)."""
    chips = watermark._chips(watermark._spectrum(image @ watermark.LUMINANCE))
    budget = image.size / 3 * 255**2 / 10 ** (decibels / 10)
    moves = watermark._moves(-guess * chips, np.zeros(chips.shape, int), 4.0, budget)
    step = watermark._pixels(-guess * moves)
    return (image + step[..., None]).round().clip(0, 255).astype(np.uint8)


def main(
    pictures: Annotated[int, typer.Option(help="of each kind and size")] = 40,
    clean: Annotated[int, typer.Option(help="unmarked pictures")] = 10_000,
    keys: Annotated[int, typer.Option(help="tried on each of them, twice")] = 10,
    redraw: Annotated[int, typer.Option(help="pictures that the tiny model redraws")] = 8,
) -> None:
    """Measure the watermark."""
    for title, lines in (
        ("quality", lambda: quality(pictures)),
        ("what it survives: bits right, share found", lambda: robustness(pictures)),
        ("errors", lambda: [*errors(clean, keys), wrong_keys(pictures, 25 * keys)]),
        ("redrawn", lambda: redrawn(redraw)),
        ("learned from marked pictures", lambda: learned(pictures)),
    ):
        typer.echo(f"\n{title}\n" + "\n".join(lines()))


if __name__ == "__main__":
    run_command(main, "watermark")
