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
# # 04 · DreamBooth, and how it fails
#
# {{badge}}
#
# Textual Inversion moves one row and leaves the model alone. DreamBooth (Ruiz et al. 2023,
# [arXiv 2208.12242](https://arxiv.org/abs/2208.12242)) does the opposite: the word is a rare token
# that stays where it is, and the whole U-Net is trained until that token means the individual.
#
# The individual gets what one row could not give it, its patches. But the word itself has learned
# nothing, and the model has learned from five pictures what it should not: that cats in general
# look like this one.
#
# **You will learn**
# - what DreamBooth moves and what it leaves, checked in numbers;
# - what an attention map of a word looks like that never found its place;
# - how prior preservation protects "a cat", and what it costs.
#
# **Prerequisites:** notebooks [02](02_seeing_cross_attention.ipynb) and
# [03](03_textual_inversion_and_how_it_fails.ipynb).
#
# **Measured time:** {{time}}

# %% tags=["bootstrap"]

# %% [markdown]
# Where this page stands in the series. Orange is trained, grey is frozen: the row of [V] stays as
# it is here.

# %%
import adb_core as adb

diagram = adb.plots.diagram("unet", adb.recipe("dreambooth").stages[0])
adb.teaching.show(diagram)

# %% [markdown]
# ## 1. A rare token
#
# DreamBooth wants a word without a meaning of its own, so that there is nothing to unlearn. The
# authors search their tokenizer for rare tokens; the best known one of the community is `sks`. Our
# tiny model's vocabulary has that token too, and no caption of its training contained it.

# %%
from dataclasses import replace

import numpy as np
import torch

base = adb.load_base("tiny")
concept = adb.Concept.bundled("pico")
judge = adb.load_judge()
plan = adb.recipe("dreambooth")
table = base.text_encoder.get_input_embeddings().weight.detach().float()
lengths = table.norm(dim=1)
rare, common = (base.tokenizer(w, add_special_tokens=False).input_ids for w in ("sks", "cat"))
print("pieces of 'sks':", len(rare), "| of 'cat':", len(common))
print("row of 'sks' shorter than the mean row:", bool(lengths[rare[0]] < lengths.mean()))
print("row of 'cat' longer than the mean row:", bool(lengths[common[0]] > lengths.mean()))
print("trains:", plan.stages[0].train, "| starts as:", plan.init, "| {} becomes:", plan.subject)

# %% [markdown]
# A row that was never used keeps the small random numbers that it was created with. Rows of words
# that mattered have grown.
#
# ## 2. Train
#
# The loss is the same diffusion loss as ever; what differs is what it is allowed to move:
#
# $$\min_\theta \; \mathbb E_{z,\,\epsilon,\,t}\;
# \big\| \epsilon - \epsilon_\theta(z_t, t, c) \big\|^2
# \qquad c = \text{text states of "a photo of a [V] cat"}$$
#
# (Ruiz et al., section 3.2; the minimum is over $\theta$, the weights of the U-Net.)
#
# **Predict.** How far does the row of [V] move? And how many of the U-Net's tensors?

# %%
db = adb.teaching.trained(base, concept, "dreambooth")
drift = db.token.drift()
pairs = list(zip(base.unet.parameters(), db.learner.unet.parameters()))
print("distance of [V] from its start:", drift.distance)
print(
    "tensors of the U-Net that changed:",
    sum(not torch.equal(a, b) for a, b in pairs),
    "of",
    len(pairs),
)
change = (
    torch.stack([(a - b).norm() for a, b in pairs]).norm()
    / torch.stack([a.norm() for a, _ in pairs]).norm()
)
print("relative change of all weights below 10 %:", bool(change < 0.1))

# %% [markdown]
# **Explain.** Exactly zero, not nearly: the row is not among the parameters of this recipe. The
# U-Net moved as a whole, each weight a little.
#
# ## 3. What it can do
#
# **Predict.** Textual Inversion found Pico's colour and no orange patches. Will they be there this
# time?

# %%
seeds = [0, 1, 2, 3]
simple = adb.generate(db, "a photo of a {}", seeds)
adb.teaching.show(
    adb.plots.image_grid(
        [concept.squares(base.side)[:4], simple.images],
        row_labels=["photos", "DreamBooth: a photo of a [V] cat"],
        alt="Photos of Pico, and what DreamBooth draws for a photo of a [V] cat.",
    )
)
photos = judge.identity(concept.squares(base.side))


def identity(images):
    """How much each picture shows Pico: cosine to the mean of the photos, 1 is the same."""
    return adb.metrics.cosine_to_mean(judge.identity(images), photos)


