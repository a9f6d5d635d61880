"""Measure the tiny model: ``python -m adb_core.tinymodel.evaluate`` prints the table of its bars.

Real pictures are fresh renders that no training stage has drawn, half of them of
combinations that are held out of pretraining altogether; generated pictures are of held-out
combinations only. All seeds are fixed, so two runs on one machine agree.

Axes: b batch, n pictures, k tokens, c channels.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..system.devices import pick_device
from ..system.files import atomic_write_json
from ..toyworld.concepts import photos
from ..toyworld.grammar import plain_caption
from ..toyworld.portraits import PORTRAITS
from ..toyworld.render import SIZE, render, render_image
from ..toyworld.sampling import restage, sample_instance, sample_scene
from ..toyworld.scene import CATEGORIES, LABELS, PATTERNS, Scene, labels
from . import scores
from .checks import BadFolder, check_clip_folder, check_model_folder

STEPS = 25
GUIDANCE = 2.0  # chosen once with --tune-guidance on combinations that are NOT held out
TIMES = (200, 350, 500)  # timesteps of the pointing game, of 1,000
SPEED_PROMPTS = (
    "a photo of a red cat wearing a hat on the beach",
    "a sketch of a blue robot holding a ball in the city",
    "a painting of a green turtle next to a box in the snow",
    "pixel art of a yellow bird on the moon",
)
# (share, bar) of the judge on real and on generated pictures; None: reported, no bar
REAL_BARS = dict.fromkeys(LABELS, 0.98) | {"color": 0.95, "second color": 0.95, "build": 0.95}
GENERATED_BARS = {
    "category": 0.98, "place": 0.99, "style": 0.99, "accessory": 0.97, "color": 0.97,
    "relation": 0.95, "object": 0.95, "pattern": 0.90, "mark": 0.85,
    "second color": None, "build": None, "sky": None,
}  # fmt: skip
POINTING_BARS = {"category": 0.95, "object": 0.75, "accessory": 0.75, "place": 0.92}
ABSENT = ("none", "plain", "regular")  # words that no caption asks for, whatever the label


@dataclass(frozen=True)
class Counts:
    """How many pictures each measurement uses."""

    renders: int = 1000
    pairs: int = 500
    individuals: int = 400
    generated: int = 500
    pointing: int = 200
    speed_runs: int = 5


FULL, QUICK = Counts(), Counts(100, 60, 60, 16, 16, 2)


@dataclass(frozen=True)
class Row:
    """One line of the table. ``low`` and ``high``: 95 % interval, None where there is none."""

    group: str
    what: str
    value: float
    bar: float | None
    unit: str = "share"
    count: int = 0
    low: float | None = None
    high: float | None = None
    chance: float | None = None

    @property
    def passed(self) -> bool | None:
        if self.bar is None:
            return None
        return self.value <= self.bar if self.unit == "s" else self.value >= self.bar


def share_row(
    group: str, what: str, hits: list[bool] | np.ndarray, bar: float | None, **more
) -> Row:
    """A share with its Wilson interval."""
    count, found = len(hits), int(np.sum(hits))
    low, high = scores.wilson(found, count)
    return Row(
        group,
        what,
        found / count if count else float("nan"),
        bar,
        count=count,
        low=low,
        high=high,
        **more,
    )


# ---------------------------------------------------------------- pictures to measure on


def _rng(seed: int, what: int) -> np.random.Generator:
    """Fixed lots; the third number keeps them apart from every training cache's."""
    return np.random.default_rng([seed, what, 0xE7A1])


def fresh_scenes(count: int, seed: int, *, distinct: bool = False, **sample) -> list[Scene]:
    """Scenes that training never drew; every second one of a held-out combination."""
    rng, scenes, said = _rng(seed, 1), [], set()
    while len(scenes) < count:
        scene = sample_scene(rng, held_out=len(scenes) % 2 == 0, **sample)
        if distinct and plain_caption(scene) in said:
            continue
        said.add(plain_caption(scene))
        scenes.append(scene)
    return scenes


