"""The whole three-stage run against a plain loop that computes the same thing the obvious way.

    python benchmarks/whole_run.py [--rounds 3] [--scale 1] [--share-scale 0.1] [--mixed-precision auto] [--threads 2]

The plain loop below is float32, takes attention apart into explicit softmax everywhere in the
U-Net, keeps every column of every cross-attention map, and in every step decodes and augments its
images and runs the VAE and the text encoder. It draws the same random numbers as the engine, so
both end with the same weights up to rounding, which is printed, and so is the quality of both
models' pictures. The engine computes in bf16 where the processor has instructions for it (auto), which
no switch of the plain loop does: with --mixed-precision no both are float32. Both sides run in one
process, stage by stage in turn. Memory is measured in a child process for each side. The share of
each saving is the plain loop's gain when that one thing alone is switched. Bar: 2x.

Axes: b batch, h heads, q query pixels, k tokens, c channels.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from cells import prompt_set, tools
from PIL import Image
from timing import bundled_base, clock, machine, ratio

from adb_core.attention import CROSS, capture_attention, selection
from adb_core.concept import Concept
from adb_core.concept_token import ConceptToken
from adb_core.engine import make_accelerator
from adb_core.generation import generate
from adb_core.images import PLAIN, read_image, view, views
from adb_core.learner import Learner, encode_views
from adb_core.losses import diffusion_target, draw_batch, step_rng
from adb_core.metrics import score_pictures
from adb_core.personalization import Run
from adb_core.recipes import Recipe, Stage, recipe
from adb_core.regularizer import regularizer, stack_statistics
from adb_core.result import Result
from adb_core.system.paths import data_path

SEED, VIEWS, BAR = 0, 16, 2.0


@dataclass(frozen=True)
class Habits:
    """What the plain loop does the obvious way; each can be switched off alone."""

    explicit_self: bool = True
    all_columns: bool = True
    text_every_step: bool = True
    vae_every_step: bool = True
    decode_every_step: bool = True


SAVINGS = {
    "self-attention by the fused kernel": "explicit_self",
    "only the columns that are used": "all_columns",
    "text encoder once per prompt": "text_every_step",
    "VAE once per view": "vae_every_step",
    "images decoded once": "decode_every_step",
}


# ---------------------------------------------------------------- the plain loop


class Explicit:
    """Attention as in the textbook; with a store, every column of the map is kept in float32."""

    def __init__(self, name: str, store: dict | None):
        self.name, self.store = name, store

    def __call__(
        self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None
    ):
        text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))  # (b, q, h*c) -> (b*h, q, c)
        key, value = (
            attn.head_to_batch_dim(attn.to_k(text)),
            attn.head_to_batch_dim(attn.to_v(text)),
        )  # (b*h, k, c)
        probs = attn.get_attention_scores(query, key, attention_mask)  # (b*h, q, k)
        if self.store is not None:
            self.store[self.name] = probs.float().unflatten(0, (-1, attn.heads))  # (b, h, q, k)
        out = attn.batch_to_head_dim(probs @ value)  # (b, q, h*c)
        return attn.to_out[1](attn.to_out[0](out)) / attn.rescale_output_factor


class PlainRun:
    """The three stages, written down as they come to mind."""

    def __init__(
        self,
        base,
        concept: Concept,
        plan: Recipe,
        habits: Habits = Habits(),
        folder: Path | None = None,
    ):
        self.base, self.concept, self.plan, self.habits = base, concept, plan, habits
        self.folder = folder or data_path("concepts", concept.name)
        self.maps: dict[str, torch.Tensor] = {}

    def parts(self) -> Iterator[str]:
        """Run, pausing after the preparation and after every stage."""
        base, concept = self.base, self.concept
        self.token = ConceptToken(
            base, concept.placeholder, concept.category, self.plan.init, self.plan.vectors
        )
        self.unet = copy.deepcopy(base.unet)
        self._set_processors()
        self.size = base.unet.config.sample_size * 2 ** (
            len(base.vae.config.block_out_channels) - 1
        )
        self.files = sorted(p for p in self.folder.iterdir() if p.suffix in (".png", ".jpg"))
        if not self.habits.decode_every_step:
            self.views = views(concept.images, self.size, VIEWS, SEED)
        if not self.habits.vae_every_step:
            self.latents = encode_views(base, concept, VIEWS, SEED, PLAIN)
        shape = (
            VIEWS * len(self.files),
            4,
            base.unet.config.sample_size,
            base.unet.config.sample_size,
        )
        # With mean 0 and deviation 1 the engine's draw gives the posterior's own noise.
        self.draws_from = (
            torch.zeros(shape, device=base.device),
            torch.ones(shape, device=base.device),
        )
        yield "prepare"
        for number, stage in enumerate(self.plan.stages):
            self._stage(number, stage)
            yield stage.name

    def _set_processors(self) -> None:
        mine = {}
        for name, processor in self.unet.attn_processors.items():
            if name.endswith(CROSS):
                mine[name] = Explicit(name, self.maps) if self.habits.all_columns else processor
            else:
                mine[name] = Explicit(name, None) if self.habits.explicit_self else processor
        self.unet.set_attn_processor(mine)

    def _stage(self, number: int, stage: Stage) -> None:
        moving = "embedding" in stage.train
        parameters = (
            [self.token.rows]
            if moving
            else [
                p
                for n, p in self.unet.named_parameters()
                if "unet" in stage.train or ".attn2." in n
            ]
        )
        subject = self.plan.subject.format(
            v=self.concept.placeholder, category=self.concept.category
        )
        ids = self.token.tokenize([p.format(subject) for p in stage.prompts])  # (prompts, k)
        fixed = None if moving or self.habits.text_every_step else self.token.encode(ids)
        optimizer = torch.optim.AdamW(
            parameters,
            lr=stage.lr,
            betas=stage.betas,
            weight_decay=stage.weight_decay,
            eps=stage.eps,
        )
        with ExitStack() as stack:
            if moving:
                stack.enter_context(self.token.trainable())
            for parameter in parameters:
                parameter.requires_grad_(True)
            for step in range(stage.steps):
                loss = self._loss(stage, number, step, ids, fixed)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, stage.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
                loss.item()
            for parameter in parameters:
                parameter.requires_grad_(False)

    def _loss(self, stage: Stage, number: int, step: int, ids, fixed) -> torch.Tensor:
        scheduler = self.base.scheduler
        draw = draw_batch(
            self.draws_from,
            len(stage.prompts),
            stage.batch_size,
            scheduler.config.num_train_timesteps,
            step_rng(SEED, number, step),
        )
        latents = self._latents(draw.rows, draw.latents)
        states = self._states(ids, fixed, draw.prompts)  # (b, k, d)
        noisy = scheduler.add_noise(latents, draw.noise, draw.timesteps)
        positions = [self.token.positions(ids[p]) for p in draw.prompts]
        predicted, v, category = self._predict(noisy, draw.timesteps, states, positions)
        loss = F.mse_loss(
            predicted, diffusion_target(scheduler, latents, draw.noise, draw.timesteps)
        )
        if not stage.regularized:
            return loss
        return (
            loss
            + regularizer(
                stack_statistics(v),
                stack_statistics(category),
                stage.lambda_mu,
                stage.lambda_sigma,
                stage.reduction,
            ).total
        )

    def _states(self, ids, fixed, prompts: np.ndarray) -> torch.Tensor:
        picked = torch.from_numpy(prompts).to(ids.device)
        if fixed is not None:
            return fixed[picked]
        if self.habits.text_every_step:
            return self.token.encode(ids[picked])  # every sample's prompt, repeated or not
        used, where = torch.unique(picked, return_inverse=True)
        return self.token.encode(ids[used])[where]

    @torch.no_grad()
    def _latents(self, rows: np.ndarray, spread: torch.Tensor) -> torch.Tensor:
        pixels = (
            np.stack([self._pixels(int(r)) for r in rows])
            if self.habits.decode_every_step
            else self.views[rows]
        )
        if not self.habits.vae_every_step:
            means, deviations = (x[torch.from_numpy(rows).to(x.device)] for x in self.latents)
            return means + deviations * spread
        batch = (
            torch.from_numpy(pixels).to(self.base.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        )
        posterior = self.base.vae.encode(batch).latent_dist
        return (posterior.mean + posterior.std * spread) * self.base.vae.config.scaling_factor

    def _pixels(self, row: int) -> np.ndarray:
        """The engine's view of that number, made from the file."""
        turn, photo = divmod(row, len(self.files))
        image = read_image(self.files[photo])
        return view(image, self.size, np.random.default_rng([SEED, turn, photo]) if turn else None)

    def _predict(self, noisy, timesteps, states, positions):
        """Prediction, and per layer the maps (b, h, q) of [V] and of the category."""
        if not self.habits.all_columns:
            chosen = torch.stack([selection(states.shape[1], pair) for pair in positions])
            with capture_attention(self.unet, chosen) as capture:
                predicted = self.unet(noisy, timesteps, encoder_hidden_states=states).sample
            return predicted, capture.maps(0), capture.maps(1)
        predicted = self.unet(noisy, timesteps, encoder_hidden_states=states).sample
        kept = list(self.maps.values())

        def column(which: int) -> list[torch.Tensor]:
            return [
                torch.stack([m[b][..., pair[which]].mean(-1) for b, pair in enumerate(positions)])
                for m in kept
            ]

        return predicted, column(0), column(1)

    def weights(self) -> torch.Tensor:
        return flat_weights(self.token.rows, self.unet)

    def result(self) -> Result:
        """The trained parts as the engine's result, to draw with."""
        learner = Learner(self.base, self.concept, self.plan, seed=SEED, view_count=1)
        self.unet.set_attn_processor(dict(learner.unet.attn_processors))
        self.token.bake()
        learner.token, learner.unet = self.token, self.unet
        return Result(learner)


