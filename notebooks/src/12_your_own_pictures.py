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
# # 12 · Your own pictures
#
# {{badge}}
#
# Everything so far was one drawn cat. This page takes a folder of photos, looks at them before
# anything is trained, says what fits into this machine's memory, and goes through the three stages
# with a model of your choice. Without a GPU or a network it goes the same way with the bundled
# model and drawn photos, and says so; nothing below pretends to be what it is not.
#
# **You will learn**
# - what makes five photos good ones, measured before training;
# - which model fits which memory, and why;
# - to train, look at, measure and save your own concept in a dozen lines.
#
# **Prerequisites:** notebooks [00](00_start_here.ipynb) and [07](07_stage_3_identity.ipynb).
#
# **Measured time:** {{time}}

# %% tags=["bootstrap"]

# %% [markdown]
# The boxes are the same for every model: only their size changes.

# %%
import adb_core as adb

diagram = adb.plots.diagram(["text encoder", "unet", "decoder"])
adb.teaching.show(diagram)

# %% [markdown]
# ## 1. Your folder
#
# Set `MY_PHOTOS` to a folder with three to six photos of one thing, `CATEGORY` to what it is in one
# or two plain words, and `MODEL` to a name of section 4. On Colab, upload a zip file in the panel
# at the left and unpack it with `!unzip photos.zip -d my_photos`. As long as `MY_PHOTOS` is None,
# this page uses Pico's bundled photos.

# %%
MY_PHOTOS, CATEGORY, MODEL = None, "cat", "tiny"

# %%
import numpy as np

if MY_PHOTOS is None:
    concept = adb.Concept.bundled("pico")
    print("no photos of your own yet: Pico's, drawn by a program")
else:
    concept = adb.Concept.from_folder(MY_PHOTOS, category=CATEGORY)
base = adb.load_base(MODEL)
print(f"{len(concept.images)} photos of {concept.name}, a {concept.category}")
print("model:", base.name, "| pixels:", base.side, "| device:", base.device)

# %% [markdown]
# **Ask first.** Is a person in the pictures, or somebody's work? Then it is theirs to say yes or
# no, before you train: [notebook 14](14_responsible_use.ipynb). `concept.json` beside the photos
# has room for what they said (`shows`, `given_by`, `license`, `consent`), and the model's card
# repeats it. `adb crop-preview --people` has a small detector point people out; nobody is left out.
#
# ## 2. Look before you train
#
# Training repeats five photos hundreds of times. Whatever they share is learned: the sofa, the
# blur, the date in the corner.
#
# **Predict.** We add a photo that is blurred and one that is nearly a copy. Which numbers could
# give them away?

# %%
from PIL import Image, ImageFilter

photos = adb.photos

images = list(concept.images)
soft = Image.fromarray(images[0]).filter(ImageFilter.GaussianBlur(4))
copy = Image.fromarray(images[1]).resize((120, 120)).resize(images[1].shape[1::-1])
suspects = [*images, np.asarray(soft), np.asarray(copy)]
names = [f"photo {k}" for k in range(1, len(images) + 1)] + ["the blurred one", "the copy"]
for line in photos.remarks(suspects, names, side=base.side):
    print("-", line)

# %% [markdown]
# **Explain.** *Blur* asks what one more blur would still take from a picture's edges: a sharp one
# loses most, a blurred one has nothing left to lose (Crete et al. 2007). *Nearly the same* compares
# 256 bits that say whether a coarse picture gets brighter to the right; scaling and compression
# leave them alone. Both are hints; look yourself.
#
# A model sees squares of one size. Which part of a photo is kept is worth a look too: here the
# square and three views as they are trained on, for each photo.

# %%
parts = [photos.square(image.shape, "center") for image in images]
sheet = photos.crop_sheet(images, parts, [photos.cut(i, p) for i, p in zip(images, parts)])
adb.teaching.show(
    adb.plots.image_grid([[sheet]], alt="Each photo, the square that is kept, and three views.")
)
sharpness = [photos.blur(image) for image in images]
adb.teaching.fact("blur of the photos, highest", max(sharpness), between=(0.1, 0.45))

# %% [markdown]
# ## 3. What fits
#
# Training keeps, for each weight that moves, the weight, its gradient and two running means: 16
# bytes in float32. Stable Diffusion 2.1's U-Net has 866 million. A *tier* is a set of savings.
#
# **Predict.** Stage 2 trains one in twenty of the weights. Which stage decides what is needed?

