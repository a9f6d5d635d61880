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
# # 09 · Measuring
#
# {{badge}}
#
# Pictures persuade whoever chose them. How would you **know** that one method is better? And what
# would a measurement say if there were nothing to find?
#
# **You will learn**
# - to compute identity and text alignment, between a control that must fail and a ceiling;
# - to put an interval around a mean by resampling;
# - to compare methods along their whole training, and to tell effect from chance.
#
# **Prerequisites:** notebooks [00](00_start_here.ipynb) and 03 to 07.
#
# **Measured time:** {{time}}

# %% tags=["bootstrap"]

# %% [markdown]
# Everything so far ends in the box on the right.

# %%
import adb_core as adb

diagram = adb.plots.diagram("picture")
adb.teaching.show(diagram)

# %% [markdown]
# ## 1. What is compared
#
# Three methods learn Pico from the same photos; the base model, which knows only "cat", is the zero
# line. The prompts ask for four things besides.

# %%
import json

import numpy as np

base = adb.load_base("tiny")
concept = adb.Concept.bundled("pico")
judge, clip = adb.load_judge(), adb.load_clip()
listed = json.loads(adb.data_path("prompts", "complexity_4.json").read_text(encoding="utf-8"))
entries, seeds = listed["prompts"][::2], [0, 1]  # six of twelve
prompts, asks = [e["prompt"] for e in entries], [e["asks"] for e in entries for _ in seeds]
print(*prompts, sep="\n")
print("asked for in the first one:", entries[0]["asks"])

# %% [markdown]
# Train or load:

# %%
models = {"base model": base}
models["textual inversion"] = adb.teaching.trained(base, concept, "textual_inversion")

# %%
models["dreambooth"] = adb.teaching.trained(base, concept, "dreambooth")

# %%
models["three stages"] = adb.teaching.trained(base, concept, "attndreambooth")

# %% [markdown]
# **Predict.** Which method will show the most of Pico, and which the most of the rest?

# %%
texts = [p.replace("{}", concept.category) for p in prompts]
pictures = {
    name: adb.generate(model, texts if model is base else prompts, seeds).images
    for name, model in models.items()
}
adb.teaching.show(
    adb.plots.image_grid(
        [images[:: len(seeds)] for images in pictures.values()],
        row_labels=list(pictures),
        column_labels=[p.replace("{}", "[...]") for p in prompts],
        alt="Six prompts, one row for the base model and for each of three methods.",
    )
)

# %% [markdown]
# ## 2. Identity, from scratch
#
# The judge turns a picture into a vector $e(x)$ of length 1. Identity is the cosine to the mean
# direction of the photos $p_1 \dots p_n$:
#
# $$\text{identity}(x) = \cos\Big(e(x),\ \tfrac1n \sum_{i} e(p_i)\Big)$$

# %%
photos = judge.identity(concept.squares(base.side))  # (5, d), each of length 1


def identity(images, references=photos):
    mean = references.mean(0)  # 1/n sum e(p_i)
    return judge.identity(images) @ mean / np.linalg.norm(mean)  # the cosine, since |e(x)| = 1


scores = {name: {"identity": identity(images)} for name, images in pictures.items()}
core = adb.metrics.cosine_to_mean(judge.identity(pictures["dreambooth"]), photos)
assert np.allclose(scores["dreambooth"]["identity"], core, atol=1e-5)

# %% [markdown]
# **A number needs its ends.** The program that draws this world can draw Pico in every scene that
# was asked for: `ceiling` scores these true pictures, as they are and after the VAE. The lower end:
# photos of all other concepts.

# %%
true = adb.metrics.ceiling(concept, asks[:: len(seeds)], [0], base=base, judge=judge)
top = {key: found.mean for key, found in true["after the VAE"].items()}
everyone = [name for half in adb.bundled_concepts().values() for name in half]
vectors = {n: judge.identity(adb.Concept.bundled(n).squares(base.side)) for n in everyone}
others = np.concatenate(
    [adb.metrics.cosine_to_mean(v, photos) for name, v in vectors.items() if name != "pico"]
)
adb.teaching.fact("identity of true pictures", true["drawn"]["identity"].mean, between=(0.8, 1))
adb.teaching.fact("the same after the VAE", top["identity"], between=(0.75, 1))
adb.teaching.fact("photos of the other concepts, mean", others.mean(), between=(-0.1, 0.2))
adb.teaching.fact("the highest of them", others.max(), between=(0.2, 0.6))

