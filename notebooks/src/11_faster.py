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
# # 11 · Where the time goes
#
# {{badge}}
#
# A personalisation takes half a minute here and minutes on a GPU. Which part of a step costs what?
# What can be saved without losing anything, and what is a trade? This page takes one step apart,
# then makes one change at a time, each measured against what it replaces.
#
# **You will learn**
# - to time two ways of doing the same so that a slow moment of the machine does not decide;
# - what caching, smaller reads, fewer steps and smaller files save, here, in numbers;
# - to count what a computer could do, and how much of that is used.
#
# **Prerequisites:** notebooks [02](02_seeing_cross_attention.ipynb) and
# [06](06_stage_2_attention_map.ipynb).
#
# **Measured time:** {{time}}

# %% tags=["bootstrap"]

# %% [markdown]
# One step of stage 2 goes once through all of these boxes, and back through the orange ones.

# %%
import adb_core as adb

diagram = adb.plots.diagram(["unet", "maps"], adb.recipe("attndreambooth").stages[1])
adb.teaching.show(diagram)

# %% [markdown]
# ## 1. A fair race
#
# Computers are busy with other things, and processors change their speed. Whoever times one way ten
# times and then the other ten times measures the weather. `times_faster` runs both in turn, takes
# the ratio **within** each round, and reports its median and its quartiles.

# %%
import inspect
from functools import partial

import numpy as np
import torch

print(inspect.getsource(adb.teaching.interleave))

# %% [markdown]
# ## 2. One step, taken apart
#
# A batch of four, as in the tiny preset: encode four photos, encode the prompt, ask the U-Net what
# is noise, go back through it, and let the optimizer move the weights.
#
# **Predict.** Which of the five takes longest? Which could be left out of most steps?

# %%
base, concept = adb.load_base("tiny"), adb.Concept.bundled("pico")
result = adb.teaching.trained(base, concept, "attndreambooth_fast")
learner, token = result.learner, result.token
photos = torch.tensor(concept.squares(base.side)[:4]).permute(0, 3, 1, 2) / 127.5 - 1
ids = token.tokenize([learner.prompt("a photo of a {}")] * 4)
latents = base.vae.encode(photos).latent_dist.mean.detach() * base.vae.config.scaling_factor
states = token.encode(ids).detach()
noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
times = torch.tensor([100, 300, 500, 700])
noisy = base.scheduler.add_noise(latents, noise, times)
unet = learner.unet.requires_grad_(True)
optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-9)  # moves, but hardly


# %%
def forward():
    return unet(noisy, times, encoder_hidden_states=states).sample.square().mean()


def encode():
    with torch.no_grad():
        base.vae.encode(photos)


def read():
    with torch.no_grad():
        token.encode(ids)


def there_and_back():
    optimizer.zero_grad()
    forward().backward()


# %%
there_and_back()
parts = {"VAE": encode, "text": read, "U-Net, there": forward, "there and back": there_and_back}
parts["optimizer"] = optimizer.step
taken = adb.teaching.interleave(parts, 5, torch.device("cpu"), warmup=1)
ms = {name: 1000 * float(np.median(seconds)) for name, seconds in taken.items()}
ms["U-Net, back"] = ms.pop("there and back") - ms["U-Net, there"]

# %%
alt = "Milliseconds of each part: " + ", ".join(f"{name} {t:.0f}" for name, t in ms.items())
figure = adb.plots.new_figure(6.4, 2.2, alt)
ax = adb.plots.style_axes(figure.subplots(), "one step, batch of 4", "milliseconds")
colors = list(adb.plots.OKABE_ITO.values())
ax.barh(range(len(ms)), list(ms.values()), color=colors[: len(ms)], edgecolor=adb.plots.INK)
ax.set_yticks(range(len(ms)), list(ms))
ax.invert_yaxis()
adb.teaching.show(figure)
share = {name: 100 * t / sum(ms.values()) for name, t in ms.items()}
both_ways = share["U-Net, there"] + share["U-Net, back"]
adb.teaching.fact("U-Net's share of the step", both_ways, between=(40, 95), unit="%")
adb.teaching.fact("VAE's share", share["VAE"], between=(1, 70), unit="%")
adb.teaching.fact("text encoder's share", share["text"], between=(0, 30), unit="%")

# %% [markdown]
# **Explain.** The U-Net takes most of the step, and most of that on the way back. VAE and text
# encoder are a tenth together here, and could be left out: neither the photos nor, in stages 2 and
# 3, the prompt's states change.
#
# ## 3. What can be kept
#
# The photos do not change, and in stages 2 and 3 neither does the prompt's row. Their latents and
# states can be computed once. (The core does: several crops of each photo are encoded before the
# first step, and a step draws from them.)


# %%
def step_without_caches():
    encode()
    read()
    there_and_back()


kept = adb.teaching.times_faster(step_without_caches, there_and_back, rounds=5)
adb.teaching.fact("with latents and states kept, times faster", kept.median, between=(1, 3))

