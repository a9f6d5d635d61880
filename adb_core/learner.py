"""What is being trained: a base model on its way to a concept, and the cached views of the photos.

Axes: n photos, K views of each, c channels.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .base import Base, Posterior, Text
from .concept import Concept
from .concept_token import ConceptToken
from .engine import TrainingError, make_accelerator
from .images import Augmentation, views
from .options import RunOptions, chosen
from .recipes import Recipe, Stage
from .targets import category_keys, check_masks, view_masks

if TYPE_CHECKING:
    from accelerate import Accelerator

PRIOR_COUNT, PRIOR_BATCH = 24, 8  # pictures of the category for prior preservation


class Learner:
    """A base model on its way to a concept: copies of all that training may change.

    Args:
        base: loaded model; left as it is, unless ``in_place``.
        options: a :class:`adb_core.RunOptions`; changes: some of its fields, by name.

    Attributes:
        token: the new word, with its own tokenizers and text encoders.
        unet: the U-Net being trained.
        latents: posterior means and deviations of the K * n views, (K * n, c, y, x) each, scaled.
        base_digest: which base model this is, taken before anything is trained.
        prior_latents: pictures of the plain category, (m, c, y, x), sampled by
            :meth:`sample_prior` if a stage wants them.

    Raises:
        TokenError: a word or a training prompt that this model cannot read.
        TrainingError: a base model in half precision.
    """

    def __init__(
        self,
        base: Base,
        concept: Concept,
        recipe: Recipe,
        options: RunOptions | None = None,
        **changes: Any,
    ):
        self.base, self.concept, self.recipe = base, concept, recipe
        self.options = chosen(options, changes)
        self.seed = self.options.seed
        if base.dtype != torch.float32:
            raise TrainingError(
                f"the base model is in {str(base.dtype).removeprefix('torch.')}, too coarse for "
                "small steps: load it without dtype; mixed precision is the accelerator's"
            )
        self.base_digest = base.fingerprint()
        self.token = ConceptToken(
            base, concept.placeholder, concept.category, recipe.init, recipe.vectors
        )
        for stage in recipe.stages:  # a prompt without its words is found now, not after an hour
            for ids in self.token.tokenize([self.prompt(p) for p in stage.prompts]):
                self.token.positions(ids) if stage.compares else self.token.own_positions(ids)
        check_masks(concept, recipe)
        self.unet = base.unet if self.options.in_place else copy.deepcopy(base.unet)
        self.prior_latents: Tensor | None = None
        self.latents = encode_views(
            base, concept, self.options.view_count, self.seed, self.options.augmentation
        )
        self.masks, self.category_keys = self._targets()

    def _targets(self) -> tuple[Tensor | None, Sequence[Tensor]]:
        """What some losses compare with: the views' masks, and the category's keys."""
        options, masks = self.options, None
        keys: Sequence[Tensor] = ()
        if self.recipe.needs_masks:
            how = (options.view_count, self.seed, options.augmentation)
            masks = view_masks(self.concept, self.base.side, *how)
        if any(stage.key_lock for stage in self.recipe.stages):
            keys = category_keys(self.base, self.unet, self.token)
        return masks, keys

    @cached_property
    def accelerator(self) -> Accelerator:
        """Accelerate's engine: the options' own, or one that trains in float32."""
        return self.options.accelerator or make_accelerator(self.base.device)

    @property
    def text(self) -> Text:
        """Tokenizers and text encoders that know the new word."""
        return self.token.text

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
            chosen |= self.token.parameters()
        for name, parameter in self.unet.named_parameters():
            if stage.trains(name):
                chosen[f"unet.{name}"] = parameter
        return chosen

    def number(self, stage: Stage) -> int:
        """Which stage of the recipe this is, from 0.

        Raises:
            TrainingError: the recipe has none of that name.
        """
        names = [each.name for each in self.recipe.stages]
        if stage.name not in names:
            raise TrainingError(
                f"the recipe {self.recipe.name!r} has no stage {stage.name!r}: "
                f"train one of {', '.join(names)}, or make a learner with a recipe that has it"
            )
        return names.index(stage.name)

    @contextmanager
    def checkpointing(self) -> Iterator[None]:
        """Within, activations are computed again in backward, if the options ask for it."""
        if not self.options.gradient_checkpointing:
            yield
            return
        was_training = self.unet.training
        self.unet.train()  # older diffusers look at it; these models have no dropout
        self.unet.enable_gradient_checkpointing()
        try:
            yield
        finally:
            self.unet.disable_gradient_checkpointing()
            self.unet.train(was_training)

    @property
    def wants_prior(self) -> bool:
        """Whether a stage preserves the prior."""
        return any(stage.prior_weight for stage in self.recipe.stages)

    @torch.no_grad()
    def sample_prior(self) -> None:
        """Sample the category with the base model (Ruiz et al. 2023, section 3.3), once.

        Before anything is trained, for ``in_place`` would change the base model.
        """
        if not self.wants_prior or self.prior_latents is not None:
            return
        pipeline, prompt = self.base.pipeline(), f"a photo of a {self.concept.category}"
        latents = []
        for start in range(0, PRIOR_COUNT, PRIOR_BATCH):
            numbers = range(start, min(start + PRIOR_BATCH, PRIOR_COUNT))
            found = pipeline(
                [prompt] * len(numbers),
                num_inference_steps=20,
                guidance_scale=5.0,
                generator=[torch.Generator().manual_seed(self.seed * 1000 + k) for k in numbers],
                output_type="latent",
            )
            latents.append(found.images.float())
        self.prior_latents = torch.cat(latents)


@torch.no_grad()
def encode_views(
    base: Base, concept: Concept, count: int, seed: int, augmentation: Augmentation
) -> Posterior:
    """Augment and encode every photo once: means and deviations, (K * n, c, y, x), scaled."""
    pixels = torch.from_numpy(views(concept.images, base.side, count, seed, augmentation))
    # 16 of the tiny model's, 4 at 512 pixels, where each takes 0.6 GiB: more save no time
    batch = max(1, min(16, 2**20 // base.side**2))
    parts = []
    for some in pixels.split(batch):  # (b, side, side, 3) uint8
        pictures = some.to(base.device).permute(0, 3, 1, 2).to(base.dtype) / 127.5 - 1
        parts.append(base.encode_pictures(pictures))
    return Posterior(torch.cat([p.mean for p in parts]), torch.cat([p.std for p in parts]))


def make_optimizer(learner: Learner, stage: Stage) -> torch.optim.AdamW:
    """AdamW over the stage's parameters; the rows of [V] may have their own learning rate."""
    named = learner.parameters(stage)
    rows = [p for name, p in named.items() if name.startswith("token.")]
    rest = [p for name, p in named.items() if not name.startswith("token.")]
    groups = [
        {"params": parameters, "lr": lr}
        for parameters, lr in ((rows, stage.embedding_lr or stage.lr), (rest, stage.lr))
        if parameters
    ]
    fused = learner.base.device.type in ("cpu", "cuda")  # one pass over the weights instead of six
    return torch.optim.AdamW(
        groups, betas=stage.betas, weight_decay=stage.weight_decay, eps=stage.eps, fused=fused
    )


def check_finite(learner: Learner, stage: Stage) -> None:
    """Find weights that are no numbers before they are saved; a step reports the loss before it.

    Raises:
        TrainingError: there are some.
    """
    for name, parameter in learner.parameters(stage).items():
        if not bool(torch.isfinite(parameter).all()):
            raise TrainingError(
                f"stage {stage.name!r} made {name} infinite or not a number: {lower(stage)}"
            )


def lower(stage: Stage) -> str:
    """The cure where a stage's steps were too large."""
    return f"train anew with a lower learning rate than {stage.lr:g}, in another folder"
