"""Models of the real shapes with random weights: what they compute is noise, what it costs is not.

Nothing is downloaded. The tokenizer is the toy world's with 77 tokens a prompt, so the text encoder
has its vocabulary; everything else is as in the named model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from adb_core.base import StableDiffusion


@dataclass(frozen=True)
class Shape:
    """What tells two families of one text encoder apart.

    Attributes:
        heads: of the U-Net's levels (diffusers calls them attention_head_dim).
        text: channels, layers, heads and activation of the text encoder.
        prediction: what the U-Net predicts; side: pixels; narrow: every width is divided by it.
    """

    heads: tuple[int, ...] | int
    linear: bool
    text: tuple[int, int, int, str]
    prediction: str
    side: int = 512
    narrow: int = 1


SHAPES = {
    "sd21": Shape((5, 10, 20, 20), True, (1024, 23, 16, "gelu"), "epsilon"),
    "sd15": Shape(8, False, (768, 12, 12, "quick_gelu"), "epsilon"),
}


def narrowed(shape: Shape, narrow: int, side: int) -> Shape:
    """The same blocks, ``narrow`` times as thin, for ``side`` pixels: to try a script on a CPU."""
    heads = shape.heads if isinstance(shape.heads, int) else (1, 2, 4, 4)
    width, layers, _, activation = shape.text
    text = (width // narrow, min(layers, 2), 2, activation)
    return replace(shape, narrow=narrow, side=side, heads=min(heads, 2) if heads == 8 else heads,
                   text=text)  # fmt: skip


def random_base(shape: Shape, device: torch.device, seed: int = 0) -> StableDiffusion:
    """A frozen model of that shape, made on the device."""
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from adb_core.tinymodel.tokenizer import build_tokenizer

    tokenizer, thin = build_tokenizer(), shape.narrow
    tokenizer.model_max_length = 77
    width, layers, heads, activation = shape.text
    widths = tuple(w // thin for w in (320, 640, 1280, 1280))
    torch.manual_seed(seed)
    with torch.device(device):
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=width,
                intermediate_size=4 * width,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                hidden_act=activation,
                max_position_embeddings=77,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        unet = UNet2DConditionModel(
            sample_size=shape.side // 8,
            cross_attention_dim=width,
            attention_head_dim=shape.heads,
            use_linear_projection=shape.linear,
            block_out_channels=widths,
            norm_num_groups=32 if thin == 1 else 4,
        )
        vae = AutoencoderKL(
            block_out_channels=tuple(w // thin for w in (128, 256, 512, 512)),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            norm_num_groups=32 if thin == 1 else 4,
            latent_channels=4,
            sample_size=shape.side,
        )
    scheduler = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=shape.prediction,
        clip_sample=False,
        steps_offset=1,
    )
    for module in (text, vae, unet):
        module.requires_grad_(False).eval()
    name = "random weights"
    return StableDiffusion(
        name, None, tokenizer, text, vae, unet, scheduler, torch.device(device), torch.float32
    )
