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
# of a feature map asks which words concern it, and the answer is a row of probabilities. Read the
# other way round, those probabilities are a picture for each word: **where** it is looked at from.
# AttnDreamBooth watches and steers exactly these maps, so before we steer anything, let us learn to
# read them, and to distrust them.
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
# The picture of the series, with this page's part in blue frames. Dotted arrows are not used here.

# %%
import adb_core as adb

diagram = adb.plots.diagram(["cross-attention", "maps"])
adb.teaching.show(diagram)

# %% [markdown]
# ## 1. A picture whose truth is known
#
# The toy world draws pictures *and* the mask of each thing in them. So here is a cat wearing a hat
# on the beach, brought to the latent space and noised half-way, as in training.

# %%
import inspect

import numpy as np
import torch

world = adb.teaching.world  # draws pictures whose truth is known
base = adb.load_base("tiny")
prompt = "a photo of a red cat wearing a hat on the beach"
words = dict(
    adb.generation.prompt_words(base.tokenizer, prompt)
)  # word -> its token positions ("a" comes three times; a dict keeps the last)


def encode_text(text):
    ids = base.tokenizer(
        text, padding="max_length", max_length=base.tokenizer.model_max_length, return_tensors="pt"
    ).input_ids
    return base.text_encoder(input_ids=ids).last_hidden_state  # (1, 40, 128)