# %% [markdown]
# **Explain.** This saving is free: the numbers are the same to the bit. On a large model it also
# frees memory, since VAE and text encoder can leave the GPU.
#
# ## 4. Read two columns, not the whole map
#
# The regulariser needs the maps of two words. A layer's full map has a column for each of 40
# tokens. The core's capture multiplies the queries with the keys of the *two* tokens and gets the
# normaliser from the fused kernel (notebook 02); the oracle computes everything, then looks.
#
# **Predict.** Is reading two columns much cheaper on a model this small?

# %%
v, category = (place[0] for place in token.positions(ids[0]))


def captured(path):
    """A pass whose loss reads two words' maps, and back."""
    optimizer.zero_grad()
    with adb.capture_attention(unet, [v, category], path=path) as capture:
        loss = forward() + sum(maps.float().var() for maps in capture.layers.values())
        loss.backward()


paths = {"explicit softmax": "oracle", "fused kernel": "fused"}
for name, path in paths.items():
    cost = adb.teaching.times_faster(partial(captured, path), there_and_back, rounds=5)
    label = f"step with maps, {name}, times a step without"
    adb.teaching.fact(label, cost.median, between=(0.8, 4))

# %% [markdown]
# **Explain.** Either way it costs a few per cent. With 40 tokens and 256 pixels a full map is
# small. With 77 tokens and 4,096 pixels it is not (notebook 02 counts), and there the fused path
# saves memory; which of the two is faster depends on the device, and
# `benchmarks/attention_paths.py` measures it.
#
# ## 5. Fewer numbers in a number
#
# bf16 keeps float32's range with 3 digits. Processors with instructions for it multiply such
# matrices faster; others imitate them and are slower.


# %%
def in_bf16():
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = forward()
    loss.backward()


half = adb.teaching.times_faster(there_and_back, in_bf16, rounds=5)
adb.teaching.fact("bf16, times faster than float32", half.median, between=(0.05, 6))
with torch.no_grad():
    exact = float(forward())
    with torch.autocast("cpu", torch.bfloat16):
        rough = float(forward())
change = 100 * abs(rough / exact - 1)
adb.teaching.fact("change of the loss", change, between=(0, 2), unit="%")

# %% [markdown]
# **Explain.** Above 1 this processor has the instructions, below 1 it imitates them. The loss
# changes in its third digit, as one would expect. The command line uses bf16 where it helps; the
# notebooks train in float32, so that what they print is the same everywhere.
#
# ## 6. Fewer steps
#
# That saves for sure, and may cost. The paper's fast version halves the third stage's steps and
# doubles their rate.
#
# **Predict.** What will be lost?

# %%
long = adb.teaching.trained(base, concept, "attndreambooth")
prompts = ["a photo of a {}", "a photo of a {} wearing a hat on the beach"]
seeds = [0, 1, 2]
drawn = {"fast": adb.generate(result, prompts, seeds), "full": adb.generate(long, prompts, seeds)}
adb.teaching.show(
    adb.plots.image_grid(
        [list(made.images) for made in drawn.values()],
        row_labels=[
            f"{adb.recipe(n).steps} steps" for n in ("attndreambooth_fast", "attndreambooth")
        ],
        alt="Two prompts, three seeds each, after the fast version and after the full one.",
    )
)

# %%
judge = adb.load_judge()
mine = judge.identity(concept.squares(base.side))
for name, made in drawn.items():
    same = adb.metrics.cosine_to_mean(judge.identity(made.images), mine).mean()
    adb.teaching.fact(f"{name}: identity", same, between=(0.55, 0.95))

# %% [markdown]
# **Explain.** Forty steps fewer, and a little less of Pico: hardly more than two seeds differ by.
# On six pictures of one concept this is an illustration; `adb evaluate --recipes
# attndreambooth_fast` would measure it.
#
# Drawing has steps as well: 25 here, and the U-Net is asked twice in each (notebook 01).

# %%
chosen = (4, 8, 15, 25)
rows, said = {}, {}
for steps in chosen:
    rows[steps] = adb.generate(long, prompts[1], seeds, steps=steps).images
    same = adb.metrics.cosine_to_mean(judge.identity(rows[steps]), mine).mean()
    said[steps] = f"{steps} steps: mean identity {same:.2f}"
slider = adb.widgets.PictureSlider("sampling steps", rows, said, prompts[1], start=25)
slider.view

# %%
adb.teaching.show(
    adb.plots.image_grid(
        [list(rows[steps]) for steps in chosen],
        row_labels=[f"{steps} steps" for steps in chosen],
        alt="Three seeds drawn in 4, 8, 15 and 25 steps.",
    )
)

# %% [markdown]
# **Explain.** In four steps there is a cat in Pico's colors. From eight on it is Pico; what later
# steps add are edges. A walk or a canvas (notebook 13) is drawn in eight, a result that is kept in
# 25.
#
# ## 7. Smaller files
#
# LoRA (Hu et al. 2021, [arXiv 2106.09685](https://arxiv.org/abs/2106.09685)) writes the change of a
# weight as a product of two thin matrices, $W + \frac{\alpha}{r} B A$ with $B A$ of rank $r$. What
# is trained and stored shrinks; the time of a step hardly does, for the way through the U-Net is
# as long.