# ---------------------------------------------------------------- the engine, in the same pieces


class EngineRun:
    """The project's own run, pausing where the plain one does."""

    def __init__(self, base, concept: Concept, plan: Recipe, precision: str = "no"):
        self.base, self.concept, self.plan, self.precision = base, concept, plan, precision

    def parts(self) -> Iterator[str]:
        accelerator = make_accelerator(self.base.device, self.precision)
        options = {"seed": SEED, "view_count": VIEWS, "accelerator": accelerator}
        self.run = Run(self.base, self.concept, self.plan, **options)
        self.learner = self.run.learner
        yield "prepare"
        for record in self.run:
            if record.is_last:
                yield record.stage

    def result(self) -> Result:
        return self.run.result

    def weights(self) -> torch.Tensor:
        return flat_weights(self.learner.token.rows, self.learner.unet)


def flat_weights(rows, unet) -> torch.Tensor:
    """Everything that training may change, as one vector."""
    return torch.cat([p.detach().double().reshape(-1).cpu() for p in (rows, *unet.parameters())])


def scaled(plan: Recipe, scale: float) -> Recipe:
    """The same recipe with a share of its steps."""
    return replace(
        plan,
        stages=tuple(replace(s, steps=max(1, math.ceil(s.steps * scale))) for s in plan.stages),
    )


