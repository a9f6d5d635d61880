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
# Textual Inversion moves one row and nothing else. DreamBooth (Ruiz et al. 2023,
# [arXiv 2208.12242](https://arxiv.org/abs/2208.12242)) does the opposite: the word is a rare token
# that stays where it is, and the whole U-Net is trained until that token means the individual.
#
# The individual gets what one row could not give it. But the word itself has learned nothing, and
# the model has learned from five pictures what it should not: that cats in general look like this
# one.
#
# **You will learn**
# - what DreamBooth moves and what it leaves, checked in numbers;
# - what becomes of the individual as prompts grow, beside the three stages;
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
import json
from dataclasses import replace

import numpy as np

base, judge = adb.load_base("tiny"), adb.load_judge()
concept = adb.Concept.bundled("pico")
plan = adb.recipe("dreambooth")
table = base.text_encoder.get_input_embeddings().weight.detach().float()
lengths = table.norm(dim=1) / table.norm(dim=1).mean()
for word in ("sks", "cat"):
    (row,) = base.tokenizer(word, add_special_tokens=False).input_ids
    adb.teaching.fact(f"length of '{word}', times the mean row's", lengths[row], between=(0.5, 2))
print("trains:", plan.stages[0].train, "| starts as:", plan.init, "| {} becomes:", plan.subject)

# %% [markdown]
# A row that was never used keeps about the length that it was created with. Rows of words that
# mattered have grown.
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
pairs = list(zip(base.unet.parameters(), db.learner.unet.parameters()))
print("distance of [V] from its start:", db.token.drift().distance)
print("tensors of the U-Net that changed:", sum(bool((a != b).any()) for a, b in pairs))
change = sum(((a - b) ** 2).sum() for a, b in pairs) / sum((a**2).sum() for a, _ in pairs)
adb.teaching.fact("change of all weights", 100 * change**0.5, between=(0.1, 2), unit="%")

# %% [markdown]
# **Explain.** Exactly zero, not nearly: the row is not among the parameters of this recipe. The
# U-Net moved as a whole, each weight a little.
#
# ## 3. What it can do
#
# **Predict.** Will the orange spots and the star be there?

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

# %%
photos = judge.identity(concept.squares(base.side))


def identity(images):
    """How much pictures show Pico: mean cosine to the photos; 1 is the same."""
    return float(adb.metrics.cosine_to_mean(judge.identity(images), photos).mean())


adb.teaching.fact("identity of the simple prompt", identity(simple.images), between=(0.6, 0.9))
places = adb.metrics.training_places(concept)
leaked = [place in places for place in judge.read(simple.images)["place"]]
print("places in the photos:", *sorted(places), "| pictures with one of them:", sum(leaked), "of 4")

# %% [markdown]
# **Explain.** Pico's teal, orange spots, and something yellow on the chest where the star belongs,
# on something that is clearly a cat: the whole network may move, and it moves to wherever the
# photos are drawn well. With it come the photos' places: all four pictures show one.
#
# ## 4. The prompt grows
#
# The sets of prompts ask for 0 to 5 things besides the concept. Three models draw three prompts of
# each, from the same noise: the base model, which says "cat"; DreamBooth; and, as a preview of
# what follows, the three stages of AttnDreamBooth.
#
# **Predict.** How much Pico will be left at five things?

# %%
stages = adb.teaching.trained(base, concept, "attndreambooth")
sets = [json.loads(adb.data_path("prompts", f"complexity_{n}.json").read_text()) for n in range(6)]
entries = [s["prompts"][k] for s in sets for k in (0, 3, 6)]
prompts, wanted = [e["prompt"] for e in entries], [e["asks"] for e in entries]
models = {"base, cat": base, "DreamBooth": db, "three stages": stages}
drawn = {}
for name, model in models.items():
    texts = [p.replace("{}", "cat") for p in prompts] if model is base else prompts
    drawn[name] = adb.generate(model, texts, [0]).images

# %%
adb.teaching.show(
    adb.plots.image_grid(
        [images[::3] for images in drawn.values()],
        row_labels=list(drawn),
        column_labels=[p.replace("{}", "[V] cat") for p in prompts[::3]],
        alt="Prompts that ask for 0 to 5 things: the base model, DreamBooth, the three stages.",
    )
)