# %%
recipe = adb.recipe("attndreambooth_lora")
thin = adb.Learner(base, concept, recipe, view_count=1)
stage = recipe.stages[2]
many = sum(
    p.numel() for p in long.learner.parameters(adb.recipe("attndreambooth").stages[2]).values()
)
few = sum(p.numel() for p in thin.parameters(stage).values())
print("rank:", recipe.lora.rank, "| layers:", recipe.lora.targets)
adb.teaching.fact("numbers that stage 3 trains, millions", many / 1e6, between=(11, 12))
adb.teaching.fact("with LoRA, millions", few / 1e6, between=(0.6, 0.7))

# %% [markdown]
# **Explain.** Seventeen times fewer numbers, for any pipeline of the base model to load. Each step
# still goes through the whole U-Net.
#
# ## 8. The roof
#
# How fast could a step be? Count its multiplications, and measure how many this processor does when
# it does nothing else: one large matrix product. The quotient is the *utilisation*. (On GPUs one
# divides by the data sheet's number: MFU.)

# %%
from torch.utils.flop_counter import FlopCounterMode

with FlopCounterMode(display=False) as counter:
    there_and_back()
flops = counter.get_total_flops()
a = torch.randn(1024, 1024)
best = {"product": lambda: a @ a, "step": there_and_back}
seconds = {
    n: float(np.median(t)) for n, t in adb.teaching.interleave(best, 7, torch.device("cpu")).items()
}
roof = 2 * 1024**3 / seconds["product"]
adb.teaching.fact("a step, billion operations", flops / 1e9, between=(10, 30))
used = 100 * flops / seconds["step"] / roof
adb.teaching.fact("of what the processor could do", used, between=(1, 100), unit="%")

# %% [markdown]
# **Explain.** On the machine that wrote this page the step uses more than half of what a single
# large product does. So there is little to gain by cleverer code, and much by doing less: fewer
# steps, smaller pictures, kept latents. On a GPU small models use a few per cent of the roof, since
# launching the work takes longer than doing it.
#
# ## Exercises
#
# ### Exercise 1 (easy, 5 minutes): the median of ratios
#
# `slow` and `fast` (n,) are seconds of n rounds. Return the median of the rounds' ratios slow /
# fast, and not the ratio of medians.


# %% tags=["stub"] exercise="11.1"
def speedup(slow, fast):
    return ...


# %% tags=["solution"] exercise="11.1"
def speedup(slow, fast):
    return np.median(slow / fast)


# %% tags=["check"] exercise="11.1"
adb.teaching.check("11.1", speedup)

# %% [markdown]
# ### Exercise 2 (medium, 8 minutes): how small is a low rank?
#
# A weight has shape (m, n). How many times fewer numbers does an adapter of rank r train than the
# whole weight has?


# %% tags=["stub"] exercise="11.2"
def times_smaller(m, n, r):
    return ...


# %% tags=["solution"] exercise="11.2"
def times_smaller(m, n, r):
    return m * n / (r * (m + n))


# %% tags=["check"] exercise="11.2"
adb.teaching.check("11.2", times_smaller)

# %% [markdown]
# ### Exercise 3 (HARD, 15 minutes): twice as fast
#
# This function scores every picture against every photo, and it is slow. Write one that returns the
# same numbers (to 1e-5) in at most half the time. `pictures` is (n, d), `photos` (m, d), neither of
# length 1; the result is (n,), each picture's mean cosine to the photos.
#
# ```python
# def slow(pictures, photos):
#     scores = []
#     for picture in pictures:
#         cosines = []
#         for photo in photos:
#             lengths = np.sqrt(np.sum(picture**2)) * np.sqrt(np.sum(photo**2))
#             cosines.append(np.sum(picture * photo) / lengths)
#         scores.append(np.mean(cosines))
#     return np.array(scores)
# ```


# %% tags=["stub"] exercise="11.3"
def fast(pictures, photos):
    return ...


# %% tags=["solution"] exercise="11.3"
def fast(pictures, photos):
    mean = (photos / np.linalg.norm(photos, axis=1, keepdims=True)).mean(0)  # one vector: (d,)
    return pictures @ mean / np.linalg.norm(pictures, axis=1)


# %% tags=["check"] exercise="11.3"
adb.teaching.check("11.3", fast)

# %% [markdown]
# ## Quiz

# %%
adb.teaching.quiz(*adb.teaching.questions("11"))

# %% [markdown]
# ## Summary
#
# - Race both sides in turn, and compare within rounds.
# - Keeping latents and states costs nothing and changes nothing. Fewer steps and lower precision
#   are trades: say what they cost.
# - LoRA saves numbers to store, not time.
#
# **Read next:** Williams et al. 2009, "Roofline", *Communications of the ACM* 52; Hu et al. 2021,
# [arXiv 2106.09685](https://arxiv.org/abs/2106.09685). **Next notebook:**
# [12 Your own pictures](12_your_own_pictures.ipynb).
