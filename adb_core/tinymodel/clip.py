"""The tiny CLIP: a two-layer text tower that Stable Diffusion reads, and a small vision tower."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .pixels import to_pixels
from .tokenizer import MAX_LENGTH, TEXT_WIDTH, encode

if TYPE_CHECKING:
    from transformers import (
        CLIPImageProcessorPil as CLIPImageProcessor,
        CLIPModel,
        CLIPTextModel,
        CLIPTokenizer,
    )


def build_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """The untrained model. Two text layers: with three, word states leak into one another."""
    from transformers import CLIPConfig, CLIPModel

    special = dict(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    text = dict(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_LENGTH,
        projection_dim=TEXT_WIDTH,
        **special,
    )
    vision = dict(
        hidden_size=192,
        intermediate_size=576,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=128,
        patch_size=16,
        projection_dim=TEXT_WIDTH,
    )
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=TEXT_WIDTH))


def build_image_processor() -> CLIPImageProcessor:
    """128x128, no crop, [-1, 1]. The Pillow variant: the default one needs torchvision.

    Its folder loads as ``CLIPImageProcessor`` too, which then falls back to this class.
    """
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil(
        size={"height": 128, "width": 128},
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


def text_encoder_from_clip(clip: CLIPModel) -> CLIPTextModel:
    """The text tower alone, a copy with the same weights: Stable Diffusion's ``text_encoder``."""
    from transformers import CLIPTextModel

    encoder = CLIPTextModel(clip.config.text_config)
    encoder.load_state_dict(clip.text_model.state_dict())
    return encoder.eval().to(clip.device)


def embed_patches(clip: CLIPModel, vision) -> Tensor:
    """The vision tower's output to projected patch states, (b, patches, c).

    The tower normalizes only its class token; patches must live in the same space.
    """
    return clip.visual_projection(clip.vision_model.post_layernorm(vision.last_hidden_state[:, 1:]))


# ---------------------------------------------------------------- retrieval


@torch.no_grad()
def embed_images(clip: CLIPModel, images: np.ndarray, batch: int = 100) -> Tensor:
    """Unit image embeddings, (n, c), of uint8 (n, 128, 128, 3)."""
    parts = []
    for start in range(0, len(images), batch):
        pixels = to_pixels(images[start : start + batch], clip.device)
        parts.append(clip.get_image_features(pixel_values=pixels).pooler_output)
    return F.normalize(torch.cat(parts).float(), dim=-1)


@torch.no_grad()
def embed_texts(clip: CLIPModel, tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Unit text embeddings, (n, c)."""
    ids = encode(tokenizer, captions).to(clip.device)
    return F.normalize(clip.get_text_features(input_ids=ids).pooler_output.float(), dim=-1)


def retrieval(
    clip: CLIPModel, tokenizer: CLIPTokenizer, images: np.ndarray, captions: list[str]
) -> dict[str, float]:
    """Share of images whose own caption is the nearest of all, and the other way round."""
    texts = embed_texts(clip, tokenizer, captions)
    cosine = embed_images(clip, images) @ texts.T  # (images, texts)
    own = torch.arange(len(cosine), device=cosine.device)
    return {
        "image_to_text": float((cosine.argmax(1) == own).float().mean()),
        "text_to_image": float((cosine.argmax(0) == own).float().mean()),
    }
