"""Tiers: how a model is trained in the memory that there is.

Every tier computes the same steps: the batch of the recipe, in micro-batches whose gradients are
averaged and whose regularizer is still the sum over the whole batch. What differs is what is kept
in memory. All of them keep the weights that are trained in float32, cache the latents of all views
and, where the rows of [V] are fixed, the text states, and use the fused attention kernel.

GiB here are estimates by arithmetic. On a CPU they were held against measurements, from a U-Net of
14 million parameters to the full size, and lie 4 % below to 13 % above (``benchmarks/RESULTS.md``);
on GPUs nothing was measured. Where one is too low, memory runs out and the run steps down a tier
(:mod:`adb_core.fallback`).
"""

# fmt: off
from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from .base import Base
from .engine import TrainingError
from .optimizers import can_8bit
from .options import RunOptions
from .recipes import Recipe, Stage
from .system.devices import has_bf16
from .system.memory import GIB


@dataclass(frozen=True)
class Tier:
    """What is done to save memory.

    Attributes:
        precision: of the U-Net's passes; "half" is bf16 where the GPU has it, else fp16.
        checkpointing: activations are computed twice instead of kept.
        optimizer: "adamw", or "adam8bit", whose moments take a quarter.
        micro_batch: samples at once, of Stable Diffusion 2.1 at 512 pixels; of a smaller model or
            picture as many more as take the same room.
        offload: the VAE, and text encoders that a stage does not run, wait outside the GPU.
        channels_last: the U-Net's memory format. tf32: float32 products with TF32's mantissa.
    """

    name: str
    precision: str
    checkpointing: bool
    optimizer: str
    micro_batch: int
    offload: bool
    channels_last: bool
    tf32: bool


#                   precision check- optimizer   micro off-  chan- tf32
#                             point              batch load  nels
TIERS = {tier.name: tier for tier in (  # from the widest GPU to the narrowest
    Tier("gpu80",   "half", False, "adamw",    8, False, True,  True),
    Tier("gpu24",   "half", True,  "adamw",    4, True,  True,  True),
    Tier("gpu16",   "half", True,  "adam8bit", 2, True,  True,  True),
    Tier("gpu8",    "half", True,  "adam8bit", 1, True,  True,  True),
    Tier("cpu",     "auto", False, "adamw",    1, True,  False, False),
)}
GPU_TIERS = [name for name in TIERS if name != "cpu"]

# Activations of one sample of Stable Diffusion 2.1 at 512 pixels, kept and with checkpointing. 1.3
# GiB are counted in tensors of 16 bits that backward needs, 0.15 with checkpointing; in half
# precision normalizations keep 32 bits, and of a checkpointed block all is there while it is
# computed again. In float32 all is twice as large, which was measured as 2.2 to 2.4, and as 1.2.
HALF_GIB, FLOAT_GIB = (2.2, 0.6), (2.6, 1.2)
# The device's context, the libraries' workspaces, fragments; on a CPU the program itself.
AROUND_GIB, PROGRAM_GIB = 0.8, 0.5
SD21_UNET, SD21_CELLS = 865_910_724, 64 * 64
# fmt: on


@dataclass(frozen=True)
class ModelSize:
    """What memory depends on: parameters of the U-Net, of its ``attn2``, of all other parts.

    Attributes:
        cells: of a picture's latents; width: bytes of a weight of the base, 2 in half precision.
    """

    unet: int
    cross_attention: int
    text: int
    rest: int
    cells: int
    width: int = 4

    @property
    def sample(self) -> float:
        """Activations of a sample as a share of Stable Diffusion 2.1's at 512 pixels."""
        return self.cells / SD21_CELLS * (self.unet / SD21_UNET) ** 0.5


SD21 = ModelSize(SD21_UNET, 50_352_320, 340_387_840, 83_653_863, SD21_CELLS)