# %% [markdown]
# **Explain.** A perfect model would get less than 1: under a hat and behind a drum there is less of
# Pico to see. Photos of others score near 0, at most a little above a third.
#
# ## 3. Text, from scratch
#
# The judge reads style, accessory, relation, object and place off the picture:
#
# $$\text{text}(x) = \frac{\text{attributes found in } x}{\text{attributes asked for}}$$


# %%
def text_score(images, asks):
    read = judge.read(images)  # label -> the word of each picture
    found = [[read[k][n] == word for k, word in asked.items()] for n, asked in enumerate(asks)]
    return np.array([np.mean(hits) for hits in found])


for name, images in pictures.items():
    scores[name]["text"] = text_score(images, asks)
    assert np.allclose(scores[name]["text"], adb.metrics.found_shares(judge.read(images), asks))

# %% [markdown]
# Papers use CLIP: the cosine between the embeddings of picture and prompt, **CLIP-T** (Ruiz et al.
# 2023). The category stands in for `[V]`.

# %%
said = [text for text in texts for _ in seeds]


def clip_t(images, texts):
    a, b = adb.metrics.embed_images(clip, images), adb.metrics.embed_texts(clip, texts)
    return adb.metrics.paired_cosine(a, b)


for name, images in pictures.items():
    scores[name]["CLIP-T"] = clip_t(images, said)

# %% [markdown]
# ## 4. Controls that must fail
#
# **Predict.** Give each picture the next prompt: how much of it will the judge "find"? And how much
# of Pico, if the photos are Zorro's?

# %%
turned = asks[len(seeds) :] + asks[: len(seeds)]
controls = {
    name: {
        "identity": identity(images, vectors["zorro"]),
        "text": text_score(images, turned),
        "CLIP-T": clip_t(images, said[len(seeds) :] + said[: len(seeds)]),
    }
    for name, images in pictures.items()
}


def means(table):
    return {name: {key: float(v.mean()) for key, v in row.items()} for name, row in table.items()}


# %%
adb.teaching.show(adb.plots.beside_controls(means(scores), means(controls), top))
bands = [(-0.1, 0.3), (0.05, 0.5), (0.5, 0.85), (0.4, 0.8)]
for (name, row), band in zip(means(scores).items(), bands):
    adb.teaching.fact(f"{name}: identity", row["identity"], between=band)
    adb.teaching.fact(f"{name}: text", row["text"], between=(0.85, 1))
shared = np.mean([[a.get(k) == w for k, w in b.items()] for a, b in zip(asks, turned)])
adb.teaching.fact("what a perfect picture scores with the next prompt", shared, between=(0.2, 0.4))

# %% [markdown]
# **Explain.** Only what the next prompt shares is found: a perfect picture would score the same.
# With Zorro's photos identity is low.
#
# Textual Inversion obeys every prompt and shows little of Pico. DreamBooth shows most of him, and
# loses the plant on the moon. The three stages obey, and show nearly as much. CLIP-T is highest for
# the base model: a score of the text alone rewards not learning.
#
# ## 5. How sure is a mean of twelve?
#
# Other seeds would have given another mean. The **bootstrap** (Efron 1979) draws twelve of the
# twelve *with* replacement and takes the mean, two thousand times. The middle 95 % of those means
# are the interval.


# %%
def interval(values, rng, resamples=2000):
    drawn = rng.integers(len(values), size=(resamples, len(values)))  # with replacement
    return np.quantile(values[drawn].mean(1), [0.025, 0.975])


values = scores["three stages"]["identity"]
low, high = interval(values, np.random.default_rng(123))
core = adb.bootstrap(values)
adb.teaching.fact("lower end by hand, minus the core's", low - core.low, between=(-0.05, 0.05))
adb.teaching.fact("width of the interval", high - low, between=(0.02, 0.5))
by_prompt = adb.bootstrap(values, groups=[k for k in range(len(prompts)) for _ in seeds])
adb.teaching.fact("width, drawn by prompt", by_prompt.high - by_prompt.low, between=(0.02, 0.6))

