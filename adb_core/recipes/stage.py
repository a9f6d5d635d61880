"""What a recipe is made of: stages, each with its numbers, their units and bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .lora import Lora

TRAINABLE = ("embedding", "cross_attention", "unet", "key_value")
EMBEDDING, CROSS_ATTENTION, UNET, _ = ((name,) for name in TRAINABLE)
JOINT, ROW_AND_KEYS = ("embedding", "unet"), ("embedding", "key_value")

# Fields of a stage that weigh something: 0 switches it off.
WEIGHTS = (
    "lambda_mu", "lambda_sigma", "prior_weight", "weight_decay", "pixelwise", "total_variation",
    "masked_map", "key_lock", "core_embedding", "core_embedding_code", "core_attention",
    "core_attention_code",
)  # fmt: skip

# Textual Inversion's templates (Gal et al. 2022, appendix), in words the tiny model knows as well.
TEMPLATES = (
    "a photo of a {}",
    "a photograph of a {}",
    "a nice photo of a {}",
    "a photo of a cute {}",
    "a photo of the {}",
)


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    Attributes:
        train: which parameters move: "embedding" (the row of [V]), "cross_attention" (every
            parameter of every ``attn2``), "unet" (all of the U-Net, cross-attention included),
            "key_value" (of every ``attn2`` only the keys' and values' weights).
        steps: optimizer steps; batch_size: samples per optimizer step.
        lr: AdamW's constant learning rate; embedding_lr: another one for the row, if not None.
        lambda_mu, lambda_sigma: weights of the attention regularizer; both 0 switches it off.
        reduction: over the batch, "sum" as the authors have it, or "mean".
        detach_category: the regularizer pulls [V] alone; the authors let both sides move.
        pixelwise, total_variation, masked_map: weights of the terms in ``map_losses.py``.
        key_lock, core_embedding, core_attention and those of the released code: weights of the
            terms in ``text_losses.py``.
        prior_weight: weight of DreamBooth's prior preservation loss on images of the category.
        prompts: training prompts, ``{}`` is "[V] category" (or "[V]" alone, see Recipe.subject).
    """

    name: str
    train: tuple[str, ...]
    steps: int
    lr: float
    batch_size: int = 8
    embedding_lr: float | None = None
    lambda_mu: float = 0.0
    lambda_sigma: float = 0.0
    reduction: str = "sum"
    detach_category: bool = False
    pixelwise: float = 0.0
    total_variation: float = 0.0
    masked_map: float = 0.0
    key_lock: float = 0.0
    core_embedding: float = 0.0
    core_embedding_code: float = 0.0
    core_attention: float = 0.0
    core_attention_code: float = 0.0
    prior_weight: float = 0.0
    prompts: tuple[str, ...] = ("a photo of a {}",)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-2
    eps: float = 1e-8
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        if set(self.train) - set(TRAINABLE) or not self.train:
            self._refuse(f"train must name some of {', '.join(TRAINABLE)}, got {self.train!r}")
        if self.steps < 1 or self.batch_size < 1:
            numbers = f"{self.steps} and {self.batch_size}"
            self._refuse(f"steps and batch_size must be at least 1, got {numbers}")
        for name in ("lr", "embedding_lr", "max_grad_norm"):
            value = getattr(self, name)
            if value is not None and not (0 < value < math.inf):
                self._refuse(f"{name} must be positive and finite, got {value!r}")
        for name in WEIGHTS:
            if not (0 <= getattr(self, name) < math.inf):
                value = getattr(self, name)
                self._refuse(f"{name} must not be negative or infinite, got {value!r}")
        if self.reduction not in ("sum", "mean"):
            self._refuse(f"unknown reduction {self.reduction!r}: choose 'sum' or 'mean'")
        if not self.prompts or any(p.count("{}") != 1 for p in self.prompts):
            self._refuse(f"every training prompt needs exactly one {{}}, got {self.prompts!r}")

    def _refuse(self, why: str) -> None:
        raise ValueError(f"stage {self.name!r}: {why}")

    @property
    def regularized(self) -> bool:
        return self.lambda_mu > 0 or self.lambda_sigma > 0

    @property
    def compares(self) -> bool:
        """Whether [V]'s map is held against the category's, which the prompts must name then."""
        return self.regularized or self.pixelwise > 0 or self.total_variation > 0

    @property
    def reads(self) -> bool:
        """Whether a loss needs to know where [V] stands in the prompt and where it looks."""
        return self.compares or self.masked_map > 0 or self.key_lock > 0

    def trains(self, name: str) -> bool:
        """Whether a parameter of the U-Net, by its name, is one that moves."""
        return (
            "unet" in self.train
            or ("cross_attention" in self.train and ".attn2." in name)
            or ("key_value" in self.train and (".attn2.to_k." in name or ".attn2.to_v." in name))
        )


@dataclass(frozen=True)
class Recipe:
    """A named sequence of stages.

    Attributes:
        init: what the row of [V] starts as: "category", or a word of the vocabulary ("sks" is the
            rare token that DreamBooth keeps fixed).
        subject: what ``{}`` in a prompt becomes: "{v} {category}", or "{v}" alone.
        vectors: rows per concept.
        lora: stages train low-rank adapters of the U-Net's layers in place of the layers; None:
            the layers themselves.
    """

    name: str
    stages: tuple[Stage, ...]
    init: str = "category"
    subject: str = "{v} {category}"
    vectors: int = 1
    lora: Lora | None = None

    def __post_init__(self) -> None:
        names = [s.name for s in self.stages]
        if not self.stages:
            raise ValueError(f"recipe {self.name!r} has no stages")
        if len(set(names)) != len(names):
            raise ValueError(f"recipe {self.name!r}: stage names must differ, got {names}")
        if self.vectors < 1:
            raise ValueError(
                f"recipe {self.name!r}: vectors must be at least 1, got {self.vectors}"
            )
        if "{v}" not in self.subject:
            raise ValueError(
                f"recipe {self.name!r}: subject must contain {{v}}, got {self.subject!r}"
            )

    @property
    def steps(self) -> int:
        """Optimizer steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def needs_masks(self) -> bool:
        """Whether a stage is shown where the subject truly is."""
        return any(stage.masked_map for stage in self.stages)


def scaled(recipe: Recipe, *, steps: float = 1.0, lr: float = 1.0, weight: float = 1.0) -> Recipe:
    """A recipe with its steps, learning rates and regularizer weights multiplied.

    Every stage keeps at least one step.

    Raises:
        ValueError: numbers that no stage can have.
    """
    if not 0 < steps < math.inf:
        raise ValueError(f"steps must be multiplied by a positive number, got {steps!r}")

    def change(stage: Stage) -> Stage:
        return replace(
            stage,
            steps=max(1, round(stage.steps * steps)),
            lr=stage.lr * lr,
            embedding_lr=stage.embedding_lr and stage.embedding_lr * lr,
            lambda_mu=stage.lambda_mu * weight,
            lambda_sigma=stage.lambda_sigma * weight,
        )

    return replace(recipe, stages=tuple(map(change, recipe.stages)))
