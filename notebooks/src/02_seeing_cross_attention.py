# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02 · Seeing cross-attention
#
# {{badge}}
#
# Text enters the U-Net at one kind of place only: its **cross-attention** layers. There every pixel
# asks which words concern it; the answer is a row of probabilities. Read the other way round, they
# are a picture for each word: **where** it is looked at from. AttnDreamBooth steers these maps.
# Learn to read them, and to distrust them.
#
# **You will learn**
# - attention by hand: $\mathrm{softmax}(QK^\top/\sqrt d)\,V$ on a real layer of a real U-Net;
# - two ways to read the maps of a few words without changing what the model computes;
# - how to test such maps against the truth, and what they do not tell.
#
# **Prerequisites:** [notebook 01](01_latent_diffusion_by_hand.ipynb).
#
# **Measured time:** {{time}}

# %% tags=["bootstrap"]

# %% [markdown]
# The picture of the series, with this page's part in blue frames.

# %%
import adb_core as adb

diagram = adb.plots.diagram(["cross-attention", "maps"])
adb.teaching.show(diagram)

# %% [markdown]
# ## 1. A picture whose truth is known
#
# The toy world draws pictures *and* the mask of each thing. This one is encoded and noised, as in
# training.

# %%
import inspect
from dataclasses import replace

import numpy as np
import torch

world, base = adb.teaching.world, adb.load_base("tiny")
prompt = "a photo of a red cat wearing a hat on the beach"
words = dict(adb.generation.prompt_words(base.tokenizer, prompt))  # word -> its token positions
rng, seen = np.random.default_rng(0), dict(accessory="hat", place="beach")
scenes = [
    world.Scene("cat", world.individual("red", rng), pose=world.sample_pose(rng), **seen)
    for _ in range(12)
]
drawn = [world.render(scene, seed=k) for k, scene in enumerate(scenes)]


# %%
def encode_text(text):
    options = dict(max_length=base.tokenizer.model_max_length, return_tensors="pt")
    ids = base.tokenizer(text, padding="max_length", **options).input_ids
    return base.text_encoder(input_ids=ids).last_hidden_state  # (1, tokens, channels)