def to_latents(images):
    pixels = torch.tensor(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return (
        base.vae.encode(pixels).latent_dist.mean * base.vae.config.scaling_factor
    )  # (b, 4, 16, 16)


rng = np.random.default_rng(0)
scenes = [
    world.Scene(
        "cat",
        world.individual("red", rng),
        accessory="hat",
        place="beach",
        pose=world.sample_pose(rng),
    )
    for _ in range(12)
]
drawn = [world.render(scene, seed=k) for k, scene in enumerate(scenes)]
text = encode_text(prompt)
states = adb.base.TextStates(text)  # what the core calls them
noise = torch.randn((1, 16, 16, 16), generator=torch.Generator().manual_seed(0))
noisy = base.scheduler.add_noise(to_latents([drawn[0].image]), noise, torch.tensor([350]))


def in_white(mask):
    return np.repeat(np.where(mask, 255, 40).astype(np.uint8)[..., None], 3, -1)


masks = drawn[0].masks
adb.teaching.show(
    adb.plots.image_grid(
        [[drawn[0].image, *(in_white(masks[e]) for e in ("subject", "accessory", "background"))]],
        column_labels=["picture", "mask of the cat", "mask of the hat", "mask of the rest"],
        alt="A red cat wearing a hat on the beach, and the masks of cat, hat and background.",
    )
)
print("words and their token positions:", words)

# %% [markdown]
# ## 2. Attention by hand
#
# In a cross-attention layer, queries come from the picture, keys and values from the text (Vaswani
# et al. 2017, [arXiv 1706.03762](https://arxiv.org/abs/1706.03762), eq. 1; Rombach et al. 2022,
# section 3.3):
#
# $$Q = X W_Q,\quad K = C W_K,\quad V = C W_V,\qquad
# P = \mathrm{softmax}\!\left(\frac{QK^\top}{\sqrt d}\right),\qquad \text{out} = P\,V .$$
#
# We take one of the seven layers, catch what goes into it and what comes out, and do its work
# ourselves.

# %%
name = "up_blocks.2.attentions.1.transformer_blocks.0.attn2"
layer = base.unet.get_submodule(name)
caught = {}


def catch(module, args, kwargs, output):
    caught["in"], caught["text"], caught["out"] = args[0], kwargs["encoder_hidden_states"], output


handle = layer.register_forward_hook(catch, with_kwargs=True)
base.unet(noisy, 350, encoder_hidden_states=text)
handle.remove()
print(
    "from the picture:", tuple(caught["in"].shape), "| from the text:", tuple(caught["text"].shape)
)


def heads(x):
    """(b, n, heads * d) -> (b, heads, n, d)"""
    return x.unflatten(-1, (layer.heads, -1)).transpose(1, 2)


q, k, v = (
    heads(layer.to_q(caught["in"])),
    heads(layer.to_k(caught["text"])),
    heads(layer.to_v(caught["text"])),
)
d = q.shape[-1]
P = (q @ k.transpose(-1, -2) / d**0.5).softmax(-1)  # (b, heads, pixels, tokens)
out = layer.to_out[0]((P @ v).transpose(1, 2).flatten(2))
print("q", tuple(q.shape), "k", tuple(k.shape), "v", tuple(v.shape), "P", tuple(P.shape))
print(
    "every pixel's probabilities add up to 1:",
    torch.allclose(P.sum(-1), torch.ones(P.shape[:-1]), atol=1e-5),
)
print("our output is the layer's:", torch.allclose(out, caught["out"], atol=1e-5))
assert torch.allclose(out, caught["out"], atol=1e-5)

# %% [markdown]
# A **map** is a column of $P$: one word, all pixels. 256 pixels are 16 rows of 16.
#
# **Predict.** Which token gets the most attention of all?

# %%
adb.teaching.show(
    adb.plots.word_maps(
        drawn[0].image,
        {
            w: P[0].mean(0)[:, words[w][0]].unflatten(0, (16, 16)).numpy()
            for w in ("red", "cat", "wearing", "hat", "beach")
        },
        f"{prompt} (one layer, t = 350)",
    )
)
mass = P.mean((0, 1, 2))  # (tokens,)
tokens = base.tokenizer.convert_ids_to_tokens(base.tokenizer(prompt).input_ids)
print("most attention of all:", tokens[int(mass[: len(tokens)].argmax())])
print("the word 'hat' gets less than a tenth:", bool(mass[words["hat"][0]] < 0.1))

# %% [markdown]
# **Explain.** Each pixel must give away a whole 1, also where no word concerns it; the start token,
# which says nothing, takes what is left over. Every map has its own colour scale here, so compare
# *where* maps are bright, not how bright; the largest probability is written at each.
#
# ## 3. Build the capture by hand
#
# diffusers lets us replace the *processor* of each layer, the piece of code that computes
# attention. Ours computes the same thing and keeps the columns of chosen tokens.


# %%
class KeepColumns:
    """Attention as in section 2; leaves P[..., positions] in ``store``."""

    def __init__(self, store, name, positions):
        self.store, self.name, self.positions = store, name, positions

    def __call__(
        self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None
    ):
        def split(x):
            return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        q, k, v = (
            split(attn.to_q(hidden_states)),
            split(attn.to_k(encoder_hidden_states)),
            split(attn.to_v(encoder_hidden_states)),
        )
        probs = (q @ k.transpose(-1, -2) * attn.scale).softmax(-1)
        self.store[self.name] = probs[..., self.positions]
        return attn.to_out[0]((probs @ v).transpose(1, 2).flatten(2))


chosen = [words["cat"][0], words["hat"][0], words["beach"][0]]
untouched = base.unet(noisy, 350, encoder_hidden_states=text).sample
saved, mine = dict(base.unet.attn_processors), {}
base.unet.set_attn_processor(
    {
        n: KeepColumns(mine, n, chosen) if n.endswith("attn2.processor") else p
        for n, p in saved.items()
    }
)
watched = base.unet(noisy, 350, encoder_hidden_states=text).sample
base.unet.set_attn_processor(saved)  # put everything back

with adb.capture_attention(base.unet, chosen, grad=False) as capture:
    base.unet(noisy, 350, encoder_hidden_states=text)

for layer_name, columns in capture.layers.items():
    print(
        f"{layer_name.split('.transformer')[0]:<28}{tuple(columns.shape)}  equal to ours: "
        f"{torch.allclose(mine[layer_name], columns, atol=1e-6)}"
    )
print("the U-Net's output, watched and not:", torch.allclose(watched, untouched, atol=1e-4))
assert all(torch.allclose(mine[n], c, atol=1e-6) for n, c in capture.layers.items())

# %% [markdown]
# **Explain.** The core's `capture_attention` is this, plus what is needed around it: it puts the
# processors back whatever happens, and works with every layer option of diffusers. Heads and map
# sizes differ from layer to layer (batch, heads, pixels, chosen tokens): 16 x 16, 8 x 8 and 4 x 4.
#
# The two lines that matter are in the core's readable path:

# %%
print(inspect.getsource(adb.attention.oracle_attention))

# %% [markdown]
# ## 4. The same columns from a fused kernel
#
# PyTorch's fused attention never holds $P$ as a whole; it returns only $PV$. That is faster and
# much smaller on a GPU, but there is nothing to read. The core's second path gets the columns out
# all the same. Let $S$ be a matrix with one column for each chosen token: 1 in that token's row, 0
# elsewhere. Attention is linear in $V$, so with $S$ appended to it
#
# $$P\,[V, S] = [PV,\; PS],$$
#
# and $PS$ *is* the chosen columns.
#
# **Predict.** Is $PS$ equal to the columns, or an approximation of them?

# %%
S = torch.zeros(1, 1, 40, len(chosen))
for column, position in enumerate(chosen):
    S[..., position, column] = 1
wide = torch.cat([v, S.expand(1, layer.heads, -1, -1)], -1)  # (1, heads, tokens, d + 3)
both = torch.nn.functional.scaled_dot_product_attention(q, k, wide)
print("V", tuple(v.shape), "-> [V, S]", tuple(wide.shape), "-> P[V, S]", tuple(both.shape))
print("the first channels are P V:", torch.allclose(both[..., :d], P @ v, atol=1e-5))
print("the rest are the columns:", torch.allclose(both[..., d:], P[..., chosen], atol=1e-6))

read = {}
for path in ("oracle", "fused"):
    with adb.capture_attention(base.unet, chosen, grad=False, path=path) as capture:
        read[path] = (base.unet(noisy, 350, encoder_hidden_states=text).sample, capture.layers)
print(
    "core, whole U-Net: outputs equal:",
    torch.allclose(read["oracle"][0], read["fused"][0], atol=1e-4),
)
print(
    "core, whole U-Net: maps equal in all layers:",
    all(
        torch.allclose(a, b, atol=1e-5)
        for a, b in zip(read["oracle"][1].values(), read["fused"][1].values())
    ),
)

# %% [markdown]
# **Explain.** Equal, up to rounding, and gradients flow through it, which the regulariser of
# notebook 08 needs. What is gained is memory. In the largest layers of Stable Diffusion 2.1 at 512
# pixels (5 heads, 64 x 64 pixels, 77 tokens):

# %%
pixels, sd_heads, sd_tokens = 64 * 64, 5, 77
print("numbers held for one layer, all of P:", f"{sd_heads * pixels * sd_tokens:,}")
print("the columns of [V] and its category:", f"{sd_heads * pixels * 2:,}")
print(inspect.getsource(adb.attention.fused_attention))

# %% [markdown]
# ## 5. Every map of one picture
#
# While a picture is drawn, every word has a map in each layer, head and sampling step. `adb.record`
# keeps them all.
#
# **Predict.** In which step will the map of "hat" be sharper, the first or the last?

# %%
recording = adb.record(base, prompt, seed=0)
explorer = adb.widgets.AttentionExplorer(recording)
explorer.view

# %% [markdown]
# The same by code:

# %%
explorer.word.value = "hat"
print("maps:", sum(m.shape[0] * m.shape[1] * m.shape[-1] for m in recording.layers.values()))
places = []
for step in (1, 8, recording.steps):
    explorer.step.value = step
    print(f"step {step}: {explorer.text}")
    places.append(explorer.heat)
explorer.step.value = 0
peaks = [np.array(np.unravel_index(m.argmax(), m.shape)) for m in places]
print(
    "the peak at step 1 is within two cells of the last one:",
    bool(np.abs(peaks[0] - peaks[-1]).max() <= 2),
)
print(
    "largest over mean, sharper at the last step than at step 1:",
    bool(places[-1].max() / places[-1].mean() > 1.1 * places[0].max() / places[0].mean()),
)
adb.teaching.show(
    adb.plots.attention_grid(
        [[recording.image] * 3],
        [places],
        column_labels=["'hat', step 1", "step 8", f"step {recording.steps}"],
        alt="The map of the word hat at the first, the eighth and the last sampling step, over "
        "the finished picture.",
    )
)

# %% [markdown]
# **Explain.** In step 1 there is nothing but noise to look at, and the map of "hat" is wide. Its
# peak is already near the place where the hat will be: where things go is decided very early. The
# largest probability is higher at step 8 than at the first and the last step; in the end the map is
# dimmer, and sharper for it.
#
# Layers and heads differ as well: choose some in the explorer. Averages over all of them are easier
# to look at, and hide this.
#
# ## 6. Is the hat on the cat?
#
# A map that looks right proves little. We have twelve pictures with masks, so we can count. Each is
# noised to three levels ($t$ = 200, 350, 500) and looked at once, with its caption; maps are
# averaged over heads and the layers of 16 x 16. Two scores (the core's functions, in
# `adb_core.metrics`):
#
# - **pointing game** (Zhang et al. 2016, [arXiv 1608.00507](https://arxiv.org/abs/1608.00507)): is
#   the map's largest cell on the thing?
# - **IoU**: cells above the map's mean plus one standard deviation, against the thing's cells:
#   intersection over union.
#
# **Predict.** Chance at the pointing game is the thing's share of the cells. How well will "cat",
# "hat" and "beach" do?

# %%
asked = ("cat", "hat", "beach")
latents = to_latents([d.image for d in drawn])
maps = adb.metrics.noised_maps(base, states, latents, [words[w] for w in asked])
print("maps:", maps.shape, "= pictures, noise levels, words, y, x")
element = {"cat": "subject", "hat": "accessory", "beach": "background"}
for number, word in enumerate(asked):
    truth = [
        adb.metrics.cells_on(adb.metrics.mask_cells(d.masks[element[word]], (16, 16)))
        for d in drawn
    ]
    hits = [
        adb.metrics.pointing_hit(m, on)
        for by_time, on in zip(maps[:, :, number], truth)
        for m in by_time
    ]
    unions = [
        adb.metrics.iou(m, on) for by_time, on in zip(maps[:, :, number], truth) for m in by_time
    ]
    grade = (
        "more than 9 in 10"
        if np.mean(hits) > 0.9
        else "more than half"
        if np.mean(hits) > 0.5
        else "less than half"
    )
    print(
        f"{word:<6} pointing: {grade} hits (chance {100 * np.mean(truth):.0f} %), IoU about "
        f"{np.mean(unions):.1f}"
    )

# %%
adb.teaching.show(
    adb.plots.attention_grid(
        [[d.image] * 3 for d in drawn[:3]],
        [list(maps[k, 1]) for k in range(3)],
        row_labels=[f"picture {k}" for k in range(3)],
        column_labels=[f"'{w}'" for w in asked],
        alt="Maps of cat, hat and beach in three pictures, noised to t = 350: on the cat, on the "
        "hat, around them.",
    )
)


def row_of_peak(m):
    return np.unravel_index(m.argmax(), m.shape)[0]


pairs = [
    (m[0], m[1]) for by_time in maps for m in by_time
]  # (cat's, hat's) for each picture and level
print(
    "the hat's peak lies higher than the cat's:",
    sum(row_of_peak(h) < row_of_peak(c) for c, h in pairs),
    "of",
    len(pairs),
)
print(
    "overlap of the two maps (1: the same map), about",
    round(float(np.mean([adb.metrics.overlap(c, h) for c, h in pairs])), 1),
)

# %% [markdown]
# **Explain.** Nobody told the model where things are: no mask was used in its training. Still "cat"
# and "hat" point at the right cells nearly always, and the hat's peak lies above the cat's. "Beach"
# hits because the beach is almost everywhere, so the hit is worth little; and its IoU is poor,
# since a few bright cells stand for a whole beach. Look at the chance level before you are
# impressed.
#
# The two maps overlap by about a half all the same, though the pictures hardly show it: faint
# attention is spread widely, and adds up. "Where a word looks" is a tendency, not an outline.
#
# ## 7. What attention maps do not tell
#
# **Predict.** The same cats *without* their hats, with the same caption. Where will the map of
# "hat" peak? And if the caption says "dog" and "moon" while the picture shows a cat on the beach?

# %%
from dataclasses import replace

bare = [world.render(replace(scene, accessory=None), seed=k) for k, scene in enumerate(scenes)]
hatless = to_latents([b.image for b in bare])
no_hat = adb.metrics.noised_maps(base, states, hatless, [words["hat"]])[:, :, 0]  # (12, 3, 16, 16)
cats = [adb.metrics.cells_on(adb.metrics.mask_cells(b.masks["subject"], (16, 16))) for b in bare]
top = [
    np.arange(16)[:, None] < np.where(on.any(1))[0][0] + 4 for on in cats
]  # rows down to the fourth of the cat
print(
    "no hat there: 'hat' peaks on the cat's head:",
    sum(
        bool((on & high).flat[m.argmax()])
        for by_time, on, high in zip(no_hat, cats, top)
        for m in by_time
    ),
    "of",
    no_hat.shape[0] * no_hat.shape[1],
)
print(
    "its largest probability without a hat over that with one, about",
    round(float(no_hat.max((2, 3)).mean() / maps[:, :, 1].max((2, 3)).mean()), 1),
)

false = "a photo of a red dog wearing a crown on the moon"
found = dict(adb.generation.prompt_words(base.tokenizer, false))
states = adb.base.TextStates(encode_text(false))
lies = adb.metrics.noised_maps(base, states, latents, [found["dog"], found["moon"]])
truth = [adb.metrics.cells_on(adb.metrics.mask_cells(d.masks["subject"], (16, 16))) for d in drawn]
print(
    "'dog' peaks on the cat:",
    sum(
        adb.metrics.pointing_hit(m, on)
        for by_time, on in zip(lies[:, :, 0], truth)
        for m in by_time
    ),
    "of",
    maps.shape[0] * maps.shape[1],
)
print(
    "'moon' takes more attention than 'beach' did:",
    bool(lies[:, :, 1].mean() > 1.5 * maps[:, :, 2].mean()),
)
adb.teaching.show(
    adb.plots.attention_grid(
        [[drawn[0].image, bare[0].image, drawn[0].image, drawn[0].image]],
        [[maps[0, 1, 1], no_hat[0, 1], lies[0, 1, 0], lies[0, 1, 1]]],
        column_labels=[
            "'hat', hat there",
            "'hat', no hat",
            "'dog', a cat there",
            "'moon', a beach there",
        ],
        alt="Four maps: hat on the hat, hat on the head of a cat without a hat, dog on the cat, "
        "moon in the background.",
    )
)

# %% [markdown]
# **Explain.** A map says where the model *would put* what the word says, and whether it is already
# there is another question. "Hat" points at a bare head, if less strongly than at a hat; "dog" sits
# on the cat; and "moon" takes *more* attention than the "beach" that is really there. That is right
# for a model that draws: its task is to make the picture fit the caption. But a good map is no
# proof that the thing is in the picture, nor that it looks right.
#
# Three more reasons for care:
#
# - Attention is only the weight. What arrives in the picture is weight times value, through seven
#   layers and everything between them. A bright map may carry a small change.
# - These maps are clean because the tiny model's text tower was trained to keep word states local
#   (see its [model card](../data/tiny-sd/README.md)). In models with an ordinary CLIP, the state of
#   a word carries more of the words before it, and maps are more mixed.
# - A mean over heads and layers hides that they disagree.
#
# Why look at all? Because for a new word the question *is* where the model would put it. In the
# next notebooks `[V]` will look at everything, or at nothing, and its map shows it before any
# picture does.
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
# ### Exercise 2 (medium, 8 minutes): the pointing game
#
# `word_map` is an array (n, n), `mask` a bool array of the whole picture, (n s, n s): each cell of
# the map covers a square of s x s pixels. Return True if the map's largest cell covers at least a
# quarter of pixels that are in the mask.


# %% tags=["stub"] exercise="02.2"
def points_at(word_map, mask):
    return ...


# %% tags=["solution"] exercise="02.2"
def points_at(word_map, mask):
    n = len(word_map)
    s = len(mask) // n
    y, x = np.unravel_index(word_map.argmax(), word_map.shape)
    return bool(mask[y * s : (y + 1) * s, x * s : (x + 1) * s].mean() >= 0.25)


# %% tags=["check"] exercise="02.2"
adb.teaching.check("02.2", points_at)

# %% [markdown]
# ### Exercise 3 (medium, 10 minutes): one map from many
#
# `layers` is a list of arrays (heads, n, n), the maps of one word in each layer; both numbers
# differ from layer to layer. Return one map of the largest size: first the mean over the heads of a
# layer, then enlarge it by repeating cells, then the mean over layers. (The core enlarges
# bilinearly; repeating is simpler. Sizes divide each other.)


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
# ## Summary
#
# - Cross-attention is $\mathrm{softmax}(QK^\top/\sqrt d)\,V$; a word's map is a column of the
#   probabilities.
# - The columns can be read by an explicit softmax, or exactly from a fused kernel by one-hot
#   channels: $P[V,S]=[PV,PS]$.
# - Against known masks, the maps of "cat" and "hat" hit; the map of "beach" shows why chance must
#   stand beside every score.
# - A map tells where a word would act. It does not tell whether the thing is there.
#
# **Read next:** Hertz et al. 2022, *Prompt-to-Prompt*,
# [arXiv 2208.01626](https://arxiv.org/abs/2208.01626); and figure 2 of the AttnDreamBooth
# [paper](https://arxiv.org/abs/2406.05000), which these maps lead to. **Next notebook:**
# [03 Textual Inversion and how it fails](03_textual_inversion_and_how_it_fails.ipynb).
