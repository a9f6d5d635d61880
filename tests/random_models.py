"""Random models with the structure of the real ones, block for block, but narrow: 32 pixels.

What is kept: the blocks and layers a level, where attention is, how many transformer layers it
has, the projections, the middle block or none, the conditions, what is predicted.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from models import tiny_base
from two_encoders import NARROW, POOLED, TIME, WIDE, two_encoder_base

CROSS, UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
LINEAR: dict[str, Any] = {"use_linear_projection": True}
STRUCTURES: dict[str, dict[str, Any]] = {
    "sd15": {
        "down_block_types": (CROSS, CROSS, CROSS, "DownBlock2D"),
        "up_block_types": ("UpBlock2D", UP, UP, UP),
        "block_out_channels": (8, 16, 16, 16),
        "attention_head_dim": 2,
        "layers_per_block": 2,
    },
    "sd21": {
        "down_block_types": (CROSS, CROSS, CROSS, "DownBlock2D"),
        "up_block_types": ("UpBlock2D", UP, UP, UP),
        "block_out_channels": (8, 16, 16, 16),
        "attention_head_dim": (1, 2, 2, 2),
        "layers_per_block": 2,
        **LINEAR,
    },
    "sdxl": {
        "down_block_types": ("DownBlock2D", CROSS, CROSS),
        "up_block_types": (UP, UP, "UpBlock2D"),
        "block_out_channels": (8, 8, 16),
        "attention_head_dim": (1, 1, 2),
        "transformer_layers_per_block": (1, 2, 3),  # 1, 2, 10 in the real one
        "layers_per_block": 2,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": TIME,
        "projection_class_embeddings_input_dim": POOLED + 6 * TIME,
        **LINEAR,
    },
    "bk-sdm-v2-tiny": {
        "down_block_types": (CROSS, CROSS, CROSS),
        "up_block_types": (UP, UP, UP),
        "mid_block_type": None,
        "block_out_channels": (8, 16, 16),
        "attention_head_dim": (1, 2, 2),
        "layers_per_block": 1,
        **LINEAR,
    },
}
# cross-attention layers: a transformer layer has one; sdxl has 70, of 10 layers where we have 3
LAYERS = {"sd15": 16, "sd21": 16, "sdxl": 2 * 2 + 2 * 3 + 3 + 3 * 3 + 3 * 2, "bk-sdm-v2-tiny": 9}


# What the narrow ones were narrowed from, and how many parameters the real U-Nets have.
LARGE = (320, 640, 1280, 1280)
FULL: dict[str, tuple[dict[str, Any], int]] = {
    "sd15": (
        {"block_out_channels": LARGE, "attention_head_dim": 8, "cross_attention_dim": 768},
        859_520_964,
    ),
    "sd21": (
        {
            "block_out_channels": LARGE,
            "attention_head_dim": (5, 10, 20, 20),
            "cross_attention_dim": 1024,
        },
        865_910_724,
    ),
    "sdxl": (
        {
            "block_out_channels": LARGE[:3],
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "transformer_layers_per_block": (1, 2, 10),
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 1280 + 6 * 256,
        },
        2_567_463_684,
    ),
    "bk-sdm-v2-tiny": (
        {
            "block_out_channels": LARGE[:3],
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 1024,
        },
        326_825_604,
    ),
}


def full_unet(kind: str) -> UNet2DConditionModel:
    """The real U-Net's structure at its full width, without any memory for its weights."""
    with torch.device("meta"):
        return UNet2DConditionModel(**{**STRUCTURES[kind], **FULL[kind][0]})


@cache
def shared_base(kind: str):
    """One model for many tests that leave it as it is."""
    return random_base(kind)


def random_base(kind: str, seed: int = 0):
    """A whole random model on the CPU."""
    base = two_encoder_base(seed) if kind == "sdxl" else tiny_base(seed=seed)
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=16,
        cross_attention_dim=NARROW + WIDE if kind == "sdxl" else NARROW,
        norm_num_groups=4,
        **STRUCTURES[kind],
    )
    base.unet = unet.requires_grad_(False).eval()
    return base
