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
# for. If the model can draw Pico at all, some vector should make it do so. This notebook looks for
# it, and then at the price.
#
# **You will learn**
# - which numbers Textual Inversion changes, and that nothing else changes by a single bit;
# - how to follow an embedding while it leaves the vocabulary;
# - how to tell, in pictures and in numbers, how much attention a word takes.
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
# contains [V]. The weights $\theta$ are constants. Here the method is a recipe, that is, data for
# the one training engine. (Our tiny model predicts the velocity instead of the noise $\epsilon$.)

# %%
import json
from dataclasses import replace

import numpy as np
from tqdm.auto import tqdm

base, judge = adb.load_base("tiny"), adb.load_judge()
concept = adb.Concept.bundled("pico")
plan = adb.recipe("textual_inversion")
stage = replace(plan.stages[0], steps=250, lr=1e-2)  # longer and faster than the preset
plan = replace(plan, name="textual_inversion_long", stages=(stage,))
print("trains:", stage.train, "| starts as:", plan.init, "| {} becomes:", plan.subject)
print("prompts:", *stage.prompts, sep="\n  ")

# %% [markdown]
# The preset stops sooner and moves slower: early stopping is the usual cure for what follows. Here
# the method runs on, as in its authors' preset of 5,000 steps, to show where it is heading.
#
# There is no category word in these prompts: [V] stands alone and has to say everything, that this
# is a cat *and* which one.
#
# **Predict.** The U-Net has eleven million parameters, the text encoder half a million more. How
# many single numbers will one step of training change?

# %%
trial = adb.Learner(base, concept, plan, view_count=1)
before = adb.teaching.copy_weights(trial)
steps = adb.train_stage(trial, stage)
next(steps)  # one optimizer step
steps.close()  # hooks off; the row of [V] is written into the table
print("numbers in all:", sum(t.numel() for t in before.values()))
for name, count in adb.teaching.changed_weights(before, trial).items():
    print(f"changed: {count} numbers of {name}, a table of {tuple(before[name].shape)}")
rows = (trial.token.text_encoder.get_input_embeddings().weight - before[name]).abs().sum(1)
print("changed rows:", rows.nonzero().flatten().tolist(), "| the row of [V]:", trial.token.ids)

# %% [markdown]
# **Explain.** One row, and nothing else: the result fits in a few hundred bytes, and every prompt
# without [V] gives exactly the picture it gave before.
#
# ## 2. Follow the word while it learns
#
# The core trains in a generator: each `next` takes one step. Our loop asks where [V] is: how far
# from its start, how long, near which words. Every 25 steps it keeps the row.
#
# **Predict.** [V] starts on the row of "cat". Where will it be at the end: still nearest to "cat",
# near some other word, or near none?

# %%
learner = adb.Learner(base, concept, plan)
table = base.text_encoder.get_input_embeddings().weight.detach().float()
project = adb.Projection(table)


def at(row):
    return tuple(project(row.mean(0)).tolist())


row = learner.token.rows.detach()
points = [adb.plots.DriftPoint(0, stage.name, learner.token.drift(), at(row))]
kept = {0: row.clone()}
for record in tqdm(adb.train_stage(learner, stage), total=stage.steps, desc=stage.name):
    if record.step % 5 == 0:
        drift = learner.token.drift()
        points.append(adb.plots.DriftPoint(record.step, stage.name, drift, at(row)))
    if record.step % 25 == 0:
        kept[record.step] = row.clone()

# %%
words = ["cat", "dog", "teal", "orange", "spotted", "star", "hat", "beach", "painting"]
ids = {w: base.tokenizer(w, add_special_tokens=False).input_ids for w in words}
places = {w: at(table[i]) for w, i in ids.items()}
cloud = project(table).numpy()
adb.teaching.show(adb.plots.embedding_drift(points, cloud, places, concept.category))
last = points[-1].drift
ratio = last.norm / last.vocabulary_norm
adb.teaching.fact("length of [V], times the mean row's", ratio, between=(4, 16))
adb.teaching.fact("cosine to 'cat' at the end", last.cosine_to_category, between=(-0.1, 0.6))
adb.teaching.fact("largest cosine to any word", last.nearest[0][1], between=(0.1, 0.6))
print("nearest word:", last.nearest[0][0])

# %% [markdown]
# **Explain.** Left: [V] moves away from its start and does not come to rest; it ends several times
# as long as a word's row (dotted: the mean). Middle: its direction turns away from "cat". Right: in
# the projection it leaves the cloud of words. What its direction has most in common with is "teal",
# and that is little. Nothing in the loss asks [V] to stay among the words.
#
# Move the slider to see each moment.

# %%
explorer = adb.widgets.DriftExplorer(points, cloud, places)
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
        [concept.squares(base.side)[:4], plain.images, simple.images],
        row_labels=["photos", "base: a photo of a cat", "inverted: a photo of a [V]"],
        alt="Photos of Pico, cats of the base model, and what Textual Inversion draws of [V].",
    )
)

# %%
photos = judge.identity(concept.squares(base.side))


def identity(images):
    """How much pictures show Pico: mean cosine to the photos; 1 is the same."""
    return float(adb.metrics.cosine_to_mean(judge.identity(images), photos).mean())


adb.teaching.fact("identity, base model", identity(plain.images), between=(-0.1, 0.4))
adb.teaching.fact("identity, inverted", identity(simple.images), between=(0.5, 0.85))

# %% [markdown]
# **Explain.** One vector turns the base model's cats into teal ones with orange spots, and the
# judge finds a good part of Pico. Look closely, though: no star on the chest, spots on every patch
# of skin, and a face that is hard to make out. What one row cannot say is what makes these things
# one individual.
#
# ## 4. The prompt grows
#
# Each of these prompts asks for four things besides Pico. We draw them with the rows that were
# kept, the same two seeds every time.
#
# **Predict.** Both curves begin where the base model is. Which way will each go?

# %%
listed = json.loads(adb.data_path("prompts", "complexity_4.json").read_text())["prompts"]
entries = listed[::3]  # four of the twelve
prompts, wanted = [e["prompt"] for e in entries], [e["asks"] for e in entries for _ in (0, 1)]


def with_row(step):
    """The inverted model with the row that it had after so many steps."""
    inverted.token.rows.data.copy_(kept[step])
    inverted.token.bake()
    return inverted


def found(images):
    """Share of what was asked for that the judge sees."""
    hits = adb.metrics.attribute_hits(judge.read(images), wanted)
    return float(np.mean([hit for each in hits.values() for hit in each]))


moments = [0, 25, 50, 100, 150, 200, 250]
drawn = {step: adb.generate(with_row(step), prompts, [0, 1]).images for step in moments}

# %%
text, same = [found(drawn[s]) for s in moments], [identity(drawn[s]) for s in moments]
figure = adb.plots.new_figure(
    5.6, 2.8, f"From step 0 to 250: text from {text[0]:.2f} to {text[-1]:.2f}, identity from "
    f"{same[0]:.2f} to {same[-1]:.2f}."
)  # fmt: skip
ax = adb.plots.style_axes(figure.subplots(), "prompts that ask for four things", "step")
ax.plot(moments, text, "o-", color=adb.plots.CATEGORY_COLOR, label="text: found of what was asked")
ax.plot(moments, same, "s--", color=adb.plots.V_COLOR, label="identity")
adb.plots.legend(ax)
adb.teaching.show(figure)
adb.teaching.fact("text at the start", 100 * text[0], between=(85, 100), unit="%")
adb.teaching.fact("text at the end", 100 * text[-1], between=(80, 100), unit="%")
adb.teaching.fact("identity at the end", same[-1], between=(0.35, 0.75))

# %%
adb.teaching.show(
    adb.plots.image_grid(
        [drawn[step][::2] for step in (0, 50, 100, 250)],
        row_labels=[f"after {step} steps" for step in (0, 50, 100, 250)],
        column_labels=[p.replace("{}", "[V]") for p in prompts],
        alt="Four prompts at four moments of the training, from the base model's cat to the end.",
    )
)

