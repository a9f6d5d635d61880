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
# # 13 · Beyond still images
#
# {{badge}}
#
# A model that draws stills can do more than stills, and without another hour of training: it can
# walk from one picture to the next, hold its subject still while the world changes, put it where
# you point, mix it with something else, and appear on a whole sheet of looks. Each of these is a
# few lines around what you know: noise, text states, self-attention, and the map of `[V]`.
#
# **You will learn**
# - to walk through noise and words, and why noise takes a curve where words take a line;
# - what frames share when they read one another's self-attention, in two numbers;
# - to move a subject by the gradient of the very map that the regulariser uses.
#
# **Prerequisites:** [01](01_latent_diffusion_by_hand.ipynb) and
# [02](02_seeing_cross_attention.ipynb); a trained Pico, which this page trains if need be.
#
# **Measured time:** {{time}}

# %% tags=["bootstrap"]

# %% [markdown]
# Everything on this page happens between the words and the picture:

# %%
import adb_core as adb

diagram = adb.plots.diagram("unet")
adb.teaching.show(diagram)

# %% [markdown]
# ## 1. A walk
#
# Two stops: Pico on the beach from seed 0, Pico in the snow from seed 1. Between them the text
# states go along a line. Noise must not: **Predict.** Take the middle of two independent noises,
# half and half. What is its standard deviation?

# %%
import torch

base = adb.load_base("tiny")
concept = adb.Concept.bundled("pico")
pico = adb.teaching.trained(base, concept, "attndreambooth")

# %%
one, two = (adb.beyond.noise(base, seed) for seed in (0, 1))
line, curve = (one + two) / 2, adb.beyond.slerp(one, two, 0.5)
adb.teaching.fact("half and half", line.std(), between=(0.66, 0.75))
adb.teaching.fact("on the sphere", curve.std(), between=(0.95, 1.05))

# %% [markdown]
# **Explain.** Independent noises add in squares: $\sqrt{1/4+1/4}\approx 0.71$. The U-Net has never
# begun from noise that weak, and would take it for a picture half finished. On the sphere (slerp,
# Shoemake 1985) the length stays.

# %%
stops = [("a photo of a {} on the beach", 0), ("a photo of a {} in the snow", 1)]
walk = adb.beyond.walk(pico, stops, frames=8)


def strip(walks):
    """Frames of one or more walks, one row each."""
    names = list(walks)
    said = "; ".join(f"{name}: Pico's frames from the beach to the snow" for name in names)
    return adb.plots.image_grid(
        [list(w.frames) for w in walks.values()], row_labels=names, alt=said
    )


adb.teaching.show(strip({"walk": walk}))
print("frames:", walk.frames.shape)

# %% [markdown]
# This is a walk and not a video: nothing in it knows of time, and every frame is drawn on its own.
# `adb.beyond.save_frames("walk.gif", walk.frames)` writes it as a GIF, as WebP or as MP4.
#
# ## 2. Frames that look at the first one
#
# What a thing looks like is passed around in **self-attention**, where pixels ask pixels. If all
# frames take keys and values from the *first* frame there, they should take its looks over
# (Khachatryan et al. 2023, [arXiv 2303.13439](https://arxiv.org/abs/2303.13439)). The core's
# processor is short; the one line that does it:

# %%
import inspect

print(inspect.getsource(adb.beyond.cross_frame.first_of_each))

# %% [markdown]
# **Predict.** The same walk, sharing. Will it flicker less? Will the places still change?

# %%
shared = adb.beyond.walk(pico, stops, frames=8, shared=True)
adb.teaching.show(strip({"walk": walk, "shared": shared}))
judge = adb.load_judge()
photos = concept.squares(base.side)
steady = {
    name: adb.beyond.measure_steadiness(w.frames, judge.identity, photos).means
    for name, w in (("walk", walk), ("shared", shared))
}
for name, means in steady.items():
    adb.teaching.fact(f"{name}: identity", means["identity"], between=(0.2, 1))
    adb.teaching.fact(f"{name}: flicker", means["flicker"], between=(0.005, 0.2))
    adb.teaching.fact(f"{name}: leaps", means["leaps"], between=(0, 0.6))

# %%
less = steady["walk"]["flicker"] / steady["shared"]["flicker"]
adb.teaching.fact("flicker of the walk over that of shared frames", less, between=(1.2, 6))

