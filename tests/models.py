"""Small random U-Nets for the tests: the block structure of SD 1.5 and SD 2.1, odd sizes, no pretraining."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel

TEXT = 13  # channels of the text states: prime, so that no axis can be mistaken for another
TOKENS = 11


def tiny_unet(kind: str = "sd15", seed: int = 0) -> UNet2DConditionModel:
    """A U-Net with SD's blocks at a fraction of its width: cross-attention at 16, 8 and 4, none at 2."""
    torch.manual_seed(seed)
    sd21 = dict(attention_head_dim=(1, 2, 2, 2), use_linear_projection=True)
    return UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, cross_attention_dim=TEXT, layers_per_block=2,
        block_out_channels=(8, 16, 16, 16), norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        **(sd21 if kind == "sd21" else dict(attention_head_dim=2)),
    ).eval()


def inputs(batch: int = 3, seed: int = 1, height: int = 16, width: int = 16):
    """Latents (b, 4, height, width), timesteps (b,) and text states (b, TOKENS, TEXT)."""
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(batch, 4, height, width, generator=g), torch.randint(0, 1000, (batch,), generator=g),
            torch.randn(batch, TOKENS, TEXT, generator=g))