# %%
def found(images, k):
    """Share of what was asked for, in the three pictures of complexity k."""
    hits = adb.metrics.attribute_hits(judge.read(images[3 * k :][:3]), wanted[3 * k :][:3])
    return float(np.mean([hit for each in hits.values() for hit in each]))


# %%
figure = adb.plots.new_figure(8, 2.8, "Identity and text against 0 to 5 things asked for.")
left, right = figure.subplots(1, 2)
adb.plots.style_axes(left, "identity", "things that the prompt asks for")
adb.plots.style_axes(right, "text: found of what was asked", "things that the prompt asks for")
for k, (name, images) in enumerate(drawn.items()):
    look = dict(marker="os^"[k], color=list(adb.plots.OKABE_ITO.values())[(6, 4, 5)[k]], label=name)
    left.plot(range(6), [identity(images[3 * n :][:3]) for n in range(6)], **look)
    right.plot(range(6), [found(images, n) for n in range(6)], **look)
adb.plots.legend(left)
adb.teaching.show(figure)

# %%
for name, images in drawn.items():
    many = 100 * np.mean([found(images, n) for n in (2, 3, 4, 5)])
    low, high = (55, 90) if name == "DreamBooth" else (85, 100)
    adb.teaching.fact(f"{name}: text at 2 to 5 things", many, between=(low, high), unit="%")
    low, high = (-0.1, 0.4) if name.startswith("base") else (0.5, 0.9)
    adb.teaching.fact(f"{name}: identity", identity(images), between=(low, high))

# %% [markdown]
# **Explain.** Both recipes keep Pico, to the same degree, and lose a little of him where five
# things are asked for. The difference is in what else was asked. The three stages draw nearly all
# that the base model draws. DreamBooth has learned the photos by heart: in the kitchen, which two
# of them show, it leaves out the drum; the plant on the moon is gone; the box stands in a kitchen
# that nobody mentioned. The paper says of Stable Diffusion that DreamBooth overlooks the *concept*
# in such prompts. Here it overlooks the rest: the same conflict, lost by the other side. One
# concept and eighteen pictures of each model are an illustration; notebook [09](09_measuring.ipynb)
# has more.
#
# ## 5. A word that never learned where to look

# %%
prompt, v = prompts[12], concept.placeholder
for model in (db, stages):
    made = adb.generate(model, prompt, [0], maps=True, words=[v, "cat"], resolution=16)
    heats = dict(sorted(made.word_maps(0).items(), reverse=True))
    title = f"{prompt.replace('{}', '[V] cat')} ({model.recipe_name})"
    adb.teaching.show(adb.plots.word_maps(made.images[0], heats, title))
told = {m.recipe_name: adb.attention_shares(m, prompt, [0]) for m in (db, stages)}
adb.teaching.show(adb.plots.attention_stack(told, v=v, category="cat"))
bands = {"DreamBooth": (0.15, 0.6), "three stages": (0.6, 1.3)}
for name, model in (("DreamBooth", db), ("three stages", stages)):
    maps = adb.metrics.photo_maps(model, concept)  # training prompt, Pico's own photos
    ratio, band = maps["v"].mean() / maps["category"].mean(), bands[name]
    adb.teaching.fact(f"{name}: attention of [V], times that of 'cat'", ratio, between=band)

# %% [markdown]
# Does the *word* carry Pico? Ask the same models for "a cat", without [V], and compare: the
# difference is what hangs on the word.

# %%
for name, model in (("DreamBooth", db), ("three stages", stages)):
    unnamed = replace(base, unet=model.learner.unet)  # the same U-Net, and plain words
    texts = [p.replace("{}", "cat") for p in prompts]
    without = identity(adb.generate(unnamed, texts, [0]).images)
    adb.teaching.fact(f"{name}: identity with [V]", identity(drawn[name]), between=(0.5, 0.9))
    adb.teaching.fact(f"{name}: identity without it", without, between=(0.4, 0.9))