# %%
tiers, SD21 = adb.tiers, adb.tiers.SD21
paper = adb.recipe("attndreambooth", "paper")
for name, tier in tiers.TIERS.items():
    need = tiers.estimate(tier, SD21, paper)
    batch = tiers.samples_at_once(tier, SD21)
    saved = ", ".join(n for n in ("checkpointing", "offload") if getattr(tier, n)) or "nothing else"
    print(f"{name:6} {need:5.1f} GiB by estimate, {batch} at once, {tier.optimizer}, {saved}")

# %%
import textwrap

import torch


def advice(gib):
    """The tier that is chosen for a GPU with so much memory free, and why."""
    try:
        return tiers.choose(gib, torch.device("cuda"), SD21, paper)[1]
    except adb.engine.TrainingError as error:
        return str(error)


for gib in (8, 16, 24):
    print(textwrap.fill(f"{gib} GiB free: {advice(gib)}", 96, subsequent_indent="    "))

# %% [markdown]
# **Explain.** Stage 3: it moves the whole U-Net. *Checkpointing* forgets activations and computes
# them again; the 8-bit Adam keeps its means in a byte each; *offload* sends the VAE and the text
# encoder away while they have nothing to do. All tiers take the same steps. These are estimates by
# arithmetic: nobody has measured them on a GPU yet. Where one is wrong, memory runs out, and the
# run goes on one tier lower from its last step. `adb doctor` says the same for this machine.
#
# ## 4. Which model

# %%
print(f"{'name':16}{'pixels':>7}{'steps':>7}{'guidance':>10}  licence, where from")
for model in adb.models.MODELS:
    where = model.hub_id or "bundled"
    drawn = f"{model.resolution:7}{model.steps:7}{model.guidance:10}"
    print(f"{model.name:16}{drawn}  {model.license}, {where}")

# %% [markdown]
# `bk-sdm-v2-tiny` is Stable Diffusion 2.1 with a third of its U-Net, the stepping stone for a
# laptop; `sd21` is the paper's. They are downloaded when they are first asked for, each at a fixed
# commit, safetensors only. Read the licence of the one you use.
#
# ## 5. The three stages
#
# For real models use the paper's preset: `adb.recipe("attndreambooth", "paper")`. On Colab's T4 (15
# GiB) tier `gpu16` fits by estimate; its time is **not measured**.

# %%
plan = adb.recipe("attndreambooth", "tiny" if MODEL == "tiny" else "paper")
result = adb.teaching.trained(base, concept, plan)
for stage in plan.stages:
    print(f"{stage.name:10} {stage.steps:4} steps of {stage.batch_size}")

# %%
prompts = ["a photo of a {}", "a photo of a {} on the beach", "a painting of a {} in the forest"]
seeds = [0, 1, 2]
made = {p: adb.generate(result, p, seeds) for p in prompts}
adb.teaching.show(
    adb.plots.image_grid(
        [concept.squares(base.side)[:3], *[g.images for g in made.values()]],
        row_labels=["photos", *[p.replace("{}", "[V]") for p in prompts]],
        alt=f"Photos of {concept.name}, and three prompts with three seeds each.",
    )
)

# %% [markdown]
# **Explain.** From five photos and half a minute: Pico, Pico on the beach, Pico in paint. What the
# photos had in common, a plain wall or a kitchen, does not follow where another place is named.
#
# ## 6. Look at the word, and measure
#
# Where `[V]` looks and where it stands among the words need no ground truth.

# %%
seen = adb.generate(result, prompts[1], [0], maps=True)
adb.teaching.show(adb.plots.word_maps(seen.images[0], seen.word_maps(0), seen.prompts[0]))
drift = result.token.drift()
print("nearest words:", *sorted(word for word, _ in drift.nearest[:2]))
adb.teaching.fact("distance from its start", drift.distance, between=(0.4, 0.9))

# %% [markdown]
# Identity does: the bundled judge knows the drawn world alone. For photographs the field uses
# CLIP-I and DINO (cosines of pictures' embeddings) and CLIP-T (picture against prompt);
# `adb.load_clip("openai/clip-vit-base-patch32")` loads the hub's CLIP. Here, with the bundled ones:

# %%
judge, clip = adb.load_judge(), adb.load_clip()
mine = judge.identity(concept.squares(base.side))
theirs = adb.metrics.embed_images(clip, concept.squares(base.side)).mean(0, keepdims=True)
for prompt, g in made.items():
    same = adb.metrics.cosine_to_mean(judge.identity(g.images), mine).mean()
    texts = adb.metrics.embed_texts(clip, [prompt.replace("{}", concept.category)] * len(seeds))
    found = adb.metrics.embed_images(clip, g.images)
    adb.teaching.fact(f"{prompt}: identity", same, between=(0.5, 0.95))
    clip_t = adb.metrics.paired_cosine(found, texts).mean()
    adb.teaching.fact(f"{prompt}: CLIP-T", clip_t, between=(0.4, 0.9))