# ---------------------------------------------------------------- measuring


def race(
    makers: Mapping[str, Callable[[], object]], parts: list[str], device, turn: int = 0
) -> tuple[dict, dict]:
    """Run all sides part by part in turn: (runs, name -> {part: seconds})."""
    runs = {name: make() for name, make in makers.items()}
    steps = {name: run.parts() for name, run in runs.items()}
    times: dict[str, dict[str, float]] = {name: {} for name in runs}
    names = list(runs)
    for k, part in enumerate(parts):
        shift = (turn + k) % len(names)
        for name in names[shift:] + names[:shift]:
            times[name][part] = clock(lambda: next(steps[name]), device)
    return runs, times


def peak_memory(side: str, args) -> dict[str, float]:
    """MB that a side's child process took, loading apart."""
    command = [
        sys.executable,
        __file__,
        "--child",
        side,
        "--scale",
        str(args.memory_scale),
        "--threads",
        str(args.threads),
        "--device",
        args.device,
        "--concept",
        args.concept,
        "--mixed-precision",
        args.mixed_precision,
        *(["--folder", str(args.folder)] if args.folder else []),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the {side} side's child process failed: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.splitlines()[-1])


def quality(result: Result, judge) -> dict[str, float]:
    """Text and identity of the model's pictures of the complex prompts, one each."""
    prompts = prompt_set("complex")
    images = generate(result, [entry["prompt"] for entry in prompts]).images
    values, _ = score_pictures(
        images, [entry["asks"] for entry in prompts], result.learner.concept, judge=judge
    )
    return {name: float(values[name].mean()) for name in ("text", "identity")}


def resident(peak: bool = False) -> float:
    """Resident memory of this process in MB, now or at its peak.

    On Linux from /proc: getrusage's peak would begin with that of the parent process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return (
            int(re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+)", status.read_text())[1])
            / 2**10
        )
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform == "darwin" else 2**10
    )


def child(
    side: str, base, concept: Concept, plan: Recipe, precision: str, folder: Path | None
) -> None:
    """Run one side and print its memory in MB: of the process before training, and what the peak of training added."""
    before = resident()
    for _ in (
        EngineRun(base, concept, plan, precision)
        if side == "engine"
        else PlainRun(base, concept, plan, folder=folder)
    ).parts():
        pass
    found = {"loaded": before, "added": resident(peak=True) - before}
    if base.device.type == "cuda":
        found["device"] = torch.cuda.max_memory_allocated() / 2**20
    print(json.dumps(found))


def print_shares(
    base, concept: Concept, plan: Recipe, parts: list[str], precision: str, folder: Path | None
) -> None:
    """What each saving alone takes off the plain loop."""
    makers = {
        "plain": lambda: PlainRun(base, concept, plan, folder=folder),
        "engine": lambda: EngineRun(base, concept, plan, precision),
    }
    for name, field in SAVINGS.items():
        makers[name] = lambda field=field: PlainRun(
            base, concept, plan, replace(Habits(), **{field: False}), folder
        )
    _, times = race(makers, parts, base.device)
    # Preparation is paid once, whatever the steps; a share of the steps would overstate it.
    totals = {
        name: sum(seconds for part, seconds in by_part.items() if part != "prepare")
        for name, by_part in times.items()
    }
    gain = totals["plain"] - totals["engine"]
    print(
        f"\neach saving alone, steps only, {sum(s.steps for s in plan.stages)} steps (plain {totals['plain']:.1f} s, engine {totals['engine']:.1f} s)"
    )
    for name in SAVINGS:
        saved = totals["plain"] - totals[name]
        print(
            f"  {name:36s} {saved:+7.2f} s   {100 * saved / gain if gain else 0:5.0f} % of the difference"
        )


def enlarged(concept: Concept, side: int, folder: Path) -> Path:
    """The concept's pictures as JPEG photos of ``side`` pixels a side, as a camera would have left them."""
    for number, image in enumerate(concept.images):
        Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC).save(
            folder / f"{number:02d}.jpg", quality=92
        )
    return folder


