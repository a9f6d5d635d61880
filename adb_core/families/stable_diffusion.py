"""Stable Diffusion 1.x and 2.x, and what was distilled from them: one text encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import loading
from ..loading import Source
from ..seam import Text, TextStates
from .latent import LatentDiffusion


@dataclass
class StableDiffusion(LatentDiffusion):
    """Stable Diffusion 1.x and 2.x: no pooled states. See :class:`adb_core.seam.Base`."""

    name: str
    revision: str | None
    tokenizer: Any
    text_encoder: Any
    vae: Any
    unet: Any
    scheduler: Any
    device: torch.device
    dtype: torch.dtype

    FOLDERS = ("tokenizer", "text_encoder", "vae", "unet", "scheduler")

    @classmethod
    def load(cls, source: Source, device: torch.device, dtype: torch.dtype) -> StableDiffusion:
        """Read the parts, frozen and in order for drawing.

        Raises:
            BaseModelError: a part is missing, damaged, or not of one family.
        """
        loading.check_configurations(source.name, loading.load_configurations(source))
        with loading.explained(source):
            from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
            from transformers import CLIPTextModel, CLIPTokenizer

            place, at = source.place, source.at
            tokenizer = CLIPTokenizer.from_pretrained(place, subfolder="tokenizer", **at)
            scheduler = DDPMScheduler.from_pretrained(place, subfolder="scheduler", **at)
        text_encoder = loading.load_weights(CLIPTextModel, source, "text_encoder", dtype=dtype)
        vae = loading.load_weights(AutoencoderKL, source, "vae", torch_dtype=dtype)
        unet = loading.load_weights(UNet2DConditionModel, source, "unet", torch_dtype=dtype)
        for module in (text_encoder, vae, unet):
            module.requires_grad_(False).eval().to(device)
        modules = (text_encoder, vae, unet)
        base = cls(source.name, source.revision, tokenizer, *modules, scheduler, device, dtype)
        base.check_words(tokenizer, text_encoder)
        return base

    @property
    def base(self) -> StableDiffusion:
        return self

    @property
    def text(self) -> Text:
        return Text((self.tokenizer,), (self.text_encoder,))

    @property
    def parts(self) -> dict[str, torch.nn.Module]:
        return {"text_encoder": self.text_encoder, "vae": self.vae, "unet": self.unet}

    def encode_prompts(self, ids: Tensor, text: Text | None = None) -> TextStates:
        (encoder,) = (text or self.text).encoders
        return TextStates(encoder(input_ids=ids).last_hidden_state)

    def predict(self, unet: Any, noisy: Tensor, timesteps: Tensor, states: TextStates) -> Tensor:
        return unet(noisy, timesteps, encoder_hidden_states=states.tokens).sample

    def pipeline(self, unet: Any = None, text: Text | None = None) -> Any:
        with loading.quiet():
            from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

        (tokenizer,), (text_encoder,) = text or self.text
        pipeline: Any = StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=self.unet if unet is None else unet,
            scheduler=DPMSolverMultistepScheduler.from_config(self.scheduler.config),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline
