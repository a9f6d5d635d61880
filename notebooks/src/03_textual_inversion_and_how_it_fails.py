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
# # 03 · Textual Inversion, and how it fails
#
# {{badge}}
#
# Textual Inversion (Gal et al. 2022, [arXiv 2208.01618](https://arxiv.org/abs/2208.01618)) is the
# smallest possible personalisation: the model stays exactly as it is, and one new word is searched
# for. If the model can draw Pico at all, then some vector in the space of word embeddings should
# make it do so.
#
# This notebook looks for that vector and sees how far it gets. Then it looks at the price: the
# vector leaves the region where words live, and in a longer prompt it takes attention from the
# rest. That is the first of the two failures that AttnDreamBooth sets out to repair.
#
# **You will learn**
# - which numbers Textual Inversion changes, and that nothing else changes by a single bit;
# - how to follow an embedding while it leaves the vocabulary;
# - how to tell from attention maps, in numbers, that a word swallows its prompt.
#
# **Prerequisites:** notebooks [00](00_start_here.ipynb) and [02](02_seeing_cross_attention.ipynb).
#
# **Measured time:** {{time}}

# %% tags=["bootstrap"]

# %% [markdown]
# Where this page stands in the series. Orange is trained, grey is frozen: Textual Inversion moves
# one row.

# %%
import adb_core as adb

diagram = adb.plots.diagram("row", adb.recipe("textual_inversion").stages[0])
adb.teaching.show(diagram)

# %% [markdown]
# ## 1. One row of a table
#
# The text encoder begins with a table that has one row for each token. Textual Inversion adds one
# row for **[V]** and looks for
#
# $$v^* = \arg\min_v \; \mathbb E_{z,\,\epsilon,\,t}\;
# \big\| \epsilon - \epsilon_\theta(z_t, t, c(v)) \big\|^2$$
#
# (equation 2 of Gal et al.): the ordinary diffusion loss on the photos, with a prompt $c(v)$ that
# contains [V]. The weights $\theta$ are constants. In this collection the method is a recipe, that
# is, data for the one training engine. Our tiny model predicts the velocity instead of the noise
# $\epsilon$; the loss is otherwise the same.

# %%
from dataclasses import replace

import numpy as np
import torch
from tqdm.auto import tqdm

base = adb.load_base("tiny")
concept = adb.Concept.bundled("pico")
judge = adb.load_judge()
tuned = adb.recipe("textual_inversion").stages[0]
stage = replace(
    tuned, steps=250, lr=1e-2
)  # longer and faster than the tuned preset, to see where it goes
plan = replace(adb.recipe("textual_inversion"), name="textual_inversion_long", stages=(stage,))
print("trains:", stage.train, "| starts as:", plan.init, "| {} becomes:", plan.subject)
print("prompts:", *stage.prompts, sep="\n  ")

# %% [markdown]
# The preset that tuning found best (`benchmarks/tuning.md`) stops sooner and moves slower: early
# stopping is the usual cure for what follows. Here the method runs on, as it does in its authors'
# preset of 5,000 steps, to show where it is heading.
#
# There is no category word in these prompts: [V] stands alone and has to say everything, that this
# is a cat *and* which one.
#
# **Predict.** The U-Net has millions of parameters, the text encoder some hundred thousand more.
# How many single numbers will one step of training change?

# %%
trial = adb.Learner(base, concept, plan, view_count=1)
before = {
    f"{part} {name}": p.detach().clone()
    for part in ("unet", "text encoder")
    for name, p in (trial.unet if part == "unet" else trial.token.text_encoder).named_parameters()
}
steps = adb.train_stage(trial, stage)
next(steps)  # one optimizer step
steps.close()  # hooks off; the row of [V] is written into the table