def compare(args, base, concept: Concept, plan: Recipe) -> None:
    """Race both sides and print everything."""
    parts = ["prepare", *(s.name for s in plan.stages)]
    print(
        f"{machine(base.device)}, the engine in {make_accelerator(base.device, args.mixed_precision).mixed_precision.replace('no', 'float32')}"
    )
    makers = {
        "engine": lambda: EngineRun(base, concept, plan, args.mixed_precision),
        "plain": lambda: PlainRun(base, concept, plan, folder=args.folder),
    }
    rounds = []
    for turn in range(args.rounds):
        runs, times = race(makers, parts, base.device, turn)
        rounds.append(times)
        print(
            f"round {turn + 1}: "
            + ", ".join(f"{name} {sum(t.values()):.1f} s" for name, t in times.items()),
            flush=True,
        )
    for part in parts:
        mine, plain = ([r[name][part] for r in rounds] for name in ("engine", "plain"))
        print(
            f"  {part:10s} engine {np.median(mine):7.2f} s   plain {np.median(plain):7.2f} s   {ratio(plain, mine)}"
        )
    whole = ratio(
        [sum(r["plain"].values()) for r in rounds], [sum(r["engine"].values()) for r in rounds]
    )
    print(
        f"plain / engine, whole run: {whole}: {'at least' if whole.median >= BAR else 'BELOW'} the bar of {BAR:g}x"
    )
    start = flat_weights(runs["engine"].learner.token.initial, base.unet)
    apart = (runs["engine"].weights() - runs["plain"].weights()).norm() / (
        runs["engine"].weights() - start
    ).norm()
    print(f"final weights: apart by {float(apart):.1e} of the way that training moved them")
    judge = tools(base)["judge"]
    for name, made in runs.items():
        print(
            f"  quality of the {name}'s pictures: "
            + ", ".join(f"{k} {v:.3f}" for k, v in quality(made.result(), judge).items())
        )
    memory = {side: peak_memory(side, args) for side in ("engine", "plain")}
    key = "device" if "device" in memory["engine"] else "added"
    print(
        f"peak memory: engine {memory['engine'][key]:.0f} MB, plain {memory['plain'][key]:.0f} MB "
        f"({'on the device' if key == 'device' else 'above the loaded model'}), less: {memory['engine'][key] < memory['plain'][key]}"
    )
    print_shares(
        base,
        concept,
        scaled(recipe("attndreambooth"), args.share_scale),
        parts,
        args.mixed_precision,
        args.folder,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the recipe's steps (default: all)"
    )
    parser.add_argument(
        "--share-scale",
        type=float,
        default=0.1,
        help="the same where each saving is measured alone",
    )
    parser.add_argument(
        "--memory-scale",
        type=float,
        default=0.05,
        help="the same for the memory; the peak comes early",
    )
    parser.add_argument("--concept", default="pico")
    parser.add_argument(
        "--photo-side",
        type=int,
        help="enlarge the concept's pictures (64 pixels) to JPEG photos of so many pixels a side; a phone's 12 megapixels are 3464",
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--mixed-precision",
        choices=("auto", "no", "bf16", "fp16"),
        default="auto",
        help="of the engine",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", choices=("engine", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    base, concept, plan = (
        bundled_base(args.device),
        Concept.bundled(args.concept),
        scaled(recipe("attndreambooth"), args.scale),
    )
    if args.photo_side and not args.folder:
        with tempfile.TemporaryDirectory() as folder:
            args.folder = enlarged(concept, args.photo_side, Path(folder))
            compare(
                args,
                base,
                replace(
                    concept,
                    images=Concept.from_folder(args.folder, category=concept.category).images,
                ),
                plan,
            )
        return
    if args.folder:
        concept = replace(
            concept, images=Concept.from_folder(args.folder, category=concept.category).images
        )
    if args.child:
        child(args.child, base, concept, plan, args.mixed_precision, args.folder)
        return
    compare(args, base, concept, plan)


if __name__ == "__main__":
    main()
