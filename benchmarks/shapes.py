"""Models of the real shapes with random weights: what they compute is noise, what it costs is not.

Nothing is downloaded. The tokenizers are the toy world's with 77 tokens a prompt, so the text
encoders have its vocabulary; everything else is as in the named model.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch

from adb_core.base import StableDiffusion, StableDiffusionXL, Text

CROSS, UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
FOUR = {
    "down_block_types": (CROSS, CROSS, CROSS, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", UP, UP, UP),
}
THREE = {
    "down_block_types": ("DownBlock2D", CROSS, CROSS),
    "up_block_types": (UP, UP, "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
}


class Encoder(NamedTuple):
    """A CLIP text encoder: channels, layers, heads, activation; pooled channels, if it has them."""

    width: int
    layers: int
    heads: int
    activation: str
    pooled: int = 0


@dataclass(frozen=True)
class Shape:
    """What tells the families apart.

    Attributes:
        heads: of the U-Net's levels (diffusers calls them attention_head_dim); widths: channels.
        prediction: what the U-Net predicts; side: pixels; more: of the U-Net's configuration.
        narrow: every width was divided by it.
    """

    encoders: tuple[Encoder, ...]
    widths: tuple[int, ...]
    heads: tuple[int, ...]
    more: dict[str, Any] = field(default_factory=dict)
    side: int = 512
    prediction: str = "epsilon"
    narrow: int = 1


LARGE = (320, 640, 1280, 1280)
LINEAR = {"use_linear_projection": True}
CLIP_L, CLIP_H = Encoder(768, 12, 12, "quick_gelu"), Encoder(1024, 23, 16, "gelu")
SHAPES = {
    "sd21": Shape((CLIP_H,), LARGE, (5, 10, 20, 20), {**FOUR, **LINEAR}),
    "sd15": Shape((CLIP_L,), LARGE, (8, 8, 8, 8), FOUR),
    "sdxl": Shape(
        (CLIP_L, Encoder(1280, 32, 20, "gelu", pooled=1280)),
        LARGE[:3],
        (5, 10, 20),
        {**THREE, **LINEAR},
        side=1024,
    ),
}


def narrowed(shape: Shape, narrow: int, side: int) -> Shape:
    """The same blocks, ``narrow`` times as thin, for ``side`` pixels: to try a script on a CPU."""
    thin = tuple(
        Encoder(e.width // narrow, 2, 2, e.activation, e.pooled // narrow) for e in shape.encoders
    )
    widths = tuple(width // narrow for width in shape.widths)
    heads = tuple(1 if shape.heads[0] == 5 and k == 0 else 2 for k in range(len(widths)))
    return replace(shape, encoders=thin, widths=widths, heads=heads, side=side, narrow=narrow)


def random_base(shape: Shape, device: torch.device, seed: int = 0):
    """A frozen model of that shape, made on the device."""
    from diffusers import DDPMScheduler

    from adb_core.tinymodel.tokenizer import build_tokenizer

    tokenizers = [build_tokenizer() for _ in shape.encoders]
    for tokenizer in tokenizers:
        tokenizer.model_max_length = 77
    torch.manual_seed(seed)
    with torch.device(device):
        pairs = zip(shape.encoders, tokenizers, strict=True)
        encoders = [_text_encoder(each, tokenizer) for each, tokenizer in pairs]
        unet, vae = _unet(shape), _vae(shape)
    scheduler = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=shape.prediction,
        clip_sample=False,
        steps_offset=1,
    )
    for module in (*encoders, vae, unet):
        module.requires_grad_(False).eval()
    rest = (vae, unet, scheduler, torch.device(device), torch.float32)
    if len(encoders) == 1:
        return StableDiffusion("random weights", None, tokenizers[0], encoders[0], *rest)
    text = Text(tuple(tokenizers), tuple(encoders))
    return StableDiffusionXL("random weights", None, text, *rest)


def _text_encoder(each: Encoder, tokenizer: Any) -> torch.nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=each.width,
        intermediate_size=4 * each.width,
        num_hidden_layers=each.layers,
        num_attention_heads=each.heads,
        hidden_act=each.activation,
        max_position_embeddings=77,
        projection_dim=each.pooled or each.width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return (CLIPTextModelWithProjection if each.pooled else CLIPTextModel)(config)


def _unet(shape: Shape) -> torch.nn.Module:
    from diffusers import UNet2DConditionModel

    more = dict(shape.more)
    if "addition_time_embed_dim" in more:  # six sizes beside the pooled state
        pooled = shape.encoders[-1].pooled
        more["projection_class_embeddings_input_dim"] = pooled + 6 * more["addition_time_embed_dim"]
    return UNet2DConditionModel(
        sample_size=shape.side // 8,
        cross_attention_dim=sum(each.width for each in shape.encoders),
        attention_head_dim=shape.heads,
        block_out_channels=shape.widths,
        norm_num_groups=32 if shape.narrow == 1 else 4,
        **more,
    )


def _vae(shape: Shape) -> torch.nn.Module:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=tuple(width // shape.narrow for width in (128, 256, 512, 512)),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        norm_num_groups=32 if shape.narrow == 1 else 4,
        latent_channels=4,
        sample_size=shape.side,
    )