def to_latents(images):
    pixels = torch.tensor(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return base.vae.encode(pixels).latent_dist.mean * base.vae.config.scaling_factor


text, latents = encode_text(prompt), to_latents([d.image for d in drawn])
noise = torch.randn(latents[:1].shape, generator=torch.Generator().manual_seed(0))
noisy = base.scheduler.add_noise(latents[:1], noise, torch.tensor([350]))

# %%
masks = [drawn[0].masks[name] for name in ("subject", "accessory", "background")]
white = [np.repeat(np.where(m, 255, 40).astype(np.uint8)[..., None], 3, -1) for m in masks]
labels = ["picture", "mask of the cat", "mask of the hat", "mask of the rest"]
alt = "A red cat wearing a hat on the beach, and the masks of cat, hat and background."
told = dict(column_labels=labels, alt=alt)
adb.teaching.show(adb.plots.image_grid([[drawn[0].image, *white]], **told))
print("words and their token positions:", words)

# %% [markdown]
# ## 2. Attention by hand
#
# Queries come from the picture, keys and values from the text (Vaswani et al. 2017, [arXiv
# 1706.03762](https://arxiv.org/abs/1706.03762), eq. 1; Rombach et al. 2022, section 3.3):
#
# $$Q = X W_Q,\quad K = C W_K,\quad V = C W_V,\qquad
# P = \mathrm{softmax}\!\left(\frac{QK^\top}{\sqrt d}\right),\qquad \text{out} = P\,V .$$
#
# We catch what goes into one layer and what comes out, and do its work ourselves.

# %%
name = "up_blocks.2.attentions.1.transformer_blocks.0.attn2"
layer, caught = base.unet.get_submodule(name), {}


def catch(module, args, kwargs, output):
    caught.update(x=args[0], c=kwargs["encoder_hidden_states"], out=output)


handle = layer.register_forward_hook(catch, with_kwargs=True)
base.unet(noisy, 350, encoder_hidden_states=text)
handle.remove()
print("from the picture:", tuple(caught["x"].shape), "| from the text:", tuple(caught["c"].shape))


# %%
def heads(x, count):
    """(b, n, heads * d) -> (b, heads, n, d)"""
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


q = heads(layer.to_q(caught["x"]), layer.heads)
k, v = (heads(to(caught["c"]), layer.heads) for to in (layer.to_k, layer.to_v))
d = q.shape[-1]
P = (q @ k.transpose(-1, -2) / d**0.5).softmax(-1)  # (b, heads, pixels, tokens)
out = layer.to_out[0]((P @ v).transpose(1, 2).flatten(2))
print("q", tuple(q.shape), "k", tuple(k.shape), "v", tuple(v.shape), "P", tuple(P.shape))
off = (out - caught["out"]).abs().max() / out.abs().max()
adb.teaching.fact("largest difference from the layer's own output", off, between=(0, 1e-3))

# %% [markdown]
# A **map** is a column of $P$: one word, all pixels. Each row of $P$ sums to 1: what one token
# gets, the others do not.
#
# **Predict.** Which token gets the most attention of all?

# %%
side = base.unet.config.sample_size
asked = ("red", "cat", "wearing", "hat", "beach")
columns = {w: P[0].mean(0)[:, words[w][0]].unflatten(0, (side, side)).numpy() for w in asked}
title = f"{prompt} (one layer, t = 350)"
adb.teaching.show(adb.plots.word_maps(drawn[0].image, columns, title))
mass = P.mean((0, 1, 2))  # (tokens,)
tokens = base.tokenizer.convert_ids_to_tokens(base.tokenizer(prompt).input_ids)
first = int(mass[: len(tokens)].argmax())
print("most attention of all:", tokens[first])
adb.teaching.fact("its share", 100 * mass[first], between=(80, 99.9), unit="%")
share = 100 * mass[words["hat"][0]]
adb.teaching.fact("the share of 'hat'", share, between=(0, 1), unit="%")

# %% [markdown]
# The start token gets nine tenths of everything; "hat" gets next to nothing, and looks at the wrong
# place: one layer is not the whole story.
#
# **Explain.** Each pixel must give away a whole 1, also where no word concerns it; a token that
# says nothing takes what is left. Each map has its own scale here: compare *where* they are bright.
#
# ## 3. Build the capture by hand
#
# diffusers lets us replace the *processor* of a layer. Ours computes the same and keeps the columns
# of chosen tokens.


# %%
class KeepColumns:
    """Attention as in section 2; leaves P[..., positions] in ``store``."""

    def __init__(self, store, name, positions):
        self.store, self.name, self.positions = store, name, positions

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **_):
        q = heads(attn.to_q(hidden_states), attn.heads)
        k = heads(attn.to_k(encoder_hidden_states), attn.heads)
        v = heads(attn.to_v(encoder_hidden_states), attn.heads)
        probs = (q @ k.transpose(-1, -2) * attn.scale).softmax(-1)
        self.store[self.name] = probs[..., self.positions]
        return attn.to_out[0]((probs @ v).transpose(1, 2).flatten(2))


# %%
chosen = [words[w][0] for w in ("cat", "hat", "beach")]
untouched = base.unet(noisy, 350, encoder_hidden_states=text).sample
saved, mine = dict(base.unet.attn_processors), {}
cross = [n for n in saved if n.endswith("attn2.processor")]
base.unet.set_attn_processor(saved | {n: KeepColumns(mine, n, chosen) for n in cross})
watched = base.unet(noisy, 350, encoder_hidden_states=text).sample
base.unet.set_attn_processor(saved)  # put everything back
with adb.capture_attention(base.unet, chosen, grad=False) as capture:
    base.unet(noisy, 350, encoder_hidden_states=text)
off = (watched - untouched).abs().max()
adb.teaching.fact("output, watched and not: largest difference", off, between=(0, 1e-2))
off = max(float((mine[n] - c).abs().max()) for n, c in capture.layers.items())
adb.teaching.fact("maps, ours and the core's: largest difference", off, between=(0, 1e-4))
print("sizes (batch, heads, pixels, words):", {tuple(c.shape) for c in mine.values()})

# %% [markdown]
# The core's `capture_attention` does this, and always puts the processors back:

# %%
print(inspect.getsource(adb.attention.oracle_attention))

# %% [markdown]
# ## 4. The same columns from a fused kernel
#
# PyTorch's fused attention never holds $P$ as a whole; it returns only $PV$, faster and with much
# less memory. Let $S$ have one column for each chosen token: 1 in that token's row, 0 elsewhere.
# Attention is linear in $V$, so
#
# $$P\,[V, S] = [PV,\; PS],$$
#
# and $PS$ *is* the chosen columns.
#
# **Predict.** Is it equal to them, or an approximation?

# %%
S = torch.zeros(1, 1, text.shape[1], len(chosen))
for column, position in enumerate(chosen):
    S[..., position, column] = 1
wide = torch.cat([v, S.expand(1, layer.heads, -1, -1)], -1)  # (1, heads, tokens, d + 3)
both = torch.nn.functional.scaled_dot_product_attention(q, k, wide)
print("V", tuple(v.shape), "-> [V, S]", tuple(wide.shape), "-> P[V, S]", tuple(both.shape))
off = (both[..., d:] - P[..., chosen]).abs().max()
adb.teaching.fact("the last channels and the columns: difference", off, between=(0, 1e-4))

# %% [markdown]
# **Explain.** Equal, up to rounding, and gradients flow through it. In the largest layers of Stable
# Diffusion 2.1 (5 heads, 64 x 64 pixels, 77 tokens) $P$ is 1,576,960 numbers; the columns of [V]
# and its category are 40,960.
#
# ## 5. The condition of this series
#
# A picture has many maps: layers, heads, sampling steps. And guidance asks the U-Net *twice* a
# step, with the prompt and with an empty one. Each question has maps of its own, and guidance
# changes neither: it exaggerates the difference of the *answers*, and reaches later maps only
# through the latent. So a number about attention needs to say where it was read. On all pages,
# unless a cell says otherwise:
#
# - maps **in photos** (`photo_maps`): noised to $t$ = 200, 350, 500 of 1,000, asked once, no
#   guidance; mean over heads and the layers at the latents' resolution. "Attention" is the mean
#   over pixels;
# - maps **in pictures being made**: the half that reads the prompt, mean over all sampling steps;
# - **shares** of all tokens: the same half, every layer and step, so that they sum to 1;
# - a word of several pieces has the mean of its pieces' maps, and the sum of their shares.

# %%
shares = adb.attention_shares(base, prompt)
adb.teaching.show(adb.plots.attention_stack({"base model": shares}, category="cat"))
for token in ("start", "cat", "hat", "end"):
    adb.teaching.fact(f"share of '{token}'", 100 * shares[token], between=(0.05, 98), unit="%")

# %% [markdown]
# **Predict.** All maps of one picture: in which step will that of "hat" be sharper, the first or
# the last?

# %%
recording = adb.record(base, prompt, seed=0)
explorer = adb.widgets.AttentionExplorer(recording)
explorer.view

# %% [markdown]
# The same by code:

# %%
explorer.word.value, heats = "hat", {}
for step in (1, 8, recording.steps):
    explorer.step.value = step
    heats[f"'hat', step {step}"] = heat = explorer.heat
    adb.teaching.fact(f"step {step}: largest / mean", heat.max() / heat.mean(), between=(6, 90))
explorer.step.value = 0
alt = "The map of 'hat' at the first, the eighth and the last step, over the finished picture."
told = dict(column_labels=list(heats), alt=alt)
adb.teaching.show(adb.plots.attention_grid([[recording.image] * 3], [list(heats.values())], **told))

# %% [markdown]
# **Explain.** Already in step 1, out of nothing but noise, "hat" is looked at from where the hat
# will be: where things go is decided very early. In the end its map is the narrowest. Layers and
# heads differ too: choose some.
#
# ## 6. Is the hat on the cat?
#
# A map that looks right proves little. With twelve masked pictures we can count:
#
# - **pointing game** (Zhang et al. 2016, [arXiv 1608.00507](https://arxiv.org/abs/1608.00507)): is
#   the map's largest cell on the thing?
# - **IoU**: cells above the map's mean plus one standard deviation, against the thing's cells:
#   intersection over union.
#
# **Predict.** Chance at the pointing game is the thing's share of the cells. How well will "cat",
# "hat" and "beach" do?

# %%
element = {"cat": "subject", "hat": "accessory", "beach": "background"}
states = adb.base.TextStates(text)  # what the core calls them
maps = adb.metrics.noised_maps(base, states, latents, [words[w] for w in element])