# %% [markdown]
# **Explain.** *Flicker* is the mean change of a pixel from frame to frame, *leaps* how far the
# judge thinks the individual jumps, *identity* the cosine to Pico's photos. No number here knows
# what should move: a frozen picture has no flicker at all. So compare a walk only with the same
# walk, drawn another way, and look: the shared frames take more from the first one than Pico. They
# never leave the beach, whatever their words say.
#
# ## 3. Put it there
#
# The map of `[V]` says where Pico will be, and it can be differentiated (notebook 06 trained with
# it). So it can also be pulled, without training, while a picture is drawn: before each of the
# first steps the latent moves a little against the gradient of
#
# $$E = \Big(1 - \frac{\sum_{\text{box}} A_{[V]}}{\sum A_{[V]}}\Big)^2$$
#
# (Chen, Laina and Vedaldi 2023, [arXiv 2304.03373](https://arxiv.org/abs/2304.03373), equation 2).
#
# **Predict.** A box at the left, a box at the right, the same seeds. What will change besides Pico?

# %%
left, right = adb.beyond.Box(0, 0.3, 0.5, 1), adb.beyond.Box(0.5, 0.3, 1, 1)
prompt, seeds = "a photo of a {} on the beach", [0, 1, 2, 3]
plain = adb.generate(pico, prompt, seeds, steps=8)
placed = {
    name: adb.beyond.place(pico, prompt, box, seeds=seeds)
    for name, box in (("left", left), ("right", right))
}

# %%
rows = [list(plain.images)] + [
    [adb.beyond.outlined(image, p.box) for image in p.images] for p in placed.values()
]
adb.teaching.show(
    adb.plots.image_grid(
        rows,
        row_labels=["no box", "box at the left", "box at the right"],
        column_labels=[f"seed {s}" for s in seeds],
        alt="Pico on the beach for four seeds: anywhere, in a box at the left, at the right.",
    )
)

# %%
found = {}
for name, p in placed.items():
    maps = adb.beyond.picture_maps(pico, prompt, p.images)
    found[name] = adb.beyond.box_scores(maps, p.box).mass
before = adb.beyond.picture_maps(pico, prompt, plain.images)
unmoved = adb.beyond.box_scores(before, left).mass.mean()
adb.teaching.fact("left box, without a pull", unmoved, between=(0.2, 0.7))
adb.teaching.fact("left box, pulled", found["left"].mean(), between=(0.4, 1))

# %% [markdown]
# **Explain.** Pico goes where the box is, all of him, and the beach stays. It has a price: his
# marks suffer a little, and in one picture a box that nobody asked for stands where he was. Pushes
# come before the first steps only, since large things are settled there (notebook 01, section 8).
#
# The canvas does the same with sliders. Move the box, let go, and look; with another word at hand
# ("dog") the row of `[V]` can be mixed with its row as well.

# %%
canvas = adb.widgets.Canvas(pico, prompt, other="dog")
canvas.view

# %% [markdown]
# The same by code:

# %%
canvas.across.value = 0.75
print("in words:", canvas.text.split(":")[0])
adb.teaching.show(canvas.filmstrip(canvas.mix, [0.0, 0.3, 0.6, 1.0]))

# %% [markdown]
# ## 4. A sheet of looks
#
# One seed, one individual, styles in rows and places in columns: only words differ.

# %%
styles, places = (
    ["a photo", "a painting", "pixel art"],
    ["on the beach", "in the city", "on the moon"],
)
sheet = adb.beyond.avatar_sheet(pico, styles, places, ["", "wearing a hat"], seed=4)
adb.teaching.show(sheet.figure())
print("pictures:", len(sheet.images))

# %% [markdown]
# An avatar wants no background. The map of `[V]` is a mask, a rough one; how rough can be said,
# since the photos have true masks.
#
# **Predict.** The map has 16 by 16 cells. What share of mask and truth will they have in common
# (intersection over union)?

# %%
maps = adb.beyond.picture_maps(pico, "a photo of a {}", photos)
masks = [adb.beyond.map_mask(heat, base.side) for heat in maps]
true = [adb.metrics.mask_cells(m, (base.side, base.side)) > 0.5 for m in concept.masks]
overlaps = [adb.beyond.mask_iou(mask, truth) for mask, truth in zip(masks, true)]
adb.teaching.fact("intersection over union, mean", sum(overlaps) / 5, between=(0.4, 0.95))
cut = adb.beyond.cutouts(pico, "a photo of a {}", photos)  # (5, h, w, 4)
white = [c[..., :3] * (c[..., 3:] > 0) + 255 * (c[..., 3:] == 0) for c in cut]
adb.teaching.show(
    adb.plots.image_grid(
        [list(photos), white],
        row_labels=["photo", "cut out by [V]'s map"],
        alt="Pico's five photos, and Pico cut out of them by the map of [V], with rough edges.",
    )
)

