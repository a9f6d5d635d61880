"""A random model of SDXL's kind: two text encoders, pooled states and size conditioning."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from models import tiny_base
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from adb_core.base import StableDiffusionXL, Text

NARROW, WIDE, POOLED, TIME = 12, 20, 7, 8  # channels of the encoders' states, and of conditions


def two_encoder_base(seed: int = 0) -> StableDiffusionXL:
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
    encoders = (plain.text_encoder, CLIPTextModelWithProjection(config))
    for module in (*encoders, unet):
        module.requires_grad_(False).eval()
    text = Text((plain.tokenizer, other.tokenizer), encoders)
    parts = (text, plain.vae, unet, plain.scheduler)
    return StableDiffusionXL("two", None, *parts, plain.device, plain.dtype)
