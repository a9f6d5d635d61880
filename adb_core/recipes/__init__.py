"""Recipes: what is trained, for how long, with which regularizer. Data only; one engine runs them all.

Every method and every ablation of the paper is a :class:`Recipe`. The ``paper`` preset holds the
authors' own numbers for Stable Diffusion 2.1 at 512 px; the ``tiny`` preset is tuned for the
bundled model on the tuning half of the concepts (``benchmarks/tune.py``; what it found is in
``benchmarks/tuning.md``). Each is the best of its nine settings; the fast version is the three
stages' best setting with fewer steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

TRAINABLE = ("embedding", "cross_attention", "unet")
PRESETS = ("tiny", "paper")

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
            parameter of every ``attn2``), "unet" (all of the U-Net, cross-attention included).
        steps: optimizer steps; batch_size: samples per optimizer step.
        lr: AdamW's constant learning rate; embedding_lr: another one for the row, if not None.
        lambda_mu, lambda_sigma: weights of the attention regularizer; both 0 switches it off.
        reduction: over the batch, "sum" as the authors have it, or "mean".
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
    prior_weight: float = 0.0
    prompts: tuple[str, ...] = ("a photo of a {}",)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-2
    eps: float = 1e-8
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        unknown = set(self.train) - set(TRAINABLE)
        if unknown or not self.train:
            raise ValueError(
                f"stage {self.name!r}: train must name some of {', '.join(TRAINABLE)}, got {self.train!r}"
            )
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError(
                f"stage {self.name!r}: steps and batch_size must be at least 1, got {self.steps} and {self.batch_size}"
            )
        for name in ("lr", "embedding_lr", "max_grad_norm"):
            value = getattr(self, name)
            if value is not None and not (0 < value < math.inf):
                raise ValueError(
                    f"stage {self.name!r}: {name} must be positive and finite, got {value!r}"
                )
        for name in ("lambda_mu", "lambda_sigma", "prior_weight", "weight_decay"):
            if not (0 <= getattr(self, name) < math.inf):
                raise ValueError(
                    f"stage {self.name!r}: {name} must not be negative or infinite, got {getattr(self, name)!r}"
                )
        if self.reduction not in ("sum", "mean"):
            raise ValueError(
                f"stage {self.name!r}: unknown reduction {self.reduction!r}: choose 'sum' or 'mean'"
            )
        if not self.prompts or any(p.count("{}") != 1 for p in self.prompts):
            raise ValueError(
                f"stage {self.name!r}: every training prompt needs exactly one {{}}, got {self.prompts!r}"
            )

    @property
    def regularized(self) -> bool:
        return self.lambda_mu > 0 or self.lambda_sigma > 0


@dataclass(frozen=True)
class Recipe:
    """A named sequence of stages.

    Attributes:
        init: what the row of [V] starts as: "category", or a word of the vocabulary ("sks" is the
            rare token that DreamBooth keeps fixed).
        subject: what ``{}`` in a prompt becomes: "{v} {category}", or "{v}" alone.
        vectors: rows per concept.
    """

    name: str
    stages: tuple[Stage, ...]
    init: str = "category"
    subject: str = "{v} {category}"
    vectors: int = 1

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError(f"recipe {self.name!r} has no stages")
        if len({s.name for s in self.stages}) != len(self.stages):
            raise ValueError(
                f"recipe {self.name!r}: stage names must differ, got {[s.name for s in self.stages]}"
            )
        if self.vectors < 1:
            raise ValueError(
                f"recipe {self.name!r}: vectors must be at least 1, got {self.vectors}"
            )
        if "{v}" not in self.subject:
            raise ValueError(
                f"recipe {self.name!r}: subject must contain {{v}}, got {self.subject!r}"
            )


def _attndreambooth(preset: str) -> Recipe:
    """The paper's three stages (arXiv 2406.05000, section 4.1 and the authors' defaults)."""
    if preset == "paper":
        lrs, steps, lambdas = (
            (1e-3, 2e-5, 2e-6),
            (60, 100, 500),
            ((0.1, 0.0), (2.0, 5.0), (2.0, 5.0)),
        )
    else:
        lrs, steps, lambdas = (5e-3, 2e-4, 1e-4), (40, 60, 80), ((0.1, 0.0), (2.0, 5.0), (2.0, 5.0))
    trains = (("embedding",), ("cross_attention",), ("unet",))
    names = ("alignment", "attention", "identity")
    return Recipe(
        "attndreambooth",
        tuple(
            Stage(
                n,
                t,
                s,
                lr,
                batch_size=8 if preset == "paper" else 4,
                lambda_mu=mu,
                lambda_sigma=sigma,
            )
            for n, t, s, lr, (mu, sigma) in zip(names, trains, steps, lrs, lambdas)
        ),
    )


def _fast(preset: str) -> Recipe:
    """The authors' fast version: a shorter third stage at a higher learning rate, batch 4."""
    full = _attndreambooth(preset)
    third = full.stages[2]
    quick = (
        replace(third, steps=200, lr=1e-5, batch_size=4)
        if preset == "paper"
        else replace(third, steps=40, lr=2e-4)
    )
    return replace(full, name="attndreambooth_fast", stages=(*full.stages[:2], quick))