# %% [markdown]
# **Explain.** Not good enough for a sticker: the map prefers ears, tail and feet, and his belly is
# missing. A word's map says where it is looked at, and that is not an outline. The mask comes from
# the word alone; no network was trained for it.
#
# ## 5. Break it
#
# Noise on the **line** instead of the sphere: `draw_states` takes any states and any noise.
#
# **Predict.** How bad will the picture in the middle be?

# %%
states = adb.beyond.text_states(pico, "a photo of a {} on the beach").repeat(3)
starts = torch.cat([one, line, curve])
broken = adb.beyond.draw_states(pico, states, starts)
adb.teaching.show(
    adb.plots.image_grid(
        [list(broken)],
        column_labels=["noise of seed 0", "half and half", "on the sphere"],
        alt="Three pictures of Pico on the beach: from proper noise, from noise that is too weak, "
        "and from the sphere.",
    )
)

# %% [markdown]
# **Explain.** Not very. The noisiest level that the model was trained on still holds 7 % of a
# picture (notebook 01), and this small model forgives a noise that is somewhat too weak. Others may
# not: keep to the sphere.
#
# ## Exercises
#
# ### Exercise 1 (easy, 5 minutes): flicker
#
# `frames` is uint8 (f, h, w, 3). Return the mean absolute change of a pixel from each frame to the
# next, f - 1 numbers between 0 and 1. (Mind that uint8 cannot be negative.)


# %% tags=["stub"] exercise="13.1"
def flicker(frames):
    return ...


# %% tags=["solution"] exercise="13.1"
def flicker(frames):
    values = frames.astype(float) / 255
    return abs(values[1:] - values[:-1]).mean((1, 2, 3))


# %% tags=["check"] exercise="13.1"
adb.teaching.check("13.1", flicker)

# %% [markdown]
# ### Exercise 2 (medium, 10 minutes): the sphere
#
# `a` and `b` are vectors (n,) of nearly the same length, `t` is between 0 and 1. Return
# $\frac{\sin((1-t)\varphi)}{\sin\varphi}a+\frac{\sin(t\varphi)}{\sin\varphi}b$ with the angle
# $\varphi$ between them. Arrays of numpy.


# %% tags=["stub"] exercise="13.2"
def on_sphere(a, b, t):
    return ...


# %% tags=["solution"] exercise="13.2"
def on_sphere(a, b, t):
    import numpy as np

    angle = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


# %% tags=["check"] exercise="13.2"
adb.teaching.check("13.2", on_sphere)

# %% [markdown]
# ### Exercise 3 (medium, 8 minutes): the energy of a box
#
# `word_map` is a tensor (y, x), `top, bottom, left, right` are rows and columns of a box (the ends
# not included). Return $E$ as a tensor, so that it can be differentiated.


# %% tags=["stub"] exercise="13.3"
def energy(word_map, top, bottom, left, right):
    return ...


# %% tags=["solution"] exercise="13.3"
def energy(word_map, top, bottom, left, right):
    inside = word_map[top:bottom, left:right].sum()
    return (1 - inside / word_map.sum()) ** 2


# %% tags=["check"] exercise="13.3"
adb.teaching.check("13.3", energy)

# %% [markdown]
# ### Exercise 4 (HARD, 15 minutes): all look at the first one
#
# One head of a self-attention layer, in the middle of drawing f frames with guidance: `q`, `k`, `v`
# are tensors (2f, pixels, d), first the f frames with the empty caption, then the f frames with
# theirs. Return $\mathrm{softmax}(q k^\top/\sqrt d)\,v$, (2f, pixels, d), where every frame reads
# the keys and values of the first frame **of its own half**.


# %% tags=["stub"] exercise="13.4"
def from_the_first(q, k, v):
    return ...


# %% tags=["solution"] exercise="13.4"
def from_the_first(q, k, v):
    f, d = len(q) // 2, q.shape[-1]
    first = torch.tensor([0] * f + [f] * f)
    weights = torch.softmax(q @ k[first].transpose(1, 2) / d**0.5, dim=-1)
    return weights @ v[first]


# %% tags=["check"] exercise="13.4"
adb.teaching.check("13.4", from_the_first)

# %% [markdown]
# ## Summary
#
# - Noise is walked on a sphere, words on a line; a walk is not a video.
# - Self-attention carries looks, cross-attention carries words: share the one, steer the other.
# - The map of `[V]` is a lever and a mask, and nothing had to be trained for either.
#
# **Read next:** Khachatryan et al. 2023 and Chen et al. 2023, linked above; Guo et al., AnimateDiff
# ([arXiv 2307.04725](https://arxiv.org/abs/2307.04725)), for motion that is learned, which this
# page does not do. **Next notebook:** [14 Responsible use](14_responsible_use.ipynb).
