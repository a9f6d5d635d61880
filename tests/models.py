"""Small random models for the tests: the blocks of SD 1.5 and SD 2.1, odd sizes, no pretraining."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel

TEXT = 13  # channels of the text states: prime, so that no axis can be mistaken for another
TOKENS = 11


def tiny_unet(kind: str = "sd15", seed: int = 0, text: int = TEXT) -> UNet2DConditionModel:
    """A U-Net with SD's blocks, much narrower: cross-attention at 16, 8 and 4, none at 2."""
    torch.manual_seed(seed)
    sd21 = dict(attention_head_dim=(1, 2, 2, 2), use_linear_projection=True)
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        cross_attention_dim=text,
        layers_per_block=2,
        block_out_channels=(8, 16, 16, 16),
        norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        **(sd21 if kind == "sd21" else dict(attention_head_dim=2)),
    ).eval()


def inputs(batch: int = 3, seed: int = 1, height: int = 16, width: int = 16):
    """Latents (b, 4, height, width), timesteps (b,) and text states (b, TOKENS, TEXT)."""
    g = torch.Generator().manual_seed(seed)
    return (
        torch.randn(batch, 4, height, width, generator=g),
        torch.randint(0, 1000, (batch,), generator=g),
        torch.randn(batch, TOKENS, TEXT, generator=g),
    )


def tiny_base(kind: str = "sd15", seed: int = 0):
    """A random base model on the CPU: the toy world's tokenizer, a few thousand parameters."""
    from diffusers import AutoencoderKL, DDPMScheduler
    from transformers import CLIPTextConfig, CLIPTextModel

    from adb_core.base import StableDiffusion
    from adb_core.tinymodel.tokenizer import build_tokenizer

    tokenizer = build_tokenizer()
    torch.manual_seed(seed)
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=12,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    unet = tiny_unet(kind, seed, text=12)
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(4, 8),
        norm_num_groups=2,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        sample_size=32,
    )
    scheduler = DDPMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction" if kind == "sd21" else "epsilon",
        clip_sample=False,
        steps_offset=1,
    )
    for module in (text, vae, unet):
        module.requires_grad_(False).eval()
    return StableDiffusion(
        "random", None, tokenizer, text, vae, unet, scheduler, torch.device("cpu"), torch.float32
    )


def tiny_concept(category: str = "cat", count: int = 3, masked: bool = False):
    """A concept of three random pictures of different sizes, with masks of its subject if asked."""
    import numpy as np

    from adb_core.concept import Concept

    rng = np.random.default_rng(0)
    images = tuple(rng.integers(0, 256, (40 + 3 * k, 37, 3), dtype=np.uint8) for k in range(count))
    masks = tuple(np.pad(np.ones((20, 20), bool), ((5, len(i) - 25), (9, 8))) for i in images)
    return Concept("pico", images, "<pico>", category, masks if masked else ())


def short(plan, steps: int = 2, batch: int = 2):
    """A recipe with few and small steps in every stage."""
    from dataclasses import replace

    stages = tuple(replace(s, steps=steps, batch_size=batch) for s in plan.stages)
    return replace(plan, stages=stages)


def weights(learner) -> dict[str, torch.Tensor]:
    """Copies of everything that training could change; the token table apart, but for its rows."""
    texts = [
        (f"text{k}.{name}", p)
        for k, encoder in enumerate(learner.text.encoders)
        for name, p in encoder.named_parameters()
        if "token_embedding" not in name
    ]
    unet = [(f"unet.{name}", p) for name, p in learner.unet.named_parameters()]
    rows = learner.token.parameters().items()
    return {name: p.detach().clone() for name, p in (*rows, *unet, *texts)}


def make_learner(plan, kind: str = "sd15", **options):
    """A learner of a random base model and concept, with two views a picture."""
    from adb_core.learner import Learner

    return Learner(tiny_base(kind), tiny_concept(), plan, **{"view_count": 2, **options})


def folder_of(base, folder):
    """The base model as a diffusers folder, as ``load_base`` reads it."""
    from diffusers import DDPMScheduler

    pipeline = base.pipeline()
    pipeline.scheduler = DDPMScheduler.from_config(base.scheduler.config)
    pipeline.save_pretrained(folder)
    return folder
