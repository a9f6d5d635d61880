"""How the tiny CLIP learns.

Two losses: CLIP's symmetric contrastive loss, and, with a weight that is a dial, the same on the
similarity "each content word against its best image patch, averaged over the words" (as
FILIP, Yao et al. 2021). With the first alone a causal text tower lets every word's state
carry its whole prefix and every word's attention map lands on the subject; the second makes
word states local. No mask is used anywhere: locality has to emerge.

A third loss keeps words apart: each state has to name its own word. Contrast rewards only what the
vision tower sees already, and it sees stripes late; till then "striped" and "spotted" have one
state, and a U-Net that reads it cannot learn either.

Axes: b batch, n content words of the whole batch, k tokens, p patches, c channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..tinymodel.clip import build_clip, build_image_processor, embed_patches
from ..tinymodel.pixels import to_pixels
from ..tinymodel.tokenizer import TEXT_WIDTH, build_tokenizer, encode
from ..toyworld.grammar import STOP_WORDS
from .cache import CAPTION_STRIDE, Cache
from .fit import LossFn, fit
from .misnomers import wrong_captions
from .settings import Budget, Fit, Place, warm

if TYPE_CHECKING:
    from transformers import CLIPImageProcessorPil as CLIPImageProcessor, CLIPModel, CLIPTokenizer

FIT = Fit("clip", lr=1e-3, muon_lr=1e-2, batch=128, warmup=50, weight_decay=0.05, ema=0.995)
PATCH_WEIGHT = 0.3  # of the token-to-patch loss: the dial of locality, see the model card
WORD_WEIGHT, WORD_SCALE = 0.2, 16.0  # of the loss that keeps words apart, and of its cosines
WRONG = 4  # captions of each picture that are wrong in one thing
MAX_LOGIT_SCALE = float(np.log(100.0))  # as CLIP


def contrastive_loss(logits: Tensor, same_text: Tensor, wrong: Tensor | None = None) -> Tensor:
    """Symmetric cross-entropy of ``logits`` (b texts, b images), true pairs on the diagonal.

    Args:
        wrong: (b images, w) logits of captions that are wrong of that image; -inf where none is.
        same_text: bool (b, b). Pairs off the diagonal with equal captions are no negatives
            (the caption is true of the other image as well) and are left out.
    """
    eye = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(same_text & ~eye, -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    of_image = logits.T if wrong is None else torch.cat([logits.T, wrong], 1)
    return (F.cross_entropy(logits, target) + F.cross_entropy(of_image, target)) / 2


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


class Words(nn.Module):
    """Which word a state stands at, by the nearest of one direction for each word.

    It is thrown away after training. Cosines, for a plain linear layer could read differences that
    are too small to matter to anybody else.
    """

    def __init__(self, vocabulary: int, width: int = TEXT_WIDTH):
        super().__init__()
        self.directions = nn.Parameter(torch.randn(vocabulary, width))

    def forward(self, states: Tensor, ids: Tensor) -> Tensor:
        """Mean cross-entropy of the words at states (n, c); ids (n,)."""
        cosine = F.normalize(states.float(), dim=-1) @ F.normalize(self.directions, dim=-1).T
        return F.cross_entropy(WORD_SCALE * cosine, ids)


def clip_losses(
    clip: CLIPModel, words: Words, ids: Tensor, pixels: Tensor, table: Tensor, owner: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(contrastive loss, token-to-patch loss, loss of words) of a batch.

    Args:
        ids: (b + w, k), the captions of the b images, and behind them w wrong ones.
        words: see :class:`Words`; pixels: (b, 3, 128, 128). table: see :func:`content_table`.
        owner: (w,), of which image each wrong caption is.
    """
    # Causal attention: nothing after the last end token of the batch can matter.
    end = (ids == clip.config.text_config.eos_token_id).int().argmax(1).max()
    ids, b = ids[:, : int(end) + 1], len(pixels)
    text = clip.text_model(input_ids=ids)
    vision = clip.vision_model(pixel_values=pixels)
    states, true = text.last_hidden_state[:b], ids[:b]
    projected = clip.text_projection(states)  # (b, k, c)
    patches = embed_patches(clip, vision)  # (b, p, c)
    texts = clip.text_projection(text.pooler_output)
    images = clip.visual_projection(vision.pooler_output)
    same = (true[:, None] == true[None]).all(-1)
    # Cosines times 100 want more than bf16's 3 digits.
    with torch.autocast(ids.device.type, enabled=False):
        scale = clip.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()
        whole = F.normalize(texts.float(), dim=-1) @ F.normalize(images.float(), dim=-1).T
        content = table[true]  # (b, k)
        local = token_patch_similarity(projected.float(), content, patches.float())  # (b, b)
        # Each wrong caption stands against its own image alone.
        own = owner[None] == torch.arange(b, device=owner.device)[:, None]  # (b, w)
        wrong = (scale * whole[b:].T).masked_fill(~own, -torch.inf)
        contrast = contrastive_loss(scale * whole[:b], same, wrong)
        named = words(states[content], true[content])
        return contrast, contrastive_loss(scale * local, same), named