def _textual_inversion(preset: str) -> Recipe:
    """Gal et al. 2022: only the row moves, for long; the prompt has no category word."""
    stage = (
        Stage(
            "inversion",
            ("embedding",),
            5000,
            5e-3,
            batch_size=4,
            prompts=TEMPLATES,
            weight_decay=1e-2,
        )
        if preset == "paper"
        else Stage("inversion", ("embedding",), 140, 5e-3, batch_size=4, prompts=TEMPLATES)
    )
    return Recipe("textual_inversion", (stage,), subject="{v}")


def _dreambooth(preset: str) -> Recipe:
    """Ruiz et al. 2023: a rare token that stays, the whole U-Net moves."""
    stage = (
        Stage("finetune", ("unet",), 800, 5e-6, batch_size=4)
        if preset == "paper"
        else Stage("finetune", ("unet",), 180, 1e-4, batch_size=4)
    )
    return Recipe("dreambooth", (stage,), init="sks")


def _ti_dreambooth(preset: str) -> Recipe:
    """Both at once: the row and the U-Net move together."""
    stage = (
        Stage("joint", ("embedding", "unet"), 800, 5e-6, batch_size=4, embedding_lr=5e-4)
        if preset == "paper"
        else Stage("joint", ("embedding", "unet"), 180, 1e-4, batch_size=4, embedding_lr=5e-3)
    )
    return Recipe("ti_dreambooth", (stage,))


def _without(preset: str, dropped: str) -> Recipe:
    full = _attndreambooth(preset)
    if dropped == "regularizer":
        stages = tuple(replace(s, lambda_mu=0.0, lambda_sigma=0.0) for s in full.stages)
    else:
        stages = tuple(s for k, s in enumerate(full.stages, 1) if k != int(dropped))
    return replace(
        full,
        name=f"without_{'regularizer' if dropped == 'regularizer' else 'stage_' + dropped}",
        stages=stages,
    )


_RECIPES = {
    "attndreambooth": _attndreambooth,
    "attndreambooth_fast": _fast,
    "textual_inversion": _textual_inversion,
    "dreambooth": _dreambooth,
    "dreambooth_prior": lambda p: replace(
        _dreambooth(p),
        name="dreambooth_prior",
        stages=tuple(replace(s, prior_weight=1.0) for s in _dreambooth(p).stages),
    ),
    "ti_dreambooth": _ti_dreambooth,
    "without_stage_1": lambda p: _without(p, "1"),
    "without_stage_2": lambda p: _without(p, "2"),
    "without_stage_3": lambda p: _without(p, "3"),
    "without_regularizer": lambda p: _without(p, "regularizer"),
}
RECIPES = tuple(_RECIPES)


def recipe(name: str, preset: str = "tiny") -> Recipe:
    """A named recipe.

    Raises:
        ValueError: unknown recipe or preset; the message lists them.
    """
    if name not in _RECIPES:
        raise ValueError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
    return _RECIPES[name](preset)
