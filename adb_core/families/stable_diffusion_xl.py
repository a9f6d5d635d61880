"""Stable Diffusion XL (Podell et al. 2023, arXiv 2307.01952): two text encoders, and conditions.

Its U-Net reads the states of both encoders side by side, the second encoder's pooled state, and
the sizes of the picture. Both encoders get a row of [V].

Axes: b batch, k tokens, d channels of both encoders' states together, e of the pooled state.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import loading
from ..loading import BaseModelError, Source
from ..seam import Posterior, Text, TextStates
from .latent import LatentDiffusion


@dataclass
class StableDiffusionXL(LatentDiffusion):
    """Stable Diffusion XL and its derivatives. See :class:`adb_core.seam.Base`.

    Attributes:
        text: two tokenizers, which differ in what they pad with, and two text encoders.
        zero_empty: an empty negative prompt is all zeros, as the original wants it, instead of
            the encoded empty text (``force_zeros_for_empty_prompt`` of ``model_index.json``).
    """

    name: str
    revision: str | None
    text: Text
    vae: Any
    unet: Any
    scheduler: Any
    device: torch.device
    dtype: torch.dtype
    zero_empty: bool = True

    FOLDERS = (
        *("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2"),
        *("vae", "unet", "scheduler"),
    )

    @classmethod
    def load(cls, source: Source, device: torch.device, dtype: torch.dtype) -> StableDiffusionXL:
        """Read the parts, frozen and in order for drawing.

        Raises:
            BaseModelError: a part is missing, damaged, or not of one family.
        """
        found = loading.load_configurations(source)
        loading.check_configurations(source.name, found)
        if found.unet.get("addition_embed_type") != "text_time":
            raise BaseModelError(
                f"{source.name}: its U-Net reads no pooled state and no sizes, as one of Stable "
                "Diffusion XL does: download it again, or use 'tiny'"
            )
        with loading.explained(source):
            from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
            from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

            place, at = source.place, source.at
            tokenizers = tuple(
                CLIPTokenizer.from_pretrained(place, subfolder=part, **at)
                for part in ("tokenizer", "tokenizer_2")
            )
            scheduler = DDPMScheduler.from_pretrained(place, subfolder="scheduler", **at)
        config = pooling_configuration(source, tokenizers[1].eos_token_id)
        read, half = loading.load_weights, {"dtype": dtype}
        first = read(CLIPTextModel, source, "text_encoder", **half)
        second = read(CLIPTextModelWithProjection, source, "text_encoder_2", config=config, **half)
        vae = read(AutoencoderKL, source, "vae", torch_dtype=dtype)
        unet = read(UNet2DConditionModel, source, "unet", torch_dtype=dtype)
        for module in (first, second, vae, unet):
            module.requires_grad_(False).eval().to(device)
        text = Text(tokenizers, (first, second))
        zero_empty = loading.load_index(source).get("force_zeros_for_empty_prompt", True)
        parts = (text, vae, unet, scheduler)
        base = cls(source.name, source.revision, *parts, device, dtype, zero_empty)
        base.check_vocabularies()
        return base

    def check_vocabularies(self) -> None:
        """Find tokenizers that do not belong to their text encoders, or to each other.

        Raises:
            BaseModelError: one does not.
        """
        one, other = self.text.tokenizers
        for tokenizer, encoder in zip(*self.text, strict=True):
            self.check_words(tokenizer, encoder)
        if one.get_vocab() != other.get_vocab():
            raise BaseModelError(
                f"{self.name}: its two tokenizers have different words, so one of them is another "
                "model's: download it again, or use 'tiny'"
            )

    @property
    def base(self) -> StableDiffusionXL:
        return self

    @property
    def parts(self) -> dict[str, torch.nn.Module]:
        first, second = self.text.encoders
        return {"text_encoder": first, "text_encoder_2": second, "vae": self.vae, "unet": self.unet}

    # ------------------------------------------------------------ pictures

    def encode_pictures(self, pixels: Tensor) -> Posterior:
        with in_float32(self.vae):
            found = self.vae.encode(pixels.to(self.vae.dtype)).latent_dist
        scale = self.vae.config.scaling_factor
        return Posterior(found.mean.float() * scale, found.std.float() * scale)

    # ------------------------------------------------------------ prompts

    def encode_prompts(self, ids: Tensor, text: Text | None = None) -> TextStates:
        """The last but one layer of both encoders, and the pooled state of the second.

        Args:
            ids: (b, k) of the first tokenizer. The second has the same words, but pads with
                another one, which is put in after the end.
        """
        text = text or self.text
        end = text.tokenizers[0].eos_token_id
        ends = (ids == end).int().cumsum(-1)  # (b, k): how many ends came so far
        padding = (ends > 1) | ((ends == 1) & (ids != end))
        each = [
            encoder(
                input_ids=torch.where(padding, tokenizer.pad_token_id, ids),
                output_hidden_states=True,
            )
            for tokenizer, encoder in zip(*text, strict=True)
        ]
        tokens = torch.cat([states.hidden_states[-2] for states in each], -1)  # (b, k, d)
        return TextStates(tokens, each[1].text_embeds)

    def predict(self, unet: Any, noisy: Tensor, timesteps: Tensor, states: TextStates) -> Tensor:
        # original height and width, the crop's top and left, height and width that are wanted:
        # what the pipeline says of pictures of this size, unless it is told otherwise
        height, width = (cells * self.side // self.latent_side for cells in noisy.shape[-2:])
        sizes = noisy.new_tensor([height, width, 0, 0, height, width])
        conditions = {"text_embeds": states.pooled, "time_ids": sizes.expand(len(noisy), -1)}
        return unet(
            noisy,
            timesteps,
            encoder_hidden_states=states.tokens,
            added_cond_kwargs=conditions,
        ).sample

    # ------------------------------------------------------------ drawing

    def pipeline(self, unet: Any = None, text: Text | None = None) -> Any:
        with loading.quiet():
            from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline

        (tokenizer, tokenizer_2), (encoder, encoder_2) = text or self.text
        pipeline: Any = StableDiffusionXLPipeline(
            vae=self.vae,
            text_encoder=encoder,
            text_encoder_2=encoder_2,
            tokenizer=tokenizer,
            tokenizer_2=tokenizer_2,
            unet=self.unet if unet is None else unet,
            scheduler=DPMSolverMultistepScheduler.from_config(self.scheduler.config),
            force_zeros_for_empty_prompt=self.zero_empty,
            add_watermarker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def pooling_configuration(source: Source, end: int) -> Any:
    """The second encoder's configuration, with the token that its pooled state is taken at.

    XL's own files say 2, with which transformers pools at the largest id of a prompt. That is the
    end as long as nobody adds a word; then it would be [V].
    """
    with loading.explained(source):
        from transformers import CLIPTextConfig

        config = CLIPTextConfig.from_pretrained(
            source.place, subfolder="text_encoder_2", **source.at
        )
    config.eos_token_id = end
    return config


@contextmanager
def in_float32(vae: Any) -> Iterator[None]:
    """Within, a VAE that overflows in half precision computes in float32.

    The original's does (``force_upcast`` in its configuration); repaired ones say that they do
    not. The pipeline does the same when it decodes.
    """
    before = vae.dtype
    if not vae.config.force_upcast or before == torch.float32:
        yield
        return
    vae.float()
    try:
        yield
    finally:
        vae.to(before)