after = {
    f"{part} {name}": p.detach()
    for part in ("unet", "text encoder")
    for name, p in (trial.unet if part == "unet" else trial.token.text_encoder).named_parameters()
}
changed = [name for name in before if not torch.equal(before[name], after[name])]
print("tensors compared, bit for bit:", len(before))
print("tensors that changed:", changed)
table = changed[0]
rows = (before[table] != after[table]).any(1).nonzero().flatten().tolist()
print(
    "rows of that table that changed:",
    len(rows),
    "of",
    len(before[table]),
    "| it is [V]'s:",
    rows == trial.token.ids,
)
print("numbers that changed:", int((before[table] != after[table]).sum()))

# %% [markdown]
# **Explain.** One row, and nothing else. This is the charm of the method: the result fits in a file
# of a few hundred bytes, and every prompt without [V] gives exactly the picture it gave before.
#
# ## 2. Follow the word while it learns
#
# The core trains in a generator: each `next` takes one step. Whatever you want to see is up to the
# loop. Ours asks every few steps where [V] is, with `token.drift()`: how far from its start, how
# long the vector is, which words are nearest.
#
# **Predict.** [V] starts on the row of "cat". Where will it be at the end: still nearest to "cat",
# near some other word, or near none?

# %%
learner = adb.Learner(base, concept, plan)
table = base.text_encoder.get_input_embeddings().weight.detach().float()
project = adb.Projection(table)


def moment(step):
    place = tuple(project(learner.token.rows.mean(0)).tolist())
    return adb.plots.DriftPoint(step, stage.name, learner.token.drift(), place)


points, losses = [moment(0)], []
for record in tqdm(adb.train_stage(learner, stage), total=stage.steps, desc=stage.name):
    losses.append(record.loss)
    if record.step % 5 == 0:
        points.append(moment(record.step))

words = ["cat", "dog", "blue", "green", "orange", "hat", "beach", "snow", "painting"]
ids = {w: base.tokenizer(w, add_special_tokens=False).input_ids for w in words}
places = {w: tuple(project(table[i].mean(0)).tolist()) for w, i in ids.items()}
adb.teaching.show(
    adb.plots.embedding_drift(points, project(table).numpy(), places, concept.category)
)
first, last = points[0].drift, points[-1].drift
print("all moments recorded:", points[-1].step == stage.steps)
print(
    "cosine to 'cat' at the start:",
    round(first.cosine_to_category, 2),
    "| below 0.5 at the end:",
    last.cosine_to_category < 0.5,
)
print("length of [V] more than four times the mean row's:", last.norm > 4 * last.vocabulary_norm)
print("longer than every row of the vocabulary:", last.norm > float(table.norm(dim=1).max()))
print(
    "nearest two words:",
    sorted(word for word, _ in last.nearest[:2]),
    "| all cosines below 0.6:",
    last.nearest[0][1] < 0.6,
)

# %% [markdown]
# **Explain.** Left: [V] moves away from its start and never comes to rest, and soon it is longer
# than any row that a word has (dotted: the mean row). Middle: its direction turns away from "cat".
# Right: in the projection it leaves the cloud of words altogether.
#
# The two words nearest to it in direction are colours. Pico is teal, and the model has no word for
# teal; what the optimiser writes into the row is some green and some blue, several times louder
# than any word is ever said, and little of "cat". Nothing in the loss asks [V] to stay among the
# words: a vector out there fits the five photos better, so that is where it goes.
#
# Move the slider to see each moment.

# %%
explorer = adb.widgets.DriftExplorer(points, project(table).numpy(), places)
explorer.view

# %% [markdown]
# The same by code:

# %%
explorer.at.value = 0
print(explorer.text)
explorer.at.value = len(points) - 1
print("last moment:", explorer.text.split(":")[0])

# %% [markdown]
# ## 3. It does what was asked of it
#
# **Predict.** Not one weight of the model has changed. Can it draw Pico all the same?