def cells(pictures, name):
    """Which cells of a map are on a thing, (pictures, y, x)."""
    shares = [adb.metrics.mask_cells(p.masks[name], (side, side)) for p in pictures]
    return np.stack([adb.metrics.cells_on(s) for s in shares])


def mean_of(metric, heats, truth):
    """A metric's mean over pictures and noise levels; heats (pictures, levels, y, x)."""
    return np.mean([metric(m, on) for by_time, on in zip(heats, truth) for m in by_time])


# %%
for number, (word, name) in enumerate(element.items()):
    truth, heats = cells(drawn, name), maps[:, :, number]
    hits = 100 * mean_of(adb.metrics.pointing_hit, heats, truth)
    union = mean_of(adb.metrics.iou, heats, truth)
    adb.teaching.fact(f"{word}: pointing", hits, between=(80, 100), unit="%")
    adb.teaching.fact(f"{word}: pointing by chance", 100 * truth.mean(), between=(3, 92), unit="%")
    adb.teaching.fact(f"{word}: IoU", union, between=(0, 1))
alt = "Maps of cat, hat and beach in three pictures, noised to t = 350."
told = dict(column_labels=[f"'{w}'" for w in element], alt=alt)
adb.teaching.show(
    adb.plots.attention_grid([[d.image] * 3 for d in drawn[:3]], list(maps[:3, 1]), **told)
)

# %% [markdown]
# **Explain.** "Cat" and "hat" point at their things every time, where chance would be one in five
# and one in seventeen. "Beach" hits because the beach is almost everywhere, so the hit is worth
# little; its IoU is poor, since a line of waves stands for a whole beach. Look at chance before you
# are impressed. No mask was used in training.
#
# ## 7. What attention maps do not tell
#
# **Predict.** The same cats *without* their hats, with the same caption. Where will the map of
# "hat" peak? And if the caption says "dog" and "moon" while the picture shows a cat on the beach?

# %%
bare = [world.render(replace(scene, accessory=None), seed=k) for k, scene in enumerate(scenes)]
hatless = to_latents([b.image for b in bare])
no_hat = adb.metrics.noised_maps(base, states, hatless, [words["hat"]])[:, :, 0]
head = cells(bare, "subject")
tops = head.any(2).argmax(1)  # the first row of each cat
for on, first in zip(head, tops):
    on[first + 4 :] = False  # the head: its upper four rows
hits = 100 * mean_of(adb.metrics.pointing_hit, no_hat, head)
adb.teaching.fact("no hat: 'hat' peaks on the head", hits, between=(70, 100), unit="%")
weaker = no_hat.max((2, 3)).mean() / maps[:, :, 1].max((2, 3)).mean()
adb.teaching.fact("its largest attention / that with a hat", weaker, between=(0.4, 0.95))

# %%
false = "a photo of a red dog wearing a crown on the moon"
found = dict(adb.generation.prompt_words(base.tokenizer, false))
lie = adb.base.TextStates(encode_text(false))
lies = adb.metrics.noised_maps(base, lie, latents, [found["dog"], found["moon"]])
hits = 100 * mean_of(adb.metrics.pointing_hit, lies[:, :, 0], cells(drawn, "subject"))
adb.teaching.fact("'dog' peaks on the cat", hits, between=(70, 100), unit="%")
more = lies[:, :, 1].mean() / maps[:, :, 2].mean()
adb.teaching.fact("attention of 'moon' / that of 'beach'", more, between=(0.5, 2))
pictures = [drawn[0].image, bare[0].image, drawn[0].image, drawn[0].image]
heats = [maps[0, 1, 1], no_hat[0, 1], lies[0, 1, 0], lies[0, 1, 1]]
labels = ["'hat', hat there", "'hat', no hat", "'dog', a cat there", "'moon', a beach there"]
told = dict(column_labels=labels, alt="Maps of words that the picture shows, and that it does not.")
adb.teaching.show(adb.plots.attention_grid([pictures], [heats], **told))

# %% [markdown]
# "Hat" points at a bare head, if less strongly than at a hat; "dog" sits on the cat; and "moon"
# gets as much attention as the "beach" that is really there, from the upper edge, where the sky is.
#
# **Explain.** A map says where the model *would put* what the word says; it is no proof of a good
# picture. And attention is only the weight: what arrives is weight times value. Why look at all?
# Because for a new word the question *is* where the model would put it.
#
# ## Exercises
#
# ### Exercise 1 (easy, 5 minutes): probabilities
#
# From `q` (b, heads, pixels, d) and `k` (b, heads, tokens, d), tensors, return the attention
# probabilities (b, heads, pixels, tokens).