# %% [markdown]
# **Explain.** DreamBooth's [V] gets a third of the attention that "cat" gets, and some of it from
# the pumpkin: a word that never learned where to look. The three stages' [V] gets nearly as much as
# "cat". And DreamBooth's pictures show hardly less Pico if the word is left out. So it is not the
# word that carries him: it was easier for the U-Net to change what *every* prompt draws than to
# listen to a word that says almost nothing. With the three stages some of Pico hangs on the word,
# though most does not.
#
# ## 6. What happened to "a cat"
#
# The authors foresaw it and offer a remedy, **prior preservation** (Ruiz et al., section 3.3):
# before training, the base model draws pictures of "a photo of a cat", and then every step learns
# from both kinds, photos with [V] and those pictures without it:
#
# $$L = L_{\text{photos}} + \lambda \, L_{\text{category}}$$
#
# The recipe `dreambooth_prior` does that; its steps cost twice as much.
#
# **Predict.** "a photo of a cat", without [V]: base model, DreamBooth, and with prior preservation.

# %%
prior = adb.teaching.trained(base, concept, "dreambooth_prior")
tuned = {"DreamBooth": db.learner.unet, "with prior preservation": prior.learner.unet}
cats = {"base": adb.generate(base, "a photo of a cat", seeds)}
for name, unet in tuned.items():
    cats[name] = adb.generate(replace(base, unet=unet), "a photo of a cat", seeds)
adb.teaching.show(
    adb.plots.image_grid(
        [made.images for made in cats.values()],
        row_labels=list(cats),
        column_labels=[f"seed {s}" for s in seeds],
        alt="A photo of a cat, four seeds: base model, DreamBooth, DreamBooth with prior.",
    )
)

# %%
for name, made in cats.items():
    band = {"base": (-0.1, 0.4), "DreamBooth": (0.6, 0.9)}.get(name, (0.25, 0.65))
    adb.teaching.fact(f"{name}: identity of 'a cat'", identity(made.images), between=band)
kept = identity(adb.generate(prior, "a photo of a {}", seeds).images)
adb.teaching.fact("with prior preservation: identity of [V]", kept, between=(0.5, 0.85))

# %% [markdown]
# **Explain.** There is the failure. After DreamBooth *every* cat is Pico. (The authors call it
# language drift.) With prior preservation cats have colours of their own again, if with Pico's
# patches, and [V] is still Pico: the two kinds of pictures force the network to find out what
# distinguishes the two prompts, and that is [V].
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
# c, y, x); the two batches may differ in b.


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
# ### Exercise 4 (HARD, 15 minutes): what hangs on the word?
#
# `named` and `plain` are identities of pictures drawn with [V] and without it, each (concepts,
# prompts); `base` has those of the untrained model, of the same shape. Return, for each concept,
# which share of what training has added hangs on the word: 1 if the pictures without [V] are as
# before, 0 if they show the concept just as much, nothing (`np.nan`) where training has added less
# than 0.05. Average over prompts first.


# %% tags=["stub"] exercise="04.4"
def word_share(named, plain, base):
    return ...


# %% tags=["solution"] exercise="04.4"
def word_share(named, plain, base):
    named, plain, base = (values.mean(1) for values in (named, plain, base))
    added = named - base
    share = np.full(len(added), np.nan)
    clear = added >= 0.05
    share[clear] = (named - plain)[clear] / added[clear]
    return share


# %% tags=["check"] exercise="04.4"
adb.teaching.check("04.4", word_share)

# %% [markdown]
# ## Quiz

# %%
adb.teaching.quiz(*adb.teaching.questions("04"))

# %% [markdown]
# ## Summary
#
# - DreamBooth trains every weight of the U-Net and leaves the word where it was.
# - It draws the individual well, and forgets what else a longer prompt asked for; the three
#   stages draw both.
# - Its [V] is hardly looked at: the network as a whole has become Pico's, and a prompt without
#   [V] draws Pico too. Prior preservation prevents most of that, at twice the cost.
#
# **Read next:** section 3 of [Ruiz et al. 2023](https://arxiv.org/abs/2208.12242); sections 1 and
# 3.1 of [Pang et al. 2024](https://arxiv.org/abs/2406.05000). **Next notebook:**
# [05 Stage 1: embedding alignment](05_stage_1_embedding_alignment.ipynb).