def model_size(base: Base, resolution: int | None = None) -> ModelSize:
    """The size of a loaded model, at its own resolution or another one."""
    unet = base.parts["unet"]
    named = [(name, p.numel()) for name, p in unet.named_parameters()]
    text = sum(p.numel() for encoder in base.text.encoders for p in encoder.parameters())
    every = sum(p.numel() for part in base.parts.values() for p in part.parameters())
    whole = sum(number for _, number in named)
    cells = (base.latent_side * (resolution or base.side) // base.side) ** 2
    attn2 = sum(number for name, number in named if ".attn2." in name)
    return ModelSize(whole, attn2, text, every - whole - text, cells, base.dtype.itemsize)


def estimate(
    tier: Tier, size: ModelSize, plan: Recipe, optimizer: str = "", shares: int = 1
) -> float:
    """GiB that a recipe's largest stage is estimated to need on a device, with the model itself.

    Args:
        optimizer: the one that is there, if not the tier's own.
        shares: into how many a U-Net that is trained alone is cut up (:mod:`adb_core.sharding`).
    """
    few = getattr(plan, "lora", None) is not None  # adapters: a percent of the weights or less
    optimizer = optimizer or tier.optimizer
    return max(_stage_gib(tier, size, stage, optimizer, (few, shares)) for stage in plan.stages)


def _stage_gib(
    tier: Tier, size: ModelSize, stage: Stage, optimizer: str, how: tuple[bool, int]
) -> float:
    (few, shares), trained = how, 0
    if "unet" in stage.train:
        trained = size.unet // 100 if few else size.unet
    elif "cross_attention" in stage.train:
        trained = size.cross_attention
    half = tier.name != "cpu"
    state = 4 + (2 if optimizer == "adam8bit" else 8)  # gradient, moments: bytes a weight
    weights: float = size.width * size.unet + state * trained
    if stage.train == ("unet",) and not few:
        weights = max(weights / shares, 4 * size.unet)  # whole before and after the stage
    weights += 2 * size.unet if half and size.width == 4 else 0  # what autocast makes of them
    moving = "embedding" in stage.train
    if tier.offload:
        weights += size.width * size.text if moving else 0
    else:  # of its encoders the word has but the table anew
        weights += size.width * (size.text + size.rest)
    kept, checkpointed = HALF_GIB if half else FLOAT_GIB
    each = (checkpointed if tier.checkpointing else kept) * size.sample
    samples = min(stage.batch_size, samples_at_once(tier, size))
    return weights / GIB + samples * each + (AROUND_GIB if half else PROGRAM_GIB)


def samples_at_once(tier: Tier, size: ModelSize) -> int:
    """The micro-batch of a model of that size."""
    return max(1, int(tier.micro_batch / size.sample))


# ---------------------------------------------------------------- which one


def choose(
    free: float,
    device: torch.device,
    size: ModelSize,
    plan: Recipe,
    name: str = "auto",
    shares: int = 1,
) -> tuple[Tier, str]:
    """The widest tier that fits by estimate, and why in one line.

    Args:
        free: GiB, before anything is loaded. name: "auto", or one tier, which has to fit.
        shares: as :func:`estimate` takes them; 8-bit Adam cannot be shared out.

    Raises:
        TrainingError: unknown, not this device's, or no tier that fits; says what would.
    """
    fitting = of(name, device)
    for tier in fitting:
        optimizer = available(tier, device) if shares == 1 else "adamw"
        need = estimate(tier, size, plan, optimizer, shares)
        fits = need <= free
        if fits or device.type == "cpu":  # which can swap, and has no tier below
            verdict = "" if fits else ", which may not do: --resolution and --batch lower it"
            how = describe(tier, size, optimizer)
            return (
                tier,
                f"tier {tier.name} ({how}): {need:.1f} GiB by estimate, {free:.1f} free"
                + (verdict),
            )
    raise TrainingError(
        f"{'no tier' if name == 'auto' else f'tier {name}'} fits: {need:.1f} GiB by estimate "
        f"{'with the narrowest, ' if name == 'auto' else ''}and {free:.1f} are free: train fewer "
        f"weights (without_stage_3, LoRA) or at a lower --resolution{_missing(device)}"
    )


def of(name: str, device: torch.device) -> list[Tier]:
    """The tiers of that name on a device; "auto" names all, the widest first.

    Raises:
        TrainingError: unknown, or another device's, or without a package that it needs.
    """
    if name != "auto" and name not in TIERS:
        raise TrainingError(f"unknown tier {name!r}: choose auto, {', '.join(TIERS)}")
    mine = GPU_TIERS if device.type == "cuda" else ["cpu"]
    if name == "auto":
        return [TIERS[each] for each in mine]
    if name not in mine:
        raise TrainingError(f"tier {name} is not for {device.type}: choose auto, {', '.join(mine)}")
    available(TIERS[name], device, strict=True)
    return [TIERS[name]]


def available(tier: Tier, device: torch.device, strict: bool = False) -> str:
    """The tier's optimizer, or AdamW where 8 bits are not to be had.

    Raises:
        TrainingError: if ``strict``, instead of AdamW.
    """
    if tier.optimizer == "adam8bit" and not can_8bit(device):
        if strict:
            raise TrainingError(
                f"tier {tier.name} needs bitsandbytes, which is not installed: "
                "pip install bitsandbytes, or take tier auto"
            )
        return "adamw"
    return tier.optimizer


def _missing(device: torch.device) -> str:
    is_there = device.type != "cuda" or can_8bit(device)
    return "" if is_there else "; pip install bitsandbytes lets the optimizer take a quarter"


def describe(tier: Tier, size: ModelSize, optimizer: str) -> str:
    """What a tier does, in some words."""
    parts = [
        "activations twice" if tier.checkpointing else "activations kept",
        {"adamw": "AdamW", "adam8bit": "8-bit Adam"}[optimizer],
        f"at most {samples_at_once(tier, size)} samples at once",
    ]
    return ", ".join(parts)


# ---------------------------------------------------------------- as options


def fitted(options: RunOptions, tier: Tier, size: ModelSize, device: torch.device) -> RunOptions:
    """Options with a tier's; an optimizer that is not installed is AdamW instead."""
    return replace(
        options,
        tier=tier.name,
        gradient_checkpointing=tier.checkpointing,
        optimizer=available(tier, device),
        micro_batch=samples_at_once(tier, size),
        offload=tier.offload,
        channels_last=tier.channels_last,
    )


def precision_for(device: torch.device, asked: str = "auto") -> str:
    """A precision by Accelerate's name for it; "auto" is what the device's tiers have."""
    if asked != "auto" or of("auto", device)[0].precision != "half":
        return asked
    return "bf16" if has_bf16(device) else "fp16"


def narrower(name: str) -> Tier | None:
    """The tier below, if there is one."""
    names = list(GPU_TIERS)
    if name not in names or name == names[-1]:
        return None
    return TIERS[names[names.index(name) + 1]]


def is_narrower(name: str | None, other: str | None) -> bool:
    """Whether one GPU's tier stands below another."""
    if name not in GPU_TIERS or other not in GPU_TIERS:
        return False
    return GPU_TIERS.index(name) > GPU_TIERS.index(other)