def held_out_scenes(count: int, seed: int, held_out: bool = True) -> list[Scene]:
    """Scenes to ask for: a place always, an accessory or a relation at least."""
    rng, scenes = _rng(seed, 2), []
    while len(scenes) < count:
        scene = sample_scene(rng, held_out=held_out, place=1.0, accessory=0.7, relation=0.6)
        if scene.accessory or scene.relation:
            scenes.append(scene)
    return scenes


def draw(scenes: list[Scene], seed: int) -> np.ndarray:
    """uint8 (n, 128, 128, 3)."""
    return np.stack(
        [render(scene, 10_000_000 + seed * 100_000 + i).image for i, scene in enumerate(scenes)]
    )


# ---------------------------------------------------------------- the models


@dataclass
class Models:
    """Everything under test, float32, in eval mode on one device."""

    pipe: object
    clip: object
    tokenizer: object
    judge: object


def load_models(data: str | Path, device: str) -> Models:
    """Load ``tiny-sd``, ``tiny-clip`` and ``judge`` from ``data``.

    Raises:
        ValueError: a folder is missing or damaged (one line with file and cure).
    """
    data = Path(data)
    check_model_folder(data / "tiny-sd")
    check_clip_folder(data / "tiny-clip")
    from .judge import Judge

    judge = Judge.load(data / "judge").to(device)
    pipe = load_pipe(data / "tiny-sd", device)
    import torch
    from transformers import CLIPModel

    clip = CLIPModel.from_pretrained(data / "tiny-clip", dtype=torch.float32).to(device).eval()
    return Models(pipe, clip, pipe.tokenizer, judge)


def load_pipe(folder: Path, device: str):
    """A plain diffusers pipeline with the folder's own sampler."""
    import torch
    from diffusers import StableDiffusionPipeline

    try:
        pipe = StableDiffusionPipeline.from_pretrained(folder).to(
            device, torch.float32
        )  # half on disk
    except (
        OSError,
        ValueError,
        RuntimeError,
        KeyError,
    ) as error:  # e.g. shapes that do not fit the config
        raise BadFolder(f"{folder} does not load ({str(error).splitlines()[0]})") from error
    pipe.set_progress_bar_config(disable=True)
    return pipe


def generate(
    pipe, prompts: list[str], *, seed: int, guidance: float = GUIDANCE, batch: int = 25
) -> np.ndarray:
    """uint8 (n, 128, 128, 3); picture i starts from the noise of seed ``seed + i``, whatever the batch."""
    import torch

    parts = []
    with torch.inference_mode():
        for start in range(0, len(prompts), batch):
            part = prompts[start : start + batch]
            noise = [torch.Generator("cpu").manual_seed(seed + start + i) for i in range(len(part))]
            out = pipe(
                part,
                num_inference_steps=STEPS,
                guidance_scale=guidance,
                generator=noise,
                height=SIZE,
                width=SIZE,
                output_type="np",
            )
            parts.append((out.images * 255).round().astype(np.uint8))
    return np.concatenate(parts)


# ---------------------------------------------------------------- measurements, one a function


def measure_vae(models: Models, images: np.ndarray) -> list[Row]:
    """PSNR of encode-decode (the posterior's mode), mean over pictures."""
    import torch

    from .clip import to_pixels

    vae, parts = models.pipe.vae, []
    with torch.inference_mode():
        for start in range(0, len(images), 50):
            latents = vae.encode(
                to_pixels(images[start : start + 50], vae.device)
            ).latent_dist.mode()
            parts.append(vae.decode(latents).sample.clamp(-1, 1).permute(0, 2, 3, 1).cpu().numpy())
    decibels = scores.psnr(images, (np.concatenate(parts) + 1) * 127.5)
    half = 1.96 * decibels.std() / np.sqrt(len(decibels))
    mean = float(decibels.mean())
    return [
        Row(
            "VAE",
            "PSNR of held-out renders",
            mean,
            30.0,
            "dB",
            len(images),
            mean - half,
            mean + half,
        )
    ]


