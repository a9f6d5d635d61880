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

from .base import Base, Text
from .concept import Concept
from .concept_token import ConceptToken
from .encoding import check_resolution, encode_views
from .engine import TrainingError, make_accelerator
from .lora import adapted, own_parameters
from .offload import Offload
from .options import RunOptions, chosen
from .recipes import Recipe, Stage
from .system.memory import memory_text
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
        unet: the U-Net being trained; side: pixels of what it is trained on; offload: what waits.
        latents: posterior means and deviations of the K * n views, (K * n, c, y, x) each, scaled.
        base_digest: which base model this is, taken before anything is trained.
        prior_latents: pictures of the plain category, (m, c, y, x), sampled by
            :meth:`sample_prior` if a stage wants them.

    Raises:
        TokenError: a word or a training prompt that this model cannot read.
        TrainingError: a base model in half precision without LoRA; LoRA without peft, or with
            targets that match nothing.
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
        if base.dtype != torch.float32 and recipe.lora is None:
            raise TrainingError(
                f"the base model is in {str(base.dtype).removeprefix('torch.')}, too coarse for "
                "small steps: load it without dtype, or train a recipe with LoRA; "
                "mixed precision is the accelerator's"
            )
        self.side = check_resolution(base, self.options.resolution)
        if recipe.lora is not None:  # the base's weights are shared, and stay as they are
            self.unet = adapted(base.unet, recipe.lora, self.seed)
        else:
            self.unet = base.unet if self.options.in_place else copy.deepcopy(base.unet)
        self.base_digest = base.fingerprint()
        self.token = ConceptToken(
            base, concept.placeholder, concept.category, recipe.init, recipe.vectors
        )
        self._check_stages()
        self.prior_latents: Tensor | None = None
        self.offload = Offload(base.device)
        choice = (self.options.view_count, self.seed, self.options.augmentation)
        self.latents = encode_views(
            base, concept, *choice, side=self.side, progress=self.options.progress
        )
        if self.options.resolution:  # what was trained at a size draws at it
            self.unet.register_to_config(sample_size=self.latents.mean.shape[-1])
        if self.options.channels_last:
            self.unet.to(memory_format=torch.channels_last)
        self.masks, self.category_keys = self._targets()

    def _check_stages(self) -> None:
        """A prompt without its words, or a missing mask, is found now, not after an hour."""
        for stage in self.recipe.stages:
            for ids in self.token.tokenize([self.prompt(p) for p in self.templates(stage)]):
                self.token.positions(ids) if stage.compares else self.token.own_positions(ids)
            if not self.parameters(stage):
                raise TrainingError(
                    f"the LoRA targets leave stage {stage.name!r} nothing to train: "
                    "let them match layers that it names"
                )
        check_masks(self.concept, self.recipe)

    def _targets(self) -> tuple[Tensor | None, Sequence[Tensor]]:
        """What some losses compare with: the views' masks, and the category's keys."""
        options, masks = self.options, None
        keys: Sequence[Tensor] = ()
        if self.recipe.needs_masks:
            how = (options.view_count, self.seed, options.augmentation)
            masks = view_masks(self.concept, self.side, *how)
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

    def templates(self, stage: Stage) -> tuple[str, ...]:
        """A stage's prompts, and after them the captions of photos that have one."""
        return (*stage.prompts, *filter(None, self.concept.captions))

    def parameters(self, stage: Stage) -> dict[str, torch.nn.Parameter]:
        """The parameters a stage trains, by name ("token.rows", "unet....")."""
        chosen: dict[str, torch.nn.Parameter] = {}
        if "embedding" in stage.train:
            chosen |= self.token.parameters()
        for name, parameter in own_parameters(self.unet):
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
    def idle_parts(self) -> list[torch.nn.Module]:
        """Modules of the base model none of whose weights a step of training uses."""
        used = {id(p) for part in (self.unet, *self.text.encoders) for p in part.parameters()}
        parts = self.base.parts.values()
        return [part for part in parts if used.isdisjoint(map(id, part.parameters()))]

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
        from tqdm.auto import tqdm

        pipeline, prompt = self.base.pipeline(), f"a photo of a {self.concept.category}"
        latents, batch = [], min(PRIOR_BATCH, self.options.micro_batch or PRIOR_BATCH)
        starts = range(0, PRIOR_COUNT, batch)
        bar = tqdm(starts, desc="prior pictures", disable=not self.options.progress)
        for start in bar:
            bar.set_postfix(memory=memory_text(self.base.device), refresh=False)
            numbers = range(start, min(start + batch, PRIOR_COUNT))
            found = pipeline(
                [prompt] * len(numbers),
                num_inference_steps=20,
                guidance_scale=5.0,
                generator=[torch.Generator().manual_seed(self.seed * 1000 + k) for k in numbers],
                output_type="latent",
                height=self.side,
                width=self.side,
            )
            latents.append(found.images.float())
        self.prior_latents = torch.cat(latents)


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
