"""The three stages as they come to mind: the other side of ``whole_run.py``.

float32; attention taken apart into explicit softmax everywhere in the U-Net, with every column of
every cross-attention map kept; in every step images are decoded and augmented, and the VAE and the
text encoder run. It draws the engine's random numbers, so both end with the same weights up to
rounding.

Axes: b batch, h heads, q query pixels, k tokens, c channels.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from adb_core.attention import CROSS, capture_attention, selection
from adb_core.concept import Concept
from adb_core.concept_token import ConceptToken
from adb_core.images import PLAIN, read_image, view, views
from adb_core.learner import Learner, encode_views
from adb_core.losses import diffusion_target, draw_batch, step_rng
from adb_core.recipes import Recipe, Stage
from adb_core.regularizer import regularizer, stack_statistics
from adb_core.result import Result
from adb_core.system.paths import data_path

SEED, VIEWS = 0, 16


@dataclass(frozen=True)
class Habits:
    """What the plain loop does the obvious way; each can be switched off alone."""

    explicit_self: bool = True
    all_columns: bool = True
    text_every_step: bool = True
    vae_every_step: bool = True
    decode_every_step: bool = True


OBVIOUS = Habits()
SAVINGS = {
    "self-attention by the fused kernel": "explicit_self",
    "only the columns that are used": "all_columns",
    "text encoder once per prompt": "text_every_step",
    "VAE once per view": "vae_every_step",
    "images decoded once": "decode_every_step",
}


class Explicit:
    """Attention as in the textbook; with a store, every column of the map is kept in float32."""

    def __init__(self, name: str, store: dict | None):
        self.name, self.store = name, store

    def __call__(
        self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None
    ):
        text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))  # (b, q, h*c) -> (b*h, q, c)
        key = attn.head_to_batch_dim(attn.to_k(text))  # (b*h, k, c)
        value = attn.head_to_batch_dim(attn.to_v(text))  # (b*h, k, c)
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
        habits: Habits = OBVIOUS,
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
        self.files = sorted(p for p in self.folder.iterdir() if p.suffix in (".png", ".jpg"))
        if not self.habits.decode_every_step:
            self.views = views(concept.images, base.side, VIEWS, SEED)
        if not self.habits.vae_every_step:
            self.latents = encode_views(base, concept, VIEWS, SEED, PLAIN)
        channels = base.unet.config.in_channels
        shape = (VIEWS * len(self.files), channels, base.latent_side, base.latent_side)
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
        named = self.unet.named_parameters()
        chosen = [p for name, p in named if "unet" in stage.train or ".attn2." in name]
        parameters = [self.token.rows] if moving else chosen
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
        both = stack_statistics(v), stack_statistics(category)
        weights = stage.lambda_mu, stage.lambda_sigma
        return loss + regularizer(*both, *weights, stage.reduction).total

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
        if self.habits.decode_every_step:
            pixels = np.stack([self._pixels(int(row)) for row in rows])
        else:
            pixels = self.views[rows]
        if not self.habits.vae_every_step:
            means, deviations = (x[torch.from_numpy(rows).to(x.device)] for x in self.latents)
            return means + deviations * spread
        batch = torch.from_numpy(pixels).to(self.base.device).permute(0, 3, 1, 2)  # (b, c, y, x)
        batch = batch.float() / 127.5 - 1
        posterior = self.base.vae.encode(batch).latent_dist
        return (posterior.mean + posterior.std * spread) * self.base.vae.config.scaling_factor

    def _pixels(self, row: int) -> np.ndarray:
        """The engine's view of that number, made from the file."""
        turn, photo = divmod(row, len(self.files))
        image = read_image(self.files[photo])
        rng = np.random.default_rng([SEED, turn, photo]) if turn else None
        return view(image, self.base.side, rng)

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


def flat_weights(rows, unet) -> torch.Tensor:
    """Everything that training may change, as one vector."""
    return torch.cat([p.detach().double().reshape(-1).cpu() for p in (rows, *unet.parameters())])