print("mean identity above 0.6:", identity(simple.images).mean() > 0.6)
print("places in the photos:", sorted(adb.metrics.training_places(concept)))
print(
    "all places in the pictures are among them:",
    set(judge.read(simple.images)["place"]) <= adb.metrics.training_places(concept),
)

# %% [markdown]
# **Explain.** Pico's colour, and this time orange patches too, on something that is clearly a cat:
# the whole network may move, and it moves to wherever the photos are drawn well. They are where
# they are in the photos in some pictures and not in others.
#
# ## 4. The prompt grows
#
# **Predict.** The training prompt never changed. In a prompt with an accessory and a place, what
# will be lost first: Pico, the accessory, or the place?

# %%
asked = {
    "a photo of a {} wearing a hat in the snow": dict(style="photo", accessory="hat", place="snow"),
    "a painting of a {} wearing a crown in the forest": dict(
        style="painting", accessory="crown", place="forest"
    ),
    "a sketch of a {} with a balloon in the city": dict(
        style="sketch", accessory="balloon", place="city"
    ),
    "pixel art of a {} wearing a scarf in the desert": dict(
        style="pixel art", accessory="scarf", place="desert"
    ),
}
wanted = [a for a in asked.values() for _ in (0, 1)]
made = {
    "base, cat": adb.generate(
        base, [p.replace("{}", "cat") for p in asked], [0, 1], maps=True, resolution=16
    ),
    "DreamBooth": adb.generate(db, list(asked), [0, 1], maps=True, resolution=16),
}
adb.teaching.show(
    adb.plots.image_grid(
        [g.images[s::2] for g in made.values() for s in (0, 1)],
        row_labels=[f"{name}, seed {s}" for name in made for s in (0, 1)],
        column_labels=[p.replace("{}", "[...]") for p in asked],
        alt="Four complex prompts, two seeds each: the base model with the word cat, and "
        "DreamBooth.",
    )
)
for name, g in made.items():
    hits = adb.metrics.attribute_hits(judge.read(g.images), wanted)
    found, count = sum(sum(v) for v in hits.values()), sum(len(v) for v in hits.values())
    print(f"{name}: at least 9 in 10 of what was asked for is there: {found >= 0.9 * count}")
leaked = adb.metrics.leaks(
    judge.read(made["DreamBooth"].images)["place"], wanted, adb.metrics.training_places(concept)
)
print(
    "pictures with a place of the photos instead of the one asked for:",
    int(leaked.sum()),
    "of",
    len(wanted),
)
print(
    "mean identity lower than for the simple prompt:",
    bool(identity(made["DreamBooth"].images).mean() < identity(simple.images).mean()),
)

# %% [markdown]
# **Explain.** Accessories and places are there, and no place of the photos has come in where
# another one was named. So on this small model the prompt survives. Pico survives less well: the
# colours are right, but the face blurs and the patches sit where they please. The paper says of
# Stable Diffusion that DreamBooth *overlooks* the concept in complex prompts; what we see is a weak
# form of that. The next section looks for the cause.
#
# ## 5. A word that never learned where to look

# %%
picture = 0
for g in made.values():
    adb.teaching.show(
        adb.plots.word_maps(
            g.images[picture],
            {w: m for w, m in g.word_maps(picture).items() if w not in adb.metrics.FUNCTION_WORDS},
            g.prompts[picture],
        )
    )
maps = adb.metrics.photo_maps(db, concept)  # with the training prompt, in Pico's own photos
ratio = float(maps["v"].mean() / maps["category"].mean())
print("attention of [V], times that of 'cat', below 0.3:", ratio < 0.3)

# %% [markdown]
# **Explain.** Compare the largest values above the maps: hardly a pixel looks at [V]. (So it is for
# Pico; for other individuals DreamBooth's [V] gets more, notebook 09 has the numbers.) And yet the
# pictures show Pico. So it is not the word that carries him. The row of [V] could not move; for the
# U-Net it was easier to change what *every* prompt draws than to learn to listen to a word that
# says almost nothing. If that is so, then another prompt must show it, one without [V].

# %% [markdown]
# ## 6. What happened to "a cat"
#
# **Predict.** "a photo of a cat", without [V], before and after DreamBooth. Nobody trained that
# prompt. What will it show?
#
# The authors foresaw the answer and offer a remedy, **prior preservation** (Ruiz et al., section
# 3.3): before training, the base model draws pictures of "a photo of a cat", and then every step
# learns from both kinds, photos with [V] and those pictures without it:
#
# $$L = L_{\text{photos}} + \lambda \, L_{\text{category}}$$
#
# The recipe `dreambooth_prior` does that; its steps cost twice as much.