# %%
inverted = adb.Result(learner)
seeds = [0, 1, 2, 3]
plain = adb.generate(base, "a photo of a cat", seeds)
simple = adb.generate(inverted, "a photo of a {}", seeds)
adb.teaching.show(
    adb.plots.image_grid(
        [concept.squares(64)[:4], plain.images, simple.images],
        row_labels=["photos", "base: a photo of a cat", "inverted: a photo of a [V]"],
        alt="Photos of Pico, cats of the base model, and what Textual Inversion draws for a photo"
        " of [V].",
    )
)
photos = judge.identity(concept.squares(64))
same = {
    name: adb.metrics.cosine_to_mean(judge.identity(made.images), photos).mean()
    for name, made in (("base", plain), ("inverted", simple))
}
print(
    "mean identity, base below 0.3:",
    same["base"] < 0.3,
    "| inverted higher by more than 0.2:",
    same["inverted"] > same["base"] + 0.2,
)

# %% [markdown]
# **Explain.** One vector turns the base model's cats, whose colours are anything, into something
# near Pico's colour, and the judge finds some of Pico in it. Look closely, though: the orange spots
# are not there, the teal is blue in one picture and green in the next, and the shape of a cat is
# less clear than in the row above. One row cannot say what the frozen model has no way to draw, and
# some of what it said before, "cat", it says no longer.
#
# ## 4. The prompt grows
#
# Four prompts with a style, an accessory and a place each, for the base model (with "cat") and for
# [V].
#
# **Predict.** Which of the three, style, accessory or place, will suffer most?

# %%
asked = {
    "a photo of a {} wearing a hat on the beach": dict(
        style="photo", accessory="hat", place="beach"
    ),
    "a painting of a {} wearing a crown in the forest": dict(
        style="painting", accessory="crown", place="forest"
    ),
    "a sketch of a {} with a balloon in the snow": dict(
        style="sketch", accessory="balloon", place="snow"
    ),
    "pixel art of a {} wearing a scarf in the city": dict(
        style="pixel art", accessory="scarf", place="city"
    ),
}
# two seeds each: picture 2 k + s has prompt k and seed s
complex_base = adb.generate(
    base, [p.replace("{}", "cat") for p in asked], [0, 1], maps=True, resolution=16
)
complex_ti = adb.generate(inverted, list(asked), [0, 1], maps=True, resolution=16)
adb.teaching.show(
    adb.plots.image_grid(
        [made.images[seed::2] for made in (complex_base, complex_ti) for seed in (0, 1)],
        row_labels=[
            "base, cat, seed 0",
            "base, cat, seed 1",
            "inverted, [V], seed 0",
            "inverted, [V], seed 1",
        ],
        column_labels=[p.replace("{}", "[...]") for p in asked],
        alt="Four complex prompts, two seeds each: the base model with the word cat, and Textual "
        "Inversion with [V].",
    )
)
wanted = [a for a in asked.values() for _ in (0, 1)]
found = {
    name: adb.metrics.attribute_hits(judge.read(made.images), wanted)
    for name, made in (("base", complex_base), ("inverted", complex_ti))
}
count = {name: int(sum(map(sum, hits.values()))) for name, hits in found.items()}
print("attributes asked for:", sum(map(len, wanted)))
for name in found:
    print(f"{name}: at least 9 in 10 of them found:", count[name] >= 0.9 * sum(map(len, wanted)))
same = adb.metrics.cosine_to_mean(judge.identity(complex_ti.images), photos)
print(
    "mean identity of [V], photo:",
    "above 0.6" if same[:2].mean() > 0.6 else "below 0.6",
    "| other styles:",
    "above 0.6" if same[2:].mean() > 0.6 else "below 0.6",
)

