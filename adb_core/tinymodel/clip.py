"""The tiny CLIP: a two-layer text tower that Stable Diffusion reads, and a small vision tower.

Two losses: CLIP's symmetric contrastive loss, and, with a weight that is a dial, the same on the
similarity "each content word against its best image patch, averaged over the words" (as
FILIP, Yao et al. 2021). With the first alone a causal text tower lets every word's state
carry its whole prefix and every word's attention map lands on the subject; the second makes
word states local. No mask is used anywhere: locality has to emerge.

Axes: b batch, n content words of the whole batch, k tokens, p patches, c channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..toyworld.grammar import STOP_WORDS
from .fit import Fit, fit, warm
from .tokenizer import MAX_LENGTH, TEXT_WIDTH, build_tokenizer, encode

if TYPE_CHECKING:
    from transformers import CLIPImageProcessorPil as CLIPImageProcessor
    from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

    from .cache import Cache

SETTINGS = Fit("clip", lr=1e-3, muon_lr=1e-2, batch=128, warmup=50, weight_decay=0.05, ema=0.995)
PATCH_WEIGHT = 0.3  # of the token-to-patch loss: the dial of locality, see the model card
MAX_LOGIT_SCALE = float(np.log(100.0))  # as CLIP


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


# ---------------------------------------------------------------- losses


def contrastive_loss(logits: Tensor, same_text: Tensor) -> Tensor:
    """Symmetric cross-entropy of ``logits`` (b texts, b images), true pairs on the diagonal.

    Args:
        same_text: bool (b, b). Pairs off the diagonal with equal captions are no negatives
            (the caption is true of the other image as well) and are left out.
    """
    eye = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(same_text & ~eye, -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def token_patch_similarity(words: Tensor, content: Tensor, patches: Tensor) -> Tensor:
    """Mean over a text's content words of the cosine to their best patch.

    Args:
        words: (b, k, c) projected token states. content: bool (b, k), the words that count.
        patches: (b', p, c) projected patch states.

    Returns:
        (b, b'): every text against every image; 0 for a text without content words.
    """
    owner = content.nonzero()[:, 0]  # (n,) which text each content word belongs to
    words = F.normalize(words[content], dim=-1)  # (n, c): packed, for most tokens are padding
    patches = F.normalize(patches, dim=-1)
    cosine = words @ patches.flatten(0, 1).T  # (n, b' * p)
    best = cosine.unflatten(1, patches.shape[:2]).amax(2)  # (n, b')
    total = best.new_zeros(len(content), best.shape[1]).index_add(0, owner, best)
    return total / content.sum(1, keepdim=True).clamp(min=1)


def content_table(tokenizer: CLIPTokenizer) -> Tensor:
    """bool (vocabulary,): tokens that are content, i.e. neither special nor a stop word."""
    table = torch.ones(len(tokenizer), dtype=torch.bool)
    table[torch.tensor(tokenizer.all_special_ids)] = False
    table[torch.tensor([tokenizer(w).input_ids[1] for w in sorted(STOP_WORDS)])] = False
    return table


def embed_patches(clip: CLIPModel, vision) -> Tensor:
    """The vision tower's output to projected patch states, (b, patches, c).

    The tower normalises only its class token; patches must live in the same space.
    """
    return clip.visual_projection(clip.vision_model.post_layernorm(vision.last_hidden_state[:, 1:]))


def clip_losses(
    clip: CLIPModel, ids: Tensor, pixels: Tensor, table: Tensor
) -> tuple[Tensor, Tensor]:
    """(contrastive loss, token-to-patch loss) of a batch: ids (b, k), pixels (b, 3, 128, 128)."""
    # Causal attention: nothing after the last end token of the batch can matter, so it is not computed.
    end = (ids == clip.config.text_config.eos_token_id).int().argmax(1).max()
    ids = ids[:, : int(end) + 1]
    text = clip.text_model(input_ids=ids)
    vision = clip.vision_model(pixel_values=pixels)
    words = clip.text_projection(text.last_hidden_state)  # (b, k, c)
    patches = embed_patches(clip, vision)  # (b, p, c)
    texts, images = (
        clip.text_projection(text.pooler_output),
        clip.visual_projection(vision.pooler_output),
    )
    same = (ids[:, None] == ids[None]).all(-1)
    with torch.autocast(
        ids.device.type, enabled=False
    ):  # cosines times 100 want more than bf16's 3 digits
        scale = clip.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()
        whole = F.normalize(texts.float(), dim=-1) @ F.normalize(images.float(), dim=-1).T  # (b, b)
        local = token_patch_similarity(words.float(), table[ids], patches.float())  # (b, b)
        return contrastive_loss(scale * whole, same), contrastive_loss(scale * local, same)


# ---------------------------------------------------------------- training


def to_pixels(images: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """uint8 (b, 128, 128, 3) -> float (b, 3, 128, 128) in [-1, 1], as the image processor does."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2)
    return pixels.float() / 127.5 - 1


def tokenize_captions(tokenizer: CLIPTokenizer, captions: list[tuple[str, ...]]) -> list[Tensor]:
    """Per image its captions' ids, int64 (captions, k)."""
    flat = encode(tokenizer, [text for said in captions for text in said])
    return list(flat.split([len(said) for said in captions]))


def train_clip(
    cache: Cache,
    *,
    run_dir: str | Path,
    seed: int,
    device: torch.device | str,
    minutes: float | None = None,
    steps: int | None = None,
    settings: Fit = SETTINGS,
    start: Path | None = None,
    patch_weight: float = PATCH_WEIGHT,
) -> tuple[CLIPModel, CLIPTokenizer, CLIPImageProcessor]:
    """Train (or resume, or load the finished) CLIP on the rendering cache.

    Each step draws ``settings.batch`` images and one of each image's captions at random.
    ``start`` is a transformers folder of a trained CLIP to go on from; ``patch_weight`` that of
    the token-to-patch loss: the larger, the more local the states of words.
    """
    tokenizer = build_tokenizer()
    torch.manual_seed(seed)
    clip = build_clip(tokenizer)
    if start is not None:
        clip.load_state_dict(type(clip).from_pretrained(start, use_safetensors=True).state_dict())
    settings = warm(settings, start)
    table = content_table(tokenizer).to(device)
    ids = tokenize_captions(tokenizer, cache.captions)

    def loss_fn(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        chosen = rng.choice(
            len(cache.images), settings.batch, replace=settings.batch > len(cache.images)
        )
        text = torch.stack([ids[i][int(rng.integers(len(ids[i])))] for i in chosen]).to(device)
        whole, local = clip_losses(clip, text, to_pixels(cache.images[chosen], device), table)
        return whole + patch_weight * local, {
            "contrastive": whole.detach(),
            "token_patch": local.detach(),
        }

    if (
        torch.device(device).type == "cpu"
    ):  # for 65 tokens the fused kernel's backward is the slower one by far
        clip.set_attn_implementation("eager")
    fit(
        settings,
        {"clip": clip},
        loss_fn,
        run_dir=run_dir,
        seed=seed,
        device=device,
        minutes=minutes,
        steps=steps,
    )
    clip.set_attn_implementation("sdpa")
    return clip.eval(), tokenizer, build_image_processor()


# ---------------------------------------------------------------- retrieval


@torch.no_grad()
def embed_images(clip: CLIPModel, images: np.ndarray, batch: int = 100) -> Tensor:
    """Unit image embeddings, (n, c), of uint8 (n, 128, 128, 3)."""
    parts = [
        clip.get_image_features(
            pixel_values=to_pixels(images[i : i + batch], clip.device)
        ).pooler_output
        for i in range(0, len(images), batch)
    ]
    return F.normalize(torch.cat(parts).float(), dim=-1)


@torch.no_grad()
def embed_texts(clip: CLIPModel, tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Unit text embeddings, (n, c)."""
    ids = encode(tokenizer, captions).to(clip.device)
    return F.normalize(clip.get_text_features(input_ids=ids).pooler_output.float(), dim=-1)


def retrieval_both(
    clip: CLIPModel, tokenizer: CLIPTokenizer, images: np.ndarray, captions: list[str]
) -> dict:
    """Share of images whose own caption is the nearest of all, and the other way round."""
    cosine = (
        embed_images(clip, images) @ embed_texts(clip, tokenizer, captions).T
    )  # (images, texts)
    own = torch.arange(len(cosine), device=cosine.device)
    return {
        "image_to_text": float((cosine.argmax(1) == own).float().mean()),
        "text_to_image": float((cosine.argmax(0) == own).float().mean()),
    }


def retrieval_top1(
    clip: CLIPModel, tokenizer: CLIPTokenizer, images: np.ndarray, captions: list[str]
) -> float:
    """Mean of :func:`retrieval_both`'s two directions, for n images and their n distinct captions."""
    return float(np.mean(list(retrieval_both(clip, tokenizer, images, captions).values())))