def measure_clip(models: Models, scenes: list[Scene], images: np.ndarray) -> list[Row]:
    """Top-1 retrieval among n pairs with distinct plain captions, both directions."""
    from .clip import retrieval_both

    both = retrieval_both(models.clip, models.tokenizer, images, [plain_caption(s) for s in scenes])
    n = len(scenes)
    rows = [
        share_row(
            "tiny-clip",
            "retrieval top-1, mean of both directions",
            np.arange(2 * n) < round(sum(both.values()) * n),
            0.95,
        )
    ]
    return rows + [
        share_row("tiny-clip", name.replace("_", " "), np.arange(n) < round(value * n), None)
        for name, value in both.items()
    ]


def judge_rows(
    group: str, read: dict[str, list[str]], scenes: list[Scene], bars: dict, asked_only: bool
) -> list[Row]:
    """Share of pictures in which the judge finds what the scene says, per label.

    ``asked_only`` leaves out whatever the prompt does not name.
    """
    rows = []
    for name, bar in bars.items():
        truth = [labels(scene)[name] for scene in scenes]
        counted = [
            i for i, word in enumerate(truth) if word and not (asked_only and word in ABSENT)
        ]
        rows.append(share_row(group, name, [read[name][i] == truth[i] for i in counted], bar))
    return rows


def identity_pairs(count: int, seed: int) -> tuple[list[Scene], np.ndarray]:
    """Two scenes of each of ``count`` individuals (scenes 2i and 2i+1), and each one's category number.

    Both views are photos in other places, with other accessories and objects.
    """
    rng, scenes, categories = _rng(seed, 3), [], []
    for i in range(count):
        category = i // 2 % len(CATEGORIES)  # so that negatives of the same category abound
        first = Scene(CATEGORIES[category], sample_instance(rng))
        scenes += [elsewhere(first, rng), elsewhere(first, rng)]
        categories.append(category)
    return scenes, np.array(categories)


def elsewhere(scene: Scene, rng: np.random.Generator) -> Scene:
    """A photo of the same individual in another place, pose and company."""
    stage = sample_scene(rng)
    return restage(
        scene,
        rng,
        accessory=stage.accessory,
        relation=stage.relation,
        object=stage.object,
        place=stage.place,
        sky=stage.sky,
        style="photo",
    )


def measure_identity(models: Models, count: int, seed: int) -> list[Row]:
    """Same-instance AUC against others of the same category, clean and under each degradation."""
    scenes, category = identity_pairs(count, seed)
    images = draw(scenes, seed + 3)
    clean = models.judge.identity(images)
    first = clean[0::2]  # (n, c)
    other = ~np.eye(count, dtype=bool)
    kin = other & (category[:, None] == category[None])

    def row(what: str, second: np.ndarray, wrong: np.ndarray, bar: float | None) -> Row:
        likeness = first @ second.T  # (n, n); true pairs on the diagonal
        value = scores.auc(likeness.diagonal(), likeness[wrong])
        return Row("judge", f"same-instance AUC, {what}", value, bar, "AUC", count)

    rows = [
        row("against others of the same category", clean[1::2], kin, 0.98),
        row("against all others", clean[1::2], other, None),
    ]
    for name, worse in degraded(models, images[1::2]).items():
        rows.append(row(f"second picture with {name}", models.judge.identity(worse), kin, 0.95))
    return rows


def degraded(models: Models, images: np.ndarray) -> dict[str, object]:
    """The pictures under each degradation, and after a round trip through the VAE."""
    from .degrade import DEGRADATIONS
    from .judge import as_pixels
    from .vae import round_trips

    pixels = as_pixels(images)
    worse: dict[str, object] = {name: change(pixels) for name, change in DEGRADATIONS.items()}
    return {**worse, "a round trip through the VAE": round_trips(models.pipe.vae, images)}