# %% [markdown]
# **Explain.** None of them, as far as the judge can count: on this tiny model Textual Inversion
# does *not* lose the prompt. The paper reports that on Stable Diffusion it does; our world is
# simpler, its captions name one thing of each kind, and each word has its own corner of the
# picture. We report what we see.
#
# What does suffer is the individual. All training prompts say "photo", and outside photos the judge
# finds less of Pico. Part of that is the judge's own view, since a sketch shows less of anybody;
# but look at the colours: teal in one, blue or green in the next, and orange patches in none of
# them.
#
# ## 5. Where [V] looks
#
# In cross-attention every pixel distributes a total of 1 over the tokens of the prompt. What one
# word gets, the others do not. Notebook 02 recorded such maps; here are two, for the same prompt
# and the same seed.
#
# **Predict.** [V] drew its subject without the word "cat" and with less of what else the model
# knows. Will it get more, as much, or less attention than "cat" had in its place?

# %%
picture = 0


def content(made, k):
    """The maps of a picture's content words: word -> (y, x)."""
    return {w: m for w, m in made.word_maps(k).items() if w not in adb.metrics.FUNCTION_WORDS}


for made in (complex_base, complex_ti):
    adb.teaching.show(
        adb.plots.word_maps(made.images[picture], content(made, picture), made.prompts[picture])
    )

# %% [markdown]
# Each map has its own colour scale, with its largest value above it. So that they can be compared,
# here are the means:


# %%
def bars(base_maps, v_maps):
    """Mean attention of every content word, for the base model and for Textual Inversion."""
    words = [w if w != "cat" else "cat / [V]" for w in base_maps]
    pairs = [
        (float(a.mean()), float(b.mean())) for a, b in zip(base_maps.values(), v_maps.values())
    ]
    said = ", ".join(f"{w} {a:.2f} and {b:.2f}" for w, (a, b) in zip(words, pairs))
    figure = adb.plots.new_figure(
        5.6,
        2.8,
        f"Mean attention of each word in the base model and with Textual Inversion: {said}.",
    )
    ax = adb.plots.style_axes(
        figure.subplots(), "mean attention of each content word", "", "mean probability"
    )
    at = np.arange(len(words))
    ax.bar(
        at - 0.2,
        [a for a, _ in pairs],
        0.4,
        color=adb.plots.CATEGORY_COLOR,
        label="base model, 'cat'",
    )
    ax.bar(
        at + 0.2,
        [b for _, b in pairs],
        0.4,
        color=adb.plots.V_COLOR,
        label="Textual Inversion, [V]",
    )
    ax.set_xticks(at, words)
    adb.plots.legend(ax)
    return figure


adb.teaching.show(bars(content(complex_base, picture), content(complex_ti, picture)))


def means(made, words):
    """The mean attention of one word in each picture; words[k] is the word of picture k."""
    return np.array([made.word_maps(k)[word].mean() for k, word in enumerate(words)])


accessories = [a["accessory"] for a in wanted]
cat, v = means(complex_base, ["cat"] * 8), means(complex_ti, [concept.placeholder] * 8)
before, now = means(complex_base, accessories), means(complex_ti, accessories)
print(
    "[V] gets more than 1.5 times the attention of 'cat':",
    int((v > 1.5 * cat).sum()),
    "of",
    len(v),
    "pictures",
)
print("the accessory's word gets less than before, on average:", (now / before).mean() < 0.95)
total = {
    name: np.mean([sum(m.mean() for m in content(made, k).values()) for k in range(8)])
    for name, made in (("base", complex_base), ("inverted", complex_ti))
}
print("all content words together get more than before:", total["inverted"] > total["base"])

# %% [markdown]
# **Explain.** Here the failure of the paper is plain to see, one level below the pictures. With the
# same prompt, seed and model, [V] takes several times the attention that "cat" takes. Attention
# sums to 1, so somebody pays. The word of the accessory, which is drawn on the subject and competes
# with [V] for the same pixels, gets a little less than before. But all content words together get
# *more*: most of what [V] takes comes from tokens that say nothing, as the start, the end and "a",
# where a pixel looks when no word concerns it. That may be why the hats and crowns are still there.
# On Stable Diffusion, says the paper, parts of the prompt do disappear, and it names this
# mechanism.
#
# In the paper's figure 2 the map of [V] spreads over the background. Ours is strongest on the
# subject, and it is raised over the background too: even there, many a pixel looks at [V] more than
# any pixel looked at "cat".
#
# Is it because the row is so long? Not directly, as a look at the text encoder's output shows:

# %%
ids = inverted.token.tokenize(["a photo of a " + concept.placeholder])
states = inverted.token.encode(ids)[0].detach().norm(dim=-1)
place = ids[0].tolist().index(inverted.token.ids[0])
print(
    "row of [V], times the length of the row of 'photo', above 4:",
    bool(last.norm > 4 * table[ids[0, 2]].norm()),
)
print(
    "its text state, times the length of that of 'photo':",
    round(float(states[place] / states[2]), 1),
)

# %% [markdown]
# The encoder ends with a layer normalisation, which gives all states about the same length, and the
# U-Net reads only those. What the long row has gained is *direction*: it outvotes whatever its
# position and its neighbours add to it, and the direction it holds was chosen for one thing only,
# to reproduce five photos. Nothing ever asked it to leave attention to others. AttnDreamBooth asks
# in two ways: it stops the embedding early (notebook [05](05_stage_1_embedding_alignment.ipynb)),
# and it pulls the mean of [V]'s map towards the category's (notebook
# [08](08_the_regularizer.ipynb)).
#
# ## Exercises
#
# ### Exercise 1 (easy, 5 minutes): the nearest words
#
# `token.drift()` names the words nearest to [V]. Given a `row` (d,) and a `table` (n, d), return
# the numbers of the `k` rows with the largest cosine to it, the largest first.


# %% tags=["stub"] exercise="03.1"
def nearest(row, table, k):
    return ...


# %% tags=["solution"] exercise="03.1"
def nearest(row, table, k):
    cosines = table @ row / np.linalg.norm(table, axis=1) / np.linalg.norm(row)
    return np.argsort(-cosines)[:k]


# %% tags=["check"] exercise="03.1"
adb.teaching.check("03.1", nearest)

# %% [markdown]
# ### Exercise 2 (easy, 5 minutes): drift in two numbers
#
# A vector can change its length, its direction, or both. Return the Euclidean distance of `row`
# from `start` and the cosine between them.


# %% tags=["stub"] exercise="03.2"
def drift(row, start):
    return ...


# %% tags=["solution"] exercise="03.2"
def drift(row, start):
    distance = np.sqrt(np.sum((row - start) ** 2))
    cosine = row @ start / np.sqrt(np.sum(row**2)) / np.sqrt(np.sum(start**2))
    return distance, cosine


# %% tags=["check"] exercise="03.2"
adb.teaching.check("03.2", drift)

# %% [markdown]
# ### Exercise 3 (medium, 8 minutes): an appetite for attention
#
# `maps` (n, y, x) are the attention maps of n content words, and `maps[v]` is the one of [V].
# Return the mean attention of [V] divided by the mean attention of the *other* words: 1 for a word
# that takes its share, more for one that swallows the prompt.


# %% tags=["stub"] exercise="03.3"
def appetite(maps, v):
    return ...


# %% tags=["solution"] exercise="03.3"
def appetite(maps, v):
    means = maps.mean((1, 2))
    return means[v] / np.delete(means, v).mean()


# %% tags=["check"] exercise="03.3"
adb.teaching.check("03.3", appetite)

# %% [markdown]
# ## Summary
#
# - Textual Inversion changes one row of one table. Everything without [V] stays exactly as it was.
# - The row leaves the words: longer than any of them, and pointing away from its category.
# - On this model the words around it are still obeyed, but [V] takes several times the attention of
#   the word it replaced, and there is less of the individual outside of photos.
#
# **Read next:** sections 3 and 4 of [Gal et al. 2022](https://arxiv.org/abs/2208.01618); figure 2
# of [Pang et al. 2024](https://arxiv.org/abs/2406.05000) shows such maps on Stable Diffusion.
# **Next notebook:** [04 DreamBooth, and how it fails](04_dreambooth_and_how_it_fails.ipynb).
