"""The one training engine: every method, baseline and ablation is a recipe that runs through here.

``train_stage`` is a generator: it takes one optimizer step, yields what happened, and goes on
when asked. Plotting, logging, saving and stopping live in whoever iterates.

Axes: b batch, c channels, k tokens, L layers.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import CROSS, capture_attention, selection
from .concept import Augmentation, Concept, views
from .concept_token import ConceptToken
from .recipes import Recipe, Stage
from .regularizer import Penalty, Statistics, regularizer, stack_statistics
from .system.devices import MIXED_PRECISIONS, has_bf16

if TYPE_CHECKING:
    from accelerate import Accelerator

    from .base import Base


class TrainingError(RuntimeError):
    """Training cannot go on; one line that says why and what to do."""


# ---------------------------------------------------------------- what is being trained


class Learner:
    """A base model on its way to a concept: copies of all that training may change.

    Args:
        base: loaded model; left as it is, unless ``in_place`` (for models too large to hold twice).
        view_count: K, augmented views of each photo whose latents are cached.

    Attributes:
        token: the new word, with its own tokenizer and text encoder.
        unet: the U-Net being trained.
        latents: posterior means and deviations of the K * n views, (K * n, 4, h, w) each, scaled.
        base_digest: which base model this is, taken before anything is trained.

    Raises:
        TokenError: a word or a training prompt that this model cannot read.
        TrainingError: a base model in half precision.
    """

    def __init__(
        self,
        base: Base,
        concept: Concept,
        recipe: Recipe,
        *,
        seed: int = 0,
        view_count: int = 16,
        augmentation: Augmentation = Augmentation(),
        in_place: bool = False,
    ):
        self.base, self.concept, self.recipe, self.seed = base, concept, recipe, seed
        self.view_count, self.augmentation = view_count, augmentation
        if base.dtype != torch.float32:
            raise TrainingError(
                f"the base model is in {str(base.dtype).removeprefix('torch.')}, too coarse for small steps: load it without dtype; mixed precision is the accelerator's"
            )
        self.base_digest = fingerprint(base)
        self.token = ConceptToken(
            base, concept.placeholder, concept.category, recipe.init, recipe.vectors
        )
        for stage in recipe.stages:  # a prompt without its words is found now, not after an hour
            for ids in self.token.tokenize([self.prompt(p) for p in stage.prompts]):
                self.token.positions(ids) if stage.regularized else self.token.own_positions(ids)
        self.unet = base.unet if in_place else copy.deepcopy(base.unet)
        self.latents = encode_views(base, concept, view_count, seed, augmentation)

    def prompt(self, template: str) -> str:
        """Fill ``{}`` with "[V] category" (or what the recipe's subject says)."""
        subject = self.recipe.subject.format(
            v=self.concept.placeholder, category=self.concept.category
        )
        return template.format(subject)

    def parameters(self, stage: Stage) -> dict[str, torch.nn.Parameter]:
        """The parameters a stage trains, by name ("token.rows", "unet....")."""
        chosen: dict[str, torch.nn.Parameter] = {}
        if "embedding" in stage.train:
            chosen["token.rows"] = self.token.rows
        for name, parameter in self.unet.named_parameters():
            if "unet" in stage.train or ("cross_attention" in stage.train and ".attn2." in name):
                chosen[f"unet.{name}"] = parameter
        return chosen


@torch.no_grad()
def fingerprint(base: Base) -> str:
    """A hash that tells base models apart: all configurations, and some numbers of every tensor.

    A fine-tuned model differs from its origin in nearly all numbers of the tensors that were
    trained, so sixteen of each tell, and the largest model is done in a moment.
    """
    digest = hashlib.sha256()
    for module in (base.text_encoder, base.vae, base.unet):
        for name, tensor in module.state_dict().items():
            flat = tensor.reshape(-1)
            digest.update(
                f"{name} {tuple(tensor.shape)}".encode()
                + flat[:: max(1, len(flat) // 16)].float().cpu().numpy().tobytes()
            )
    for config in (base.vae.config, base.unet.config, base.scheduler.config):
        # diffusers keeps notes of its own under "_...", in an order that changes from process to process
        digest.update(
            json.dumps(
                {k: v for k, v in config.items() if not k.startswith("_")},
                sort_keys=True,
                default=str,
            ).encode()
        )
    return digest.hexdigest()[:16]


@torch.no_grad()
def encode_views(
    base: Base, concept: Concept, count: int, seed: int, augmentation: Augmentation, batch: int = 16
) -> tuple[Tensor, Tensor]:
    """Decode, augment and encode every photo once: scaled posterior means and deviations, (K * n, 4, h, w)."""
    size = base.unet.config.sample_size * 2 ** (len(base.vae.config.block_out_channels) - 1)
    pixels = torch.from_numpy(views(concept.images, size, count, seed, augmentation))
    means, deviations = [], []
    for start in range(0, len(pixels), batch):
        part = (
            pixels[start : start + batch].to(base.device).permute(0, 3, 1, 2).to(base.dtype) / 127.5
            - 1
        )
        posterior = base.vae.encode(part).latent_dist
        means.append(posterior.mean.float())
        deviations.append(posterior.std.float())
    scale = base.vae.config.scaling_factor
    return torch.cat(means) * scale, torch.cat(deviations) * scale


# ---------------------------------------------------------------- one step, in pure pieces


@dataclass(frozen=True)
class Batch:
    """One step's random choices: rows of the view cache, prompt numbers (b,), noise and timesteps."""

    rows: np.ndarray
    prompts: np.ndarray
    latents: Tensor
    noise: Tensor
    timesteps: Tensor


def draw_batch(
    means: Tensor,
    deviations: Tensor,
    prompt_count: int,
    size: int,
    steps: int,
    rng: np.random.Generator,
) -> Batch:
    """Draw a batch on the CPU's generator, so that every device sees the same one."""
    rows = rng.integers(len(means), size=size)
    prompts = rng.integers(prompt_count, size=size)
    timesteps = torch.from_numpy(rng.integers(steps, size=size))
    generator = torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))
    picked = torch.from_numpy(rows).to(means.device)
    spread, noise = (
        torch.randn((size, *means.shape[1:]), generator=generator).to(means.device)
        for _ in range(2)
    )
    latents = means[picked] + deviations[picked] * spread
    return Batch(rows, prompts, latents, noise, timesteps.to(means.device))


def step_rng(seed: int, stage: int, step: int) -> np.random.Generator:
    """The random numbers of one step; a resumed run draws the same ones."""
    return np.random.default_rng([seed, stage, step])


def diffusion_target(scheduler, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the U-Net should predict.

    Raises:
        TrainingError: a prediction type other than epsilon and v.
    """
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return noise
    if kind == "v_prediction":
        return scheduler.get_velocity(latents, noise, timesteps)
    raise TrainingError(
        f"prediction type {kind!r} is not supported: use an epsilon or v_prediction model"
    )


# ---------------------------------------------------------------- what a step reports


@dataclass(frozen=True)
class StepRecord:
    """What happened in one optimizer step; plain numbers, ready to plot.

    Attributes:
        step: 1 for the first; of ``steps``.
        loss: diffusion + regularizer (+ weighted prior); mean_part and var_part are the
            regularizer's two weighted halves.
        v_mean, v_var, category_mean, category_var: per-layer batch means of the map statistics,
            in ``layers``' order; empty where nothing was captured.
        grad_norm: before clipping. seconds: wall time of the step.
    """

    stage: str
    step: int
    steps: int
    loss: float
    diffusion: float
    mean_part: float
    var_part: float
    prior: float
    grad_norm: float
    lr: float
    seconds: float
    layers: tuple[str, ...]
    v_mean: tuple[float, ...]
    v_var: tuple[float, ...]
    category_mean: tuple[float, ...]
    category_var: tuple[float, ...]


# ---------------------------------------------------------------- the engine


def make_accelerator(
    device: torch.device,
    mixed_precision: str | None = None,
    *,
    trackers=None,
    folder: str | None = None,
) -> Accelerator:
    """Accelerate's engine for a device.

    Args:
        trackers: a name or objects that Accelerate logs to, as "tensorboard"; folder: for their files.
        mixed_precision: "no" is float32 throughout; "bf16" and "fp16" compute the U-Net in half
            precision while weights, statistics and losses stay float32; "auto" is bf16 where the
            hardware has instructions for it (elsewhere it would be slower), else "no". None is
            what ``accelerate launch`` asks for, else "no".

    Raises:
        TrainingError: unknown, not to be had here, or not the one that this process has trained in
            before, since Accelerate keeps one for the whole process.
    """
    from accelerate import Accelerator

    mixed_precision = mixed_precision or os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if mixed_precision not in MIXED_PRECISIONS:
        raise TrainingError(
            f"mixed precision {mixed_precision!r}: choose one of {', '.join(MIXED_PRECISIONS)}"
        )
    if mixed_precision == "auto":
        mixed_precision = "bf16" if has_bf16(device) else "no"
    if mixed_precision == "fp16" and device.type == "cpu":
        raise TrainingError("mixed precision 'fp16' needs a GPU: use auto, bf16 or no")
    if isinstance(trackers, str) and importlib.util.find_spec(trackers) is None:
        raise TrainingError(
            f"logging to {trackers!r} needs a package that is not installed: pip install {trackers}"
        )
    try:
        return Accelerator(
            mixed_precision=mixed_precision,
            cpu=device.type == "cpu",
            log_with=trackers,
            project_dir=folder,
        )
    except ValueError as error:
        raise TrainingError(
            f"mixed precision {mixed_precision!r}: {' '.join(str(error).split())}"
        ) from error


class _Words:
    """Text states of a stage's prompts: computed once if the row is fixed, every step if it moves."""

    def __init__(self, learner: Learner, stage: Stage):
        self.token, self.moving = learner.token, "embedding" in stage.train
        self.ids = learner.token.tokenize(
            [learner.prompt(p) for p in stage.prompts]
        )  # (prompts, k)
        self.selection = self._selection()
        with torch.no_grad():
            self.fixed = None if self.moving else self.token.encode(self.ids)

    def _selection(self) -> Tensor | None:
        """(prompts, k, n): columns [V] and, if every prompt names it, the category."""
        groups = []
        for row in self.ids:
            v = [k for k, i in enumerate(row.tolist()) if i in self.token.ids]
            try:
                groups.append([v, self.token.positions(row)[1]])
            except ValueError:
                groups.append([v])
        n = min(len(g) for g in groups)
        return torch.stack([selection(self.ids.shape[1], g[:n]) for g in groups]).to(
            self.ids.device
        )

    def states(self, prompts: np.ndarray) -> Tensor:
        """(b, k, d) for prompt numbers (b,)."""
        picked = torch.from_numpy(prompts).to(self.ids.device)
        if self.fixed is not None:
            return self.fixed[picked]
        used, where = torch.unique(picked, return_inverse=True)
        return self.token.encode(self.ids[used])[where]


@dataclass
class _Prior:
    """Latents and text states of the plain category, for DreamBooth's prior preservation."""

    latents: Tensor
    states: Tensor

    @classmethod
    def sample(cls, learner: Learner, count: int = 24) -> _Prior:
        """Sample the category with the untouched base model (Ruiz et al. 2023, section 3.3)."""
        base, prompt = learner.base, f"a photo of a {learner.concept.category}"
        pipeline = base.pipeline()
        latents = []
        for start in range(0, count, 8):
            generators = [
                torch.Generator().manual_seed(learner.seed * 1000 + k)
                for k in range(start, min(start + 8, count))
            ]
            latents.append(
                pipeline(
                    [prompt] * len(generators),
                    num_inference_steps=20,
                    guidance_scale=5.0,
                    generator=generators,
                    output_type="latent",
                ).images.float()
            )
        ids = learner.token.tokenize([prompt])
        return cls(torch.cat(latents), learner.token.encode(ids))


def train_stage(
    learner: Learner,
    stage: Stage,
    *,
    accelerator: Accelerator | None = None,
    accumulation: int = 1,
    watch: bool = True,
    path: str | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    start: int = 0,
) -> Iterator[StepRecord]:
    """Train one stage, one yield per optimizer step.

    Only the stage's parameters change. The learner is in order whenever the generator is
    suspended or closed: hooks and processors are the original ones after ``close()``.

    Args:
        accelerator: of :func:`make_accelerator`, for mixed precision and several processes; None makes
            one that trains in float32.
        accumulation: micro-batches a step; batch_size must divide by it (and by the processes).
        watch: read the attention maps even where nothing is regularized, for the statistics.
        path: of the attention capture, see :func:`adb_core.attention.capture_attention`.
        optimizer: from :func:`make_optimizer`, to go on from a checkpoint at step ``start``.

    Raises:
        TrainingError: the loss is not a number any more, or the batch does not divide.
    """
    accelerator = accelerator or make_accelerator(learner.base.device)
    parts = batch_parts(stage, accelerator.num_processes, accumulation)
    index = [s.name for s in learner.recipe.stages].index(stage.name)
    parameters = learner.parameters(stage)
    optimizer = optimizer or make_optimizer(learner, stage)
    learner.token.bake()
    words = _Words(learner, stage)
    prior = _Prior.sample(learner) if stage.prior_weight else None
    scheduler = learner.base.scheduler
    capture_needed = stage.regularized or watch
    with ExitStack() as stack:
        if words.moving:
            stack.enter_context(learner.token.trainable())
        stack.callback(_freeze, parameters.values())
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        for step in range(start, stage.steps):
            began = time.perf_counter()
            whole = draw_batch(
                *learner.latents,
                len(stage.prompts),
                stage.batch_size,
                scheduler.config.num_train_timesteps,
                step_rng(learner.seed, index, step),
            )
            numbers, layers = [], ()
            for micro in range(accumulation):
                chunk = _slice(
                    whole, parts, micro * accelerator.num_processes + accelerator.process_index
                )
                loss, report, layers = _losses(
                    learner, stage, words, prior, chunk, accelerator, parts, capture_needed, path
                )
                accelerator.backward(loss / accumulation)
                numbers.append(report)
            grad_norm = _apply(
                accelerator, optimizer, list(parameters.values()), stage.max_grad_norm
            )
            if step + 1 == stage.steps:
                check_finite(learner, stage)
                if words.moving:
                    learner.token.bake()
            yield _record(
                stage,
                step,
                torch.stack(numbers).mean(0),
                grad_norm,
                layers,
                optimizer,
                began,
                accelerator,
            )


def batch_parts(stage: Stage, processes: int, accumulation: int) -> int:
    """Into how many equal parts a batch is split.

    Raises:
        TrainingError: it does not divide.
    """
    parts = processes * accumulation
    if stage.batch_size % parts:
        raise TrainingError(
            f"stage {stage.name!r}: batch size {stage.batch_size} does not divide by {processes} processes x {accumulation} micro-batches: change one of them"
        )
    return parts


def check_finite(learner: Learner, stage: Stage) -> None:
    """Find weights that are no numbers before they are saved; a step reports only the loss before it.

    Raises:
        TrainingError: there are some.
    """
    for name, parameter in learner.parameters(stage).items():
        if not bool(torch.isfinite(parameter).all()):
            raise TrainingError(
                f"stage {stage.name!r} made {name} infinite or not a number: {_lower(stage)}"
            )


def _lower(stage: Stage) -> str:
    return f"train anew with a lower learning rate than {stage.lr:g}, in another folder"


def _freeze(parameters) -> None:
    for parameter in parameters:
        parameter.requires_grad_(False)
        parameter.grad = None


def make_optimizer(learner: Learner, stage: Stage) -> torch.optim.AdamW:
    """AdamW over the stage's parameters; the row may have its own learning rate."""
    named = learner.parameters(stage)
    row = [p for n, p in named.items() if n == "token.rows"]
    rest = [p for n, p in named.items() if n != "token.rows"]
    groups = [
        {"params": p, "lr": lr}
        for p, lr in ((row, stage.embedding_lr or stage.lr), (rest, stage.lr))
        if p
    ]
    fused = learner.base.device.type in ("cpu", "cuda")  # one pass over the weights instead of six
    return torch.optim.AdamW(
        groups, betas=stage.betas, weight_decay=stage.weight_decay, eps=stage.eps, fused=fused
    )


def _slice(batch: Batch, parts: int, part: int) -> Batch:
    """One of ``parts`` equal pieces of a batch."""
    n = len(batch.rows) // parts
    piece = slice(part * n, (part + 1) * n)
    return Batch(
        batch.rows[piece],
        batch.prompts[piece],
        batch.latents[piece],
        batch.noise[piece],
        batch.timesteps[piece],
    )


def _losses(learner, stage, words, prior, batch, accelerator, parts, capture_needed, path):
    """Loss of one micro-batch; the reported numbers as one tensor; names of the captured layers."""
    scheduler = learner.base.scheduler
    noisy = scheduler.add_noise(batch.latents, batch.noise, batch.timesteps)
    target = diffusion_target(scheduler, batch.latents, batch.noise, batch.timesteps)
    with accelerator.autocast():
        states = words.states(batch.prompts)  # (b, k, d)
        chosen = words.selection[torch.from_numpy(batch.prompts).to(noisy.device)]  # (b, k, n)
        reading = (
            capture_attention(learner.unet, chosen, grad=stage.regularized, path=path)
            if capture_needed
            else nullcontext()
        )
        with reading as capture:
            predicted = learner.unet(noisy, batch.timesteps, encoder_hidden_states=states).sample
    diffusion = F.mse_loss(predicted.float(), target.float())
    loss, zero = diffusion, diffusion.new_zeros(())
    v, category, layers = None, None, ()
    if capture is not None:
        layers = tuple(capture.layers)
        both = stack_statistics(capture.layers.values())  # (L, b, n) each: one reduction a layer
        v, category = both.of(0), both.of(1) if chosen.shape[-1] > 1 else None
    penalty = Penalty(zero, zero, zero)
    if stage.regularized:
        penalty = regularizer(v, category, stage.lambda_mu, stage.lambda_sigma, stage.reduction)
        # The paper sums over the whole batch; micro-batches and processes are averaged, so undo that.
        loss = loss + penalty.total * (parts if stage.reduction == "sum" else 1)
    prior_loss = zero
    if prior is not None:
        prior_loss = _prior_loss(learner, prior, batch, accelerator)
        loss = loss + stage.prior_weight * prior_loss
    scale = parts if stage.reduction == "sum" else 1
    head = torch.stack(
        [loss, diffusion, penalty.mean_part * scale, penalty.var_part * scale, prior_loss]
    ).detach()
    return loss, torch.cat([head, *_flat(v), *_flat(category)]), layers


def _flat(statistics: Statistics | None) -> list[Tensor]:
    """Per-layer batch means, detached: [(L,), (L,)]."""
    return (
        []
        if statistics is None
        else [statistics.mean.detach().mean(1), statistics.var.detach().mean(1)]
    )


def _prior_loss(learner: Learner, prior: _Prior, batch: Batch, accelerator) -> Tensor:
    """The diffusion loss on the category's own images, with the same noise and timesteps."""
    scheduler = learner.base.scheduler
    latents = prior.latents[
        torch.from_numpy(batch.rows % len(prior.latents)).to(prior.latents.device)
    ]
    noisy = scheduler.add_noise(latents, batch.noise, batch.timesteps)
    with accelerator.autocast():
        predicted = learner.unet(
            noisy, batch.timesteps, encoder_hidden_states=prior.states.expand(len(latents), -1, -1)
        ).sample
    return F.mse_loss(
        predicted.float(),
        diffusion_target(scheduler, latents, batch.noise, batch.timesteps).float(),
    )


def _apply(accelerator, optimizer, parameters: Sequence[Tensor], max_norm: float) -> Tensor:
    """Average gradients over processes, clip, step. Returns the gradient norm before clipping.

    Done by hand rather than by wrapping modules: the row of [V] belongs to no module, and an
    unsynchronised row would drift apart between processes.
    """
    if accelerator.num_processes > 1:
        for parameter in parameters:
            parameter.grad = accelerator.reduce(parameter.grad, "mean")
    if accelerator.scaler is not None:
        accelerator.scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    if accelerator.scaler is not None:
        accelerator.scaler.step(optimizer)
        accelerator.scaler.update()
    elif torch.isfinite(norm):
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def _record(
    stage, step, numbers: Tensor, grad_norm: Tensor, layers, optimizer, began, accelerator
) -> StepRecord:
    """One transfer from the device for everything that is reported."""
    values = accelerator.reduce(
        torch.cat([numbers, grad_norm.detach().reshape(1).to(numbers)]), "mean"
    ).tolist()
    loss, diffusion, mean_part, var_part, prior = values[:5]
    finite = np.isfinite(loss) and (np.isfinite(values[-1]) or accelerator.scaler is not None)
    if not finite:
        raise TrainingError(
            f"the loss of stage {stage.name!r} is not a number at step {step + 1}: {_lower(stage)}"
        )
    n = len(layers)
    series = (
        [tuple(values[5 + k * n : 5 + (k + 1) * n]) for k in range((len(values) - 6) // n)]
        if n
        else []
    )
    series += [()] * (4 - len(series))
    return StepRecord(
        stage.name,
        step + 1,
        stage.steps,
        loss,
        diffusion,
        mean_part,
        var_part,
        prior,
        values[-1],
        optimizer.param_groups[-1]["lr"],
        time.perf_counter() - began,
        layers,
        *series,
    )