def measure_near_misses(models: Models, count: int, seed: int) -> list[Row]:
    """AUC of the same individual against one that differs in a single trait, for each trait."""
    from .judge_training import TRAITS, changed

    rows = []
    for number, trait in enumerate(TRAITS):
        rng = _rng(seed, 10 + number)
        scenes = []
        for i in range(count):
            pattern = PATTERNS[1 + int(rng.integers(len(PATTERNS) - 1))]
            first = Scene(CATEGORIES[i % len(CATEGORIES)], sample_instance(rng, pattern=pattern))
            miss = Scene(first.category, changed(first.instance, trait, rng))
            scenes += [elsewhere(first, rng), elsewhere(first, rng), elsewhere(miss, rng)]
        vectors = models.judge.identity(draw(scenes, seed + 20 + number))
        anchor, same, other = vectors[0::3], vectors[1::3], vectors[2::3]  # (n, c) each
        value = scores.auc((anchor * same).sum(1), (anchor * other).sum(1))
        what = f"same-instance AUC, against a near miss of another {trait}"
        rows.append(Row("judge", what, value, 0.93, "AUC", count))
    return rows


def measure_concepts(models: Models) -> list[Row]:
    """What the VAE leaves of the concepts: PSNR of their photos, and their identity."""
    from .vae import round_trips

    shots = np.stack([render_image(*photo) for p in PORTRAITS for photo in photos(p)])
    rounded = round_trips(models.pipe.vae, shots)
    decibels = scores.psnr(shots, rounded)
    per = len(shots) // len(PORTRAITS)
    before = models.judge.identity(shots).reshape(len(PORTRAITS), per, -1)
    after = models.judge.identity(rounded).reshape(before.shape)
    # each photo against the concept's other photos, as they are and after the round trip
    off = ~np.eye(per, dtype=bool)
    raw = np.array([(b @ b.T)[off].mean() for b in before])
    kept = np.array([(a @ b.T)[off].mean() for a, b in zip(after, before, strict=True)]) / raw
    group, n = "concepts", len(PORTRAITS)
    return [
        Row(
            group,
            "PSNR of the photos after the VAE",
            float(decibels.mean()),
            30.0,
            "dB",
            len(shots),
        ),
        Row(group, "identity, a photo against the others", float(raw.mean()), None, "cosine", n),
        Row(group, "share of identity after the VAE, mean", float(kept.mean()), 0.97, "share", n),
        Row(group, "share of identity after the VAE, worst", float(kept.min()), 0.92, "share", n),
    ]


def measure_generation(
    models: Models, scenes: list[Scene], seed: int, guidance: float
) -> tuple[list[Row], dict]:
    """What the judge finds in pictures of held-out combinations; also the pictures and readings."""
    prompts = [plain_caption(scene) for scene in scenes]
    images = generate(models.pipe, prompts, seed=1000 + seed * 100_000, guidance=guidance)
    read = models.judge.read(images)
    rows = judge_rows(
        "generated, held-out combinations", read, scenes, GENERATED_BARS, asked_only=True
    )
    return rows, {"images": images, "prompts": prompts, "read": read}


def pointing_words(scene: Scene) -> dict[str, tuple[int, tuple[str, ...], bool]]:
    """What each word of the plain caption should point at.

    Returns:
        element word -> (token position, mask names, inside): the peak should lie inside their
        union, or outside. A word is one token, after the start token.
    """
    words = plain_caption(scene).split()
    aims = {
        "category": (scene.category, ("subject",), True),
        "accessory": (scene.accessory, ("accessory",), True),
        "object": (scene.object, ("object",), True),
        "place": (scene.place, ("subject", "accessory", "object"), False),
    }
    return {
        name: (len(words) - words[::-1].index(word), masks, inside)
        for name, (word, masks, inside) in aims.items()
        if word
    }