# %% [markdown]
# **Explain.** Identity rises all along, and what else was asked for stays: glasses, pumpkin, plant
# and rainbow are still there at the end. On Stable Diffusion, the paper reports, Textual Inversion
# overfits and drops such things. Our world does not show that: its captions name one thing of each
# kind, and its text encoder keeps what a word says to itself (the [model
# card](../data/tiny-sd/README.md) says how it was trained). What it does show is that a longer
# prompt leaves less of Pico than a short one, and that the star never comes.
#
# ## 5. Where the attention goes
#
# In cross-attention every pixel divides a total of 1 among all tokens of the prompt. What one gets,
# the others do not. The film shows one prompt and seed while the row trains: the picture, the map
# of [V], every token's share, and the row among the words.
#
# **Predict.** Who will pay for [V]: the other words, or the tokens that say nothing?

# %%
prompt, v = "a photo of a {} wearing a hat on the beach", concept.placeholder
snapshots = []
for step in tqdm(kept, desc="drawing"):
    model = with_row(step)
    made = adb.generate(model, prompt, [0], maps=True, words=[v])
    shares = adb.attention_shares(model, prompt, [0])
    moment = (made.images[0], made.word_maps(0)[v], shares, at(kept[step]))
    snapshots.append(adb.plots.Snapshot(step, "inversion", *moment))
figures = adb.plots.snapshot_figures(snapshots, cloud, places, v)
adb.teaching.show_film(figures)

# %% [markdown]
# Its first and its last frame, and the shares of both side by side:

# %%
adb.teaching.show(figures[0])
adb.teaching.show(figures[-1])
first, final = snapshots[0].shares, snapshots[-1].shares
told = {"step 0": first, f"step {stage.steps}": final}
adb.teaching.show(adb.plots.attention_stack(told, v=v))
others = [t for t in first if t not in (v, "start", "end")]
grown = final[v] / first[v]
lost = 1 - sum(final[t] for t in others) / sum(first[t] for t in others)
adb.teaching.fact("share of [V], times what it had", grown, between=(5, 25))
adb.teaching.fact("what the other words lost", 100 * lost, between=(-50, 10), unit="%")

# %% [markdown]
# **Explain.** Here is the failure that the paper names, one level below the pictures. With the same
# prompt and noise, [V] takes ten times the attention that "cat" took in its place, and its map is
# raised over the background too. Attention sums to 1, so somebody pays. In this model it is the
# start token, where a pixel looks when no word concerns it; the other words lose nothing, which may
# be why the hat stays. But [V] has learned to shout. AttnDreamBooth teaches it to speak as loudly
# as a word of its kind: it stops the embedding early (notebook
# [05](05_stage_1_embedding_alignment.ipynb)), and it pulls [V]'s map towards the category's
# ([08](08_the_regularizer.ipynb)).
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
# ### Exercise 4 (HARD, 15 minutes): how loud must a word be to swallow a prompt?
#
# A pixel's attention is a softmax over the scores of n tokens. `scores` (n,) are one pixel's, and
# `scores[v]` is the one of [V]. By how much must the score of [V] rise so that [V] alone gets the
# share `share` of that pixel, 0 < share < 1? There is a closed form. The numbers may be large:
# `np.exp(1000)` is infinite.


# %% tags=["stub"] exercise="03.4"
def rise(scores, v, share):
    return ...


# %% tags=["solution"] exercise="03.4"
def rise(scores, v, share):
    others = np.delete(scores, v)
    top = others.max()  # taken out, so that no exponential overflows
    rest = top + np.log(np.exp(others - top).sum())  # log of the sum of the others' exponentials
    return np.log(share / (1 - share)) + rest - scores[v]


# %% tags=["check"] exercise="03.4"
adb.teaching.check("03.4", rise)

# %% [markdown]
# ## Quiz

# %%
adb.teaching.quiz(*adb.teaching.questions("03"))

# %% [markdown]
# ## Summary
#
# - Textual Inversion changes one row of one table. Everything without [V] stays exactly as it was.
# - The row leaves the words: several times as long as any, and turned away from its category.
# - It finds colour and pattern, but neither star nor face: one row is too little for an
#   individual.
# - It takes ten times the attention of the word it replaced. The words around it are still obeyed
#   here; in large models, says the paper, they are not.
#
# **Read next:** sections 3 and 4 of [Gal et al. 2022](https://arxiv.org/abs/2208.01618); figure 2
# of [Pang et al. 2024](https://arxiv.org/abs/2406.05000) shows such maps on Stable Diffusion.
# **Next notebook:** [04 DreamBooth, and how it fails](04_dreambooth_and_how_it_fails.ipynb).
