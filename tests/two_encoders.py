"""A test double for a family with two text encoders, pooled states and size conditioning, as SDXL.

It is all that another family needs: one class with the methods of ``adb_core.base.Base``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from models import tiny_base
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from adb_core.base import Posterior, Text, TextStates
from adb_core.loading import fingerprint

NARROW, WIDE, POOLED, TIME = 12, 20, 7, 8  # channels of the encoders' states, and of conditions


@dataclass
class TwoEncoders:
    """A random model of SDXL's kind; see :class:`adb_core.base.Base`."""

    name: str
    revision: str | None
    text: Text
    vae: Any
    unet: Any
    scheduler: Any
    device: torch.device
    dtype: torch.dtype

    subject = None
    concept = None
    words = ()
    recipe_name = "base"

    @property
    def base(self) -> TwoEncoders:
        return self

    @property
    def parts(self) -> dict[str, torch.nn.Module]:
        first, second = self.text.encoders
        return {"text_encoder": first, "text_encoder_2": second, "vae": self.vae, "unet": self.unet}

    @property
    def prediction_type(self) -> str:
        return self.scheduler.config.prediction_type

    @property
    def latent_side(self) -> int:
        return self.unet.config.sample_size

    @property
    def side(self) -> int:
        return self.latent_side * 2

    def expand(self, prompt: str) -> str:
        return prompt

    def encode_pictures(self, pixels: Tensor) -> Posterior:
        found = self.vae.encode(pixels).latent_dist
        scale = self.vae.config.scaling_factor
        return Posterior(found.mean * scale, found.std * scale)

    def encode_prompts(self, ids: Tensor, text: Text | None = None) -> TextStates:
        text = text or self.text
        # the two tokenizers differ in what they pad with
        pads = [tokenizer.pad_token_id for tokenizer in text.tokenizers]
        ends = (ids == text.tokenizers[0].eos_token_id).int().cumsum(-1)  # (b, k)
        after = (ends > 1) | ((ends == 1) & (ids != text.tokenizers[0].eos_token_id))
        each = [
            encoder(torch.where(after, pad, ids), output_hidden_states=True)
            for encoder, pad in zip(text.encoders, pads, strict=True)
        ]
        tokens = torch.cat([states.hidden_states[-2] for states in each], -1)  # (b, k, d1 + d2)
        return TextStates(tokens, each[1].text_embeds)

    def predict(self, unet: Any, noisy: Tensor, timesteps: Tensor, states: TextStates) -> Tensor:
        sizes = noisy.new_tensor([self.side, self.side, 0, 0, self.side, self.side])
        conditions = {
            "text_embeds": states.pooled,
            "time_ids": sizes.expand(len(noisy), -1),
        }
        return unet(
            noisy,
            timesteps,
            encoder_hidden_states=states.tokens,
            added_cond_kwargs=conditions,
        ).sample

    def pipeline(self, unet: Any = None, text: Text | None = None) -> Any:
        (tokenizer, tokenizer_2), (encoder, encoder_2) = text or self.text
        pipeline = StableDiffusionXLPipeline(
            vae=self.vae,
            text_encoder=encoder,
            text_encoder_2=encoder_2,
            tokenizer=tokenizer,
            tokenizer_2=tokenizer_2,
            unet=self.unet if unet is None else unet,
            scheduler=tiny_base().pipeline().scheduler,
            add_watermarker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def fingerprint(self) -> str:
        return fingerprint(self.parts.values(), (self.unet.config,))


def two_encoder_base(seed: int = 0) -> TwoEncoders:
    """A whole random model on the CPU."""
    plain, other = tiny_base(seed=seed), tiny_base(seed=seed)
    torch.manual_seed(seed + 1)
    other.tokenizer.pad_token = "!" if "!</w>" in other.tokenizer.get_vocab() else "a"
    config = CLIPTextConfig(
        vocab_size=len(plain.tokenizer),
        hidden_size=WIDE,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=plain.tokenizer.model_max_length,
        projection_dim=POOLED,
        bos_token_id=plain.tokenizer.bos_token_id,
        eos_token_id=plain.tokenizer.eos_token_id,
        pad_token_id=other.tokenizer.pad_token_id,
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        cross_attention_dim=NARROW + WIDE,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        attention_head_dim=(1, 2),
        use_linear_projection=True,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME,
        projection_class_embeddings_input_dim=POOLED + 6 * TIME,
    )
    encoders: tuple[CLIPTextModel, ...] = (plain.text_encoder, CLIPTextModelWithProjection(config))
    for module in (*encoders, unet):
        module.requires_grad_(False).eval()
    text = Text((plain.tokenizer, other.tokenizer), encoders)
    device, dtype = plain.device, plain.dtype
    return TwoEncoders("two", None, text, plain.vae, unet, plain.scheduler, device, dtype)