# ---------------------------------------------------------------- training


def make_loss(
    clip: CLIPModel,
    words: Words,
    tokenizer: CLIPTokenizer,
    cache: Cache,
    batch: int,
    patch_weight: float,
) -> LossFn:
    """A step's loss on ``batch`` images, one caption of each drawn at random, and wrong ones."""
    table = content_table(tokenizer)

    def loss_fn(step: int, rng: np.random.Generator):
        chosen = rng.choice(len(cache.images), batch, replace=batch > len(cache.images))
        true, wrong, owner = [], [], []
        for row, i in enumerate(chosen.tolist()):
            seed = i * CAPTION_STRIDE + int(rng.integers(len(cache.captions[i])))
            text, others = wrong_captions(cache.scenes[i], seed, WRONG, rng)
            true.append(text)
            wrong += others
            owner += [row] * len(others)
        device = clip.device
        ids = encode(tokenizer, true + wrong).to(device)
        owners = torch.tensor(owner, device=device)
        pixels = to_pixels(cache.images[chosen], device)
        losses = clip_losses(clip, words, ids, pixels, table.to(device), owners)
        whole, local, named = losses
        names = ("contrastive", "token_patch", "words")
        extras = {name: loss.detach() for name, loss in zip(names, losses, strict=True)}
        return whole + patch_weight * local + WORD_WEIGHT * named, extras

    return loss_fn


def train_clip(
    cache: Cache,
    *,
    place: Place,
    budget: Budget,
    settings: Fit = FIT,
    start: Path | None = None,
    patch_weight: float = PATCH_WEIGHT,
) -> tuple[CLIPModel, CLIPTokenizer, CLIPImageProcessor]:
    """Train (or resume, or load the finished) CLIP on the rendering cache.

    Args:
        start: a transformers folder of a trained CLIP to go on from.
        patch_weight: of the token-to-patch loss: the larger, the more local the states of words.
    """
    tokenizer = build_tokenizer()
    torch.manual_seed(place.seed)
    clip = build_clip(tokenizer)
    if start is not None:
        clip.load_state_dict(type(clip).from_pretrained(start, use_safetensors=True).state_dict())
    settings = warm(settings, start)
    words = Words(len(tokenizer))
    loss_fn = make_loss(clip, words, tokenizer, cache, settings.batch, patch_weight)
    if torch.device(place.device).type == "cpu":
        # For 65 tokens the fused kernel's backward is the slower one by far.
        clip.set_attn_implementation("eager")
    fit(settings, {"clip": clip, "words": words}, loss_fn, place=place, budget=budget)
    clip.set_attn_implementation("sdpa")
    return clip.eval(), tokenizer, build_image_processor()