# %% tags=["stub"] exercise="02.1"
def attention_probabilities(q, k):
    return ...


# %% tags=["solution"] exercise="02.1"
def attention_probabilities(q, k):
    logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return logits.softmax(-1)


# %% tags=["check"] exercise="02.1"
adb.teaching.check("02.1", attention_probabilities)

# %% [markdown]
# ### Exercise 2 (medium, 8 minutes): intersection over union
#
# `word_map` is an array (n, n), `on` a bool array (n, n) of the cells that are on the thing. Return
# the IoU of section 6: the cells above the map's mean plus its standard deviation (`np.std`),
# against `on`.


# %% tags=["stub"] exercise="02.2"
def map_iou(word_map, on):
    return ...


# %% tags=["solution"] exercise="02.2"
def map_iou(word_map, on):
    bright = word_map > word_map.mean() + word_map.std()
    return (bright & on).sum() / (bright | on).sum()


# %% tags=["check"] exercise="02.2"
adb.teaching.check("02.2", map_iou)

# %% [markdown]
# ### Exercise 3 (medium, 10 minutes): one map from many
#
# `layers` is a list of arrays (heads, n, n), the maps of one word in each layer; both numbers
# differ from layer to layer, and sizes divide each other. Return one map of the largest size: the
# mean over the heads of a layer, then enlarged by repeating cells, then the mean over layers.


# %% tags=["stub"] exercise="02.3"
def mean_map(layers):
    return ...


# %% tags=["solution"] exercise="02.3"
def mean_map(layers):
    size = max(maps.shape[-1] for maps in layers)
    enlarged = []
    for maps in layers:
        mean = maps.mean(0)  # (n, n)
        times = size // len(mean)
        enlarged.append(mean.repeat(times, axis=0).repeat(times, axis=1))
    return np.mean(enlarged, axis=0)


# %% tags=["check"] exercise="02.3"
adb.teaching.check("02.3", mean_map)

# %% [markdown]
# ### Exercise 4 (HARD, 25 minutes): a map without the row of probabilities
#
# Fused kernels see the keys in blocks and never hold a row of $P$. Do the same: `q` (pixels, d) is
# an array, `blocks` yields arrays (some tokens, d), once; tokens are numbered on through all
# blocks. Return the map of the token `position`, (pixels,). Keep for each pixel the largest score
# so far and a sum of exponentials, rescaled when a larger score comes: scores may be in the
# thousands.


# %% tags=["stub"] exercise="02.4"
def streamed_map(q, blocks, position):
    return ...


# %% tags=["solution"] exercise="02.4"
def streamed_map(q, blocks, position):
    top, total, seen = np.full(len(q), -np.inf), np.zeros(len(q)), 0
    for block in blocks:
        scores = q @ block.T / q.shape[1] ** 0.5  # (pixels, tokens of this block)
        if seen <= position < seen + len(block):
            own = scores[:, position - seen]
        higher = np.maximum(top, scores.max(1))
        total = total * np.exp(top - higher) + np.exp(scores - higher[:, None]).sum(1)
        top, seen = higher, seen + len(block)
    return np.exp(own - top) / total


# %% tags=["check"] exercise="02.4"
adb.teaching.check("02.4", streamed_map)

# %% [markdown]
# ## Quiz

# %%
adb.teaching.quiz(*adb.teaching.questions("02"))

# %% [markdown]
# ## Summary
#
# - A word's map is a column of the probabilities $P$; $P[V,S]=[PV,PS]$ reads it from a fused
#   kernel.
# - A number about attention needs its condition, and a score its chance level, beside it.
# - A map tells where a word would act, not whether the thing is there.
#
# **Read next:** Hertz et al. 2022, *Prompt-to-Prompt*,
# [arXiv 2208.01626](https://arxiv.org/abs/2208.01626); and figure 2 of the AttnDreamBooth
# [paper](https://arxiv.org/abs/2406.05000). **Next notebook:**
# [03 Textual Inversion and how it fails](03_textual_inversion_and_how_it_fails.ipynb).