# %% [markdown]
# **Explain.** Identity is lowest in the painting, which shows less of anybody. CLIP-T is lowest for
# the shortest prompt, which says nothing about the picture but "cat". Numbers of two different
# CLIPs cannot be compared: with the hub's, put your base model's pictures beside yours.
#
# Try prompts of your own; the bench draws them while you type the next one.

# %%
bench = adb.widgets.PromptBench(
    {"base model": base, "personalised": result}, category=concept.category
)
bench.view

# %% [markdown]
# ## 7. Keep it, share it
#
# A full model is a folder that plain diffusers loads. With a recipe of LoRA (`attndreambooth_lora`)
# the result is two small files beside any copy of the base model.

# %%
folder = result.save_pretrained(adb.teaching.workspace() / "my-model")
sizes = {p.parent.name: p.stat().st_size / 1e6 for p in sorted(folder.glob("*/*.safetensors"))}
print(", ".join(f"{part} {mb:.0f} MB" for part, mb in sizes.items()))
print("card:", (folder / "README.md").exists(), "| the word:", concept.placeholder)

# %% [markdown]
# ## Exercises
#
# ### Exercise 1 (easy, 5 minutes): the largest square
#
# A photo has `height` and `width`. Return (top, left, side) of the largest square in its middle, in
# whole pixels; where it cannot be exactly in the middle, round down.


# %% tags=["stub"] exercise="12.1"
def center_square(height, width):
    return ...


# %% tags=["solution"] exercise="12.1"
def center_square(height, width):
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side


# %% tags=["check"] exercise="12.1"
adb.teaching.check("12.1", center_square)

# %% [markdown]
# ### Exercise 2 (medium, 8 minutes): near-duplicates
#
# `hashes` is bool (n, bits), one row a photo. Return the pairs (i, j), i < j, whose rows differ in
# at most `most` bits, sorted.


# %% tags=["stub"] exercise="12.2"
def twins(hashes, most):
    return ...


# %% tags=["solution"] exercise="12.2"
def twins(hashes, most):
    n = len(hashes)
    differ = [[np.count_nonzero(hashes[i] != hashes[j]) for j in range(n)] for i in range(n)]
    return [(i, j) for i in range(n) for j in range(i + 1, n) if differ[i][j] <= most]


# %% tags=["check"] exercise="12.2"
adb.teaching.check("12.2", twins)

# %% [markdown]
# ### Exercise 3 (HARD, 15 minutes): how many gigabytes?
#
# A training keeps all `weights` in float32 and, where `half` is True, a copy of them in 16 bits for
# the passes. Of the `trained` ones it keeps gradients in float32, and two running means: in float32
# each with `adam_bits` 32, in one byte each with 8. Activations take `per_sample` bytes for each of
# `batch` samples. Return GiB ($2^{30}$ bytes).


# %% tags=["stub"] exercise="12.3"
def gigabytes(weights, trained, batch, per_sample, half, adam_bits):
    return ...


# %% tags=["solution"] exercise="12.3"
def gigabytes(weights, trained, batch, per_sample, half, adam_bits):
    kept = weights * (4 + (2 if half else 0))
    moving = trained * (4 + 2 * adam_bits // 8)  # gradient, and two means
    return (kept + moving + batch * per_sample) / 2**30


# %% tags=["check"] exercise="12.3"
adb.teaching.check("12.3", gigabytes)

# %% [markdown]
# ## Quiz

# %%
adb.teaching.quiz(*adb.teaching.questions("12"))

# %% [markdown]
# ## Summary
#
# - Look at the photos first: what they share is learned, and so is what is wrong with them.
# - Memory is weights, gradients, means and activations; each tier gives up time or precision for
#   one of them.
# - The dozen lines are the same for the tiny model and for Stable Diffusion.
#
# **Read next:** section 3 of Ruiz et al. 2023,
# [arXiv 2208.12242](https://arxiv.org/abs/2208.12242), for what they photographed and how; Kim et
# al. 2023, BK-SDM,
# [arXiv 2305.15798](https://arxiv.org/abs/2305.15798). **Next notebook:**
# [13 Beyond still images](13_beyond_still_images.ipynb).