# %%
prior = adb.teaching.trained(base, concept, "dreambooth_prior")
cats = {
    "base": adb.generate(base, "a photo of a cat", seeds),
    "DreamBooth": adb.generate(replace(base, unet=db.learner.unet), "a photo of a cat", seeds),
    "with prior preservation": adb.generate(
        replace(base, unet=prior.learner.unet), "a photo of a cat", seeds
    ),
}
adb.teaching.show(
    adb.plots.image_grid(
        [g.images for g in cats.values()],
        row_labels=list(cats),
        column_labels=[f"seed {s}" for s in seeds],
        alt="A photo of a cat, four seeds: base model, DreamBooth, DreamBooth with prior "
        "preservation.",
    )
)
for name, g in cats.items():
    mean = identity(g.images).mean()
    band = "above 0.5" if mean > 0.5 else "below 0.3" if mean < 0.3 else "between"
    print(f"{name}: mean identity with Pico {band}")
kept = adb.generate(prior, "a photo of a {}", seeds)
print(
    "with prior preservation, 'a photo of a [V] cat': mean identity above 0.6:",
    identity(kept.images).mean() > 0.6,
)

# %% [markdown]
# **Explain.** There is the failure. After DreamBooth *every* cat is Pico: the photos have come into
# a prompt that had nothing to do with them. (The authors call it language drift.) With prior
# preservation a cat is any cat again, though not the same cats as before, and [V] is still Pico:
# the two kinds of pictures force the network to find out what distinguishes the two prompts, and
# that is [V].
#
# Wipe between the two for one seed:

# %%
wipe = adb.widgets.BeforeAfter(
    cats["base"].images[3], cats["DreamBooth"].images[3], ("a cat before", "a cat after DreamBooth")
)
wipe.view

# %% [markdown]
# The same by code:

# %%
wipe.edge.value = 25
print(wipe.text)

# %% [markdown]
# ## Exercises
#
# ### Exercise 1 (easy, 5 minutes): the prior preservation loss
#
# Write the loss of section 6 for one batch: the mean squared error of the prediction for the
# photos, plus `weight` times that for the pictures of the category. All four tensors have axes (b,
# 4, y, x); the two batches may differ in b.


# %% tags=["stub"] exercise="04.1"
def prior_preservation(predicted, target, prior_predicted, prior_target, weight):
    return ...


# %% tags=["solution"] exercise="04.1"
def prior_preservation(predicted, target, prior_predicted, prior_target, weight):
    photos = (predicted - target).square().mean()
    category = (prior_predicted - prior_target).square().mean()
    return photos + weight * category


# %% tags=["check"] exercise="04.1"
adb.teaching.check("04.1", prior_preservation)

# %% [markdown]
# ### Exercise 2 (medium, 8 minutes): how often does a background leak?
#
# `seen` and `asked` are the places (text) of n pictures, `trained` is the set of places in the
# photos. Return the share of pictures that show a training place, among those that were asked for a
# place which is none of them.


# %% tags=["stub"] exercise="04.2"
def leak_share(seen, asked, trained):
    return ...


# %% tags=["solution"] exercise="04.2"
def leak_share(seen, asked, trained):
    counted = [place for place, wanted in zip(seen, asked) if wanted not in trained]
    return sum(place in trained for place in counted) / len(counted)


# %% tags=["check"] exercise="04.2"
adb.teaching.check("04.2", leak_share)

# %% [markdown]
# ### Exercise 3 (medium, 5 minutes): how much has a picture changed?
#
# Return, for each pair of pictures in `a` and `b` (uint8, (n, h, w, 3)), the mean absolute
# difference on a scale from 0 to 1: n numbers. There is a trap in the data type.


# %% tags=["stub"] exercise="04.3"
def pixel_difference(a, b):
    return ...


# %% tags=["solution"] exercise="04.3"
def pixel_difference(a, b):
    change = np.abs(a.astype(float) - b.astype(float)) / 255
    return change.mean(axis=(1, 2, 3))


# %% tags=["check"] exercise="04.3"
adb.teaching.check("04.3", pixel_difference)

# %% [markdown]
# ## Summary
#
# - DreamBooth trains every weight of the U-Net and leaves the word where it was.
# - It draws the individual well, but (for Pico) hardly looks at the word: the network as a whole
#   has become Pico's.
# - So a prompt without [V] draws Pico too, background included. Prior preservation prevents that,
#   at twice the cost.
#
# **Read next:** section 3 of [Ruiz et al. 2023](https://arxiv.org/abs/2208.12242); sections 1 and
# 3.1 of [Pang et al. 2024](https://arxiv.org/abs/2406.05000). **Next notebook:**
# [05 Stage 1: embedding alignment](05_stage_1_embedding_alignment.ipynb).