# %% [markdown]
# **Explain.** Two pictures of one prompt share its difficulty. So the honest unit to draw is the
# **prompt** (`groups=...`), and over several concepts the **concept**; with few of them the
# interval comes out too narrow.
#
# ## 6. The whole way
#
# Each recipe was stopped somewhere. So look at whole trainings, and beyond their presets. From here
# on identity is divided by its ceiling. **Joint** is the share of pictures that show the individual
# *and* all that was asked for.
#
# **Predict.** Which way does DreamBooth's point move, up (identity) or to the left (text lost)? And
# that of the three stages?

# %%
tracks = adb.teaching.load_tracks()
print("pictures:", *tracks.prompts, sep="\n- ")
print("scores: means over", tracks.scored, "prompts")
explorer = adb.widgets.FrontierExplorer(tracks, "dreambooth", "attndreambooth")
explorer.view

# %% [markdown]
# The same by code; choose other recipes above.

# %%
for moment in (2, 4, 6):
    explorer.at.value = moment
    print(explorer.text.replace("; ", "\n"))
adb.teaching.show(explorer.filmstrip(explorer.at, [0, 2, 4, 6]))

# %% [markdown]
# **Explain.** DreamBooth leaps to the left, and comes back; the three stages climb straight, and in
# the end both stand on one spot. The maps differ all the way: that of DreamBooth's [V] stays dim.
# But one training is an anecdote. `adb evaluate` draws such curves over several individuals:
# settings were chosen on the **tuning** half of the concepts, these are of the **held-out** half.

# %%
study = adb.teaching.stored_study()
found, figures = study.summary, study.figures
plan = found["plan"]
print(found["command"])
print("concepts:", *plan["concepts"], "| training seeds:", *plan["seeds"])
print("prompts:", len(plan["prompts"]), "| moments of each training:", plan["moments"])
adb.teaching.show(figures["frontier_methods"])

# %% [markdown]
# **Explain.** All curves begin at the base model. Textual Inversion hardly leaves it. DreamBooth
# goes up *and to the left*: identity is paid for with text. The three stages go up first. Where
# text is within three points of the base model's (dotted), they have 0.40 of a perfect model's
# identity and DreamBooth 0.19; Textual Inversion and DreamBooth at once have as much as the three
# stages. Farther left the curves meet.
#
# **Predict.** The more a prompt asks for, the more there is to lose. Whose line will fall most?

# %%
adb.teaching.show(figures["joint_by_complexity_methods"])
adb.teaching.show(figures["identity_share_by_complexity_methods"])

# %% [markdown]
# **Explain.** The joint score falls for everybody. At five things DreamBooth has no picture left in
# which both are right, the three stages one in eight. Identity is DreamBooth's: at its preset's end
# it has gone farther to the left.
#
# ## 7. Is it chance?
#
# Subtract **pair by pair**, then average: what makes an individual hard drops out. Who makes twenty
# comparisons at 5 % finds one "effect" where there is none; Holm's correction (1979) keeps the
# chance of *any* false alarm below 5 %.


# %%
def ends(row):
    """Holm's interval; an end that so few individuals cannot set is no number."""
    return [np.nan if end is None else end for end in row["corrected"]]


for score in ("joint", "identity_share", "text"):
    minus = found["method_minus"].items()
    rows = {name: (row[score]["mean"], *ends(row[score])) for name, row in minus}
    title = f"{score}: three stages minus the other, Holm's interval"
    adb.teaching.show(adb.plots.forest(rows, title, "difference", reference=0))
print("\n".join(study.lines))

# %% [markdown]
# **Explain.** The three stages have much more identity than Textual Inversion, less than
# DreamBooth, and more text than DreamBooth. Can it be chance? Of the $2^n$ ways to flip the signs
# of $n$ individuals two are the most extreme: no p is below $2/2^n$, and four tell *nothing* from
# chance. This study shows where to look. `adb evaluate` without options takes twelve individuals
# and three seeds: more than a day of two cores.
#
# **What the paper measured** (Pang et al. 2024, section 4): CLIP-based scores on photographs, and a
# user study (notebook 10). CLIP compares whole pictures, so a copied background counts as identity;
# without intervals it stays open which differences would survive another seed. **Here** the judge
# is small and the pictures are drawn: see [14](14_responsible_use.ipynb), section 7.
#
# ## 8. Where to draw the line
#
# Notebook 00 counted "identity above 0.7" as Pico. Why 0.7? *Same* are photos of one concept,
# *different* those of two. Move the threshold.