def render_maps(models: Models, scenes: list[Scene], seed: int) -> tuple[list, np.ndarray]:
    """(renders, maps (n, times, k, 16, 16)) of renders noised to ``TIMES``, plain captions."""
    import torch
    from diffusers import DDPMScheduler

    from .clip import to_pixels
    from .maps import word_maps
    from .tokenizer import encode

    pipe, maps = models.pipe, []
    device = pipe.unet.device
    noiser = DDPMScheduler.from_config(pipe.scheduler.config)
    noise_source = torch.Generator("cpu").manual_seed(seed)
    drawn = [render(scene, 20_000_000 + seed * 100_000 + i) for i, scene in enumerate(scenes)]
    with torch.inference_mode():
        for start in range(0, len(scenes), 25):
            part = drawn[start : start + 25]
            pixels = to_pixels(np.stack([d.image for d in part]), device)
            latents = pipe.vae.encode(pixels).latent_dist.mode() * pipe.vae.config.scaling_factor
            ids = encode(pipe.tokenizer, [plain_caption(s) for s in scenes[start : start + 25]]).to(
                device
            )
            states = pipe.text_encoder(ids).last_hidden_state  # (b, k, c)
            noise = torch.randn(latents.shape, generator=noise_source).to(device)
            for_times = []
            for t in TIMES:
                at = torch.full((len(part),), t, device=device)
                for_times.append(
                    word_maps(pipe.unet, states, noiser.add_noise(latents, noise, at), at)
                )
            maps.append(torch.stack(for_times, dim=1).cpu().numpy())  # (b, times, k, 16, 16)
    return drawn, np.concatenate(maps)


def measure_pointing(scenes: list[Scene], drawn: list, maps: np.ndarray) -> list[Row]:
    """Share of (picture, timestep) whose word map peaks where it should, and a random cell's chance."""
    hits = {name: [] for name in POINTING_BARS}
    chances = {name: [] for name in POINTING_BARS}
    for scene, picture, by_time in zip(scenes, drawn, maps):
        for name, (token, elements, inside) in pointing_words(scene).items():
            mask = np.any([picture.masks[e] for e in elements], axis=0)
            if inside and not mask.any():
                continue  # the element is hidden: there is nothing to point at
            for word_map in by_time[:, token]:
                hit, chance = scores.pointing_hit(word_map, mask, inside)
                hits[name].append(hit)
                chances[name].append(chance)
    said = {
        "category": "category word on the subject",
        "accessory": "accessory word on the accessory",
        "object": "second object's word on it",
        "place": "place word off subject, accessory and object",
    }
    return [
        share_row(
            "cross-attention maps",
            said[name],
            hits[name],
            bar,
            chance=float(np.mean(chances[name])) if chances[name] else None,
        )
        for name, bar in POINTING_BARS.items()
    ]


def measure_speed(models: Models, runs: int) -> list[Row]:
    """Median seconds of four pictures, 25 steps, guidance, after a first run that is not counted."""
    seconds = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        generate(models.pipe, list(SPEED_PROMPTS), seed=0)
        seconds.append(time.perf_counter() - start)
    value = statistics.median(seconds[1:])
    return [Row("speed", f"4 images, {STEPS} steps, guidance, warm", value, 4.0, "s", runs)]


# ---------------------------------------------------------------- all of it


def evaluate(
    data_dir: str | Path,
    *,
    device: str = "cpu",
    counts: Counts = FULL,
    seed: int = 0,
    guidance: float = GUIDANCE,
    out: str | Path | None = None,
    progress: bool = True,
) -> dict:
    """Measure everything; returns plain data for JSON: ``rows`` (see :class:`Row`) and the settings.

    Args:
        data_dir: holds tiny-sd, tiny-clip and judge.
        out: where two contact sheets go, or None.

    Raises:
        ValueError: a model folder is missing or damaged.
    """

    def say(what: str) -> None:
        if progress:
            print(f"  {what} ...", file=sys.stderr, flush=True)

    models = load_models(data_dir, device)
    scenes = fresh_scenes(counts.renders, seed)
    say(f"drawing {counts.renders} renders")
    images = draw(scenes, seed)
    rows = measure_vae(models, images)
    pairs = fresh_scenes(counts.pairs, seed + 1, distinct=True)
    rows += measure_clip(models, pairs, draw(pairs, seed + 1))
    say("judging real renders")
    rows += judge_rows("judge", models.judge.read(images), scenes, REAL_BARS, asked_only=False)
    rows += measure_identity(models, counts.individuals, seed)
    rows += measure_near_misses(models, counts.individuals, seed)
    rows += measure_concepts(models)
    say(f"generating {counts.generated} images")
    asked = held_out_scenes(counts.generated, seed)
    more, made = measure_generation(models, asked, seed, guidance)
    say("reading attention maps")
    pointed = fresh_scenes(counts.pointing, seed + 2, place=1.0, accessory=0.75, relation=0.65)
    drawn, maps = render_maps(models, pointed, seed)
    rows += more + measure_pointing(pointed, drawn, maps) + measure_speed(models, counts.speed_runs)
    if out is not None:
        from .sheets import generated_sheet, maps_sheet

        generated_sheet(Path(out) / "evaluation-generated.png", made, asked)
        maps_sheet(Path(out) / "evaluation-maps.png", pointed, drawn, maps)
    return {
        "rows": [{**asdict(row), "passed": row.passed} for row in rows],
        "guidance": guidance,
        "steps": STEPS,
        "sampler": "the folder's own sampler (DDPM)",
        "seed": seed,
        "device": device,
        "counts": asdict(counts),
    }