# %%
pairs = [(a, b) for a in vectors for b in vectors if a != b]
near = adb.metrics.cosine_to_mean
same = [near(v[[k]], np.delete(v, k, 0))[0] for v in vectors.values() for k in range(len(v))]
different = np.concatenate([near(vectors[a], vectors[b]) for a, b in pairs])
line = adb.widgets.ThresholdPanel(same, different)
line.view

# %% [markdown]
# The same by code, at three places:

# %%
for at in (0.3, 0.5, 0.7):
    line.at.value = at
    print(line.text)

# %% [markdown]
# **Explain.** Anywhere between the two heaps tells clean photos apart. Generated pictures lie in
# between: so the collection reports mean cosines, which need no line.
#
# ## Exercises
#
# ### Exercise 1 (easy, 5 minutes): attribute accuracy
#
# `read` is what the judge saw: label -> list of words, one for each picture. `asks` is a list of
# dictionaries, one for each picture, label -> word. Return the share found **in each picture**, as
# an array.


# %% tags=["stub"] exercise="09.1"
def found(read, asks):
    return ...


# %% tags=["solution"] exercise="09.1"
def found(read, asks):
    return np.array(
        [
            np.mean([read[label][k] == word for label, word in asked.items()])
            for k, asked in enumerate(asks)
        ]
    )


# %% tags=["check"] exercise="09.1"
adb.teaching.check("09.1", found)

# %% [markdown]
# ### Exercise 2 (medium, 8 minutes): a bootstrap interval
#
# `values` has shape (n,), and each row of `drawn`, (resamples, n), holds the numbers of the values
# of one resample. Return the lower and the upper end of the middle 95 % of the resamples' means.


# %% tags=["stub"] exercise="09.2"
def bootstrap_interval(values, drawn):
    return ...


# %% tags=["solution"] exercise="09.2"
def bootstrap_interval(values, drawn):
    means = values[drawn].mean(1)
    return np.quantile(means, [0.025, 0.975])


# %% tags=["check"] exercise="09.2"
adb.teaching.check("09.2", bootstrap_interval)

# %% [markdown]
# ### Exercise 3 (medium, 8 minutes): the pointing game
#
# Does a word look at its subject? Return True if the **largest** value of a map (y, x) lies on the
# subject's mask, a bool array of the same shape (Zhang et al. 2016).


# %% tags=["stub"] exercise="09.3"
def points_at(word_map, mask):
    return ...


# %% tags=["solution"] exercise="09.3"
def points_at(word_map, mask):
    y, x = np.unravel_index(np.argmax(word_map), word_map.shape)
    return bool(mask[y, x])


# %% tags=["check"] exercise="09.3"
adb.teaching.check("09.3", points_at)

# %% [markdown]
# ### Exercise 4 (HARD, 15 minutes): Holm's correction
#
# `p` holds m p values, in any order. Sort them; multiply the smallest by m, the next by m - 1, and
# so on down to 1; no corrected value may be smaller than one before it, and none larger than 1.
# Return them in the order given.


# %% tags=["stub"] exercise="09.4"
def holm(p):
    return ...


# %% tags=["solution"] exercise="09.4"
def holm(p):
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1)  # back to the order that was given
    return corrected


# %% tags=["check"] exercise="09.4"
adb.teaching.check("09.4", holm)

# %% [markdown]
# ## Quiz

# %%
adb.teaching.quiz(*adb.teaching.questions("09"))

# %% [markdown]
# ## Summary
#
# - Identity and text are two questions; one number for both would hide the trade-off.
# - A score means something between a ceiling and a control, a difference beside its interval.
# - Draw the unit that you want to generalise over: prompts here, concepts in the benchmark.
#
# **Read next:** section 4 of the [paper](https://arxiv.org/abs/2406.05000); Ruiz et al.,
# [DreamBooth](https://arxiv.org/abs/2208.12242), section 4.2, for CLIP-I and CLIP-T; Efron, *Annals
# of Statistics* 7 (1979). **Next notebook:** [10 Would people prefer it?](10_user_study.ipynb)