def tune_guidance(
    models: Models, count: int = 100, seed: int = 77
) -> dict[float, dict[str, float]]:
    """Shares found per guidance scale, on combinations that are not held out."""
    scenes = held_out_scenes(count, seed, held_out=False)
    found = {}
    for guidance in (1.5, 2.0, 3.0, 4.0, 5.0):
        rows, _ = measure_generation(models, scenes, seed, guidance)
        found[guidance] = {row.what: row.value for row in rows}
    return found


def table(results: dict) -> str:
    """The table as text, one line a row."""
    lines, group = [], None
    for row in results["rows"]:
        if row["group"] != group:
            group = row["group"]
            lines.append(group)
        mark = {True: "pass", False: "FAIL", None: ""}[row["passed"]]
        bar = (
            ""
            if row["bar"] is None
            else ("<= " if row["unit"] == "s" else ">= ") + show(row["bar"], row["unit"])
        )
        span = (
            ""
            if row["low"] is None
            else f"[{show(row['low'], row['unit'])}, {show(row['high'], row['unit'])}]"
        )
        chance = "" if row["chance"] is None else f"chance {show(row['chance'], row['unit'])}"
        lines.append(
            f"  {row['what']:<54} {show(row['value'], row['unit']):>9}  {span:<20} {bar:<11} {mark:<4}  "
            f"n={row['count']} {chance}".rstrip()
        )
    return "\n".join(lines)


def show(value: float, unit: str) -> str:
    """A number as people read it, in its unit."""
    if value != value:
        return "-"
    return {
        "share": f"{100 * value:.1f} %",
        "dB": f"{value:.2f} dB",
        "s": f"{value:.2f} s",
        "AUC": f"{value:.4f}",
        "cosine": f"{value:.3f}",
    }[unit]


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m adb_core.tinymodel.evaluate", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--data", default="data", help="folder that holds tiny-sd, tiny-clip and judge"
    )
    parser.add_argument(
        "--quick", action="store_true", help="few pictures: a look, not a measurement"
    )
    parser.add_argument(
        "--json", default="out/evaluation.json", help="where the numbers go; sheets go beside it"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--guidance", type=float, default=GUIDANCE)
    parser.add_argument("--tune-guidance", action="store_true", help="only compare guidance scales")
    parser.add_argument("--card", action="store_true", help="also write tiny-sd/README.md")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Returns 0 if every bar is passed, 1 if not, 2 for input that cannot be used."""
    args = _parse(argv)
    try:
        if args.tune_guidance:
            for guidance, found in tune_guidance(
                load_models(args.data, str(pick_device(args.device)))
            ).items():
                print(
                    f"guidance {guidance:g}: "
                    + ", ".join(f"{k} {100 * v:.0f} %" for k, v in found.items())
                )
            return 0
        results = evaluate(
            args.data,
            device=str(pick_device(args.device)),
            counts=QUICK if args.quick else FULL,
            seed=args.seed,
            guidance=args.guidance,
            out=Path(args.json).parent,
        )
        atomic_write_json(args.json, results)
        if args.card:
            from .card import write_model_card

            write_model_card(args.data, results)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(results))
    return 0 if all(row["passed"] is not False for row in results["rows"]) else 1


if __name__ == "__main__":
    sys.exit(main())
