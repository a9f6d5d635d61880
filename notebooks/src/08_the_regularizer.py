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
# # 08 · The regulariser
#
# {{badge}}
#
# Notebooks 05 to 07 trained `[V]` in three stages, and in each of them a small extra term was at
# work: the attention map of `[V]` is pulled towards the map of its category. This notebook takes
# that term apart. It compares two numbers of a map with two numbers of another map, no more.
#
# **You will learn**
# - what the mean and the variance of an attention map say about a word;
# - the regulariser, line by line, and why it does not fix **where** a word looks;
# - what happens to pictures and text when its two weights are moved, by moving them.
#
# **Prerequisites:** [02](02_seeing_cross_attention.ipynb) for the maps;
# [06](06_stage_2_attention_map.ipynb) helps.
#
# **Measured time:** {{time}}

# %% tags=["bootstrap"]

# %% [markdown]
# Where this page stands in the series. Orange is trained, grey is frozen, and the page's subject
# has a blue frame.

# %%
import adb_core as adb

diagram = adb.plots.diagram("regularizer", adb.recipe("attndreambooth").stages[1])
adb.teaching.show(diagram)

# %% [markdown]
# ## 1. Two numbers of a map
#
# In one layer the map of a word is a table $A \in \mathbb{R}^{h \times q}$: $h$ heads, $q$ pixels,
# each entry the share of its attention that a pixel gives to this word. Take
#
# $$\mu = \frac{1}{hq}\sum_{i,j} A_{ij}, \qquad
# \sigma^2 = \frac{1}{hq-1}\sum_{i,j}(A_{ij}-\mu)^2 .$$
#
# **Predict.** A word that takes attention everywhere, a word that takes it in one place, a word
# that nobody looks at: which of the two numbers tells them apart?

# %%
import inspect

import numpy as np
import torch

y, x = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16), indexing="ij")
bump = torch.exp(-(x**2 + y**2) / 0.08)
kinds = {
    "everywhere": torch.full((16, 16), 0.5),
    "one place": 0.5 * bump,
    "nowhere": torch.full((16, 16), 0.01),
    "another place": 0.5 * torch.exp(-((x - 0.45) ** 2 + (y + 0.35) ** 2) / 0.08),
}
grey = np.full((16, 16, 3), 200, np.uint8)
adb.teaching.show(
    adb.plots.attention_grid(
        [[grey] * 4],
        [[m.numpy() for m in kinds.values()]],
        column_labels=list(kinds),
        top=0.5,
        alt="Four artificial attention maps on one colour scale: everywhere, in one place, "
        "nowhere, and in another place.",
    )
)
for name, attention in kinds.items():
    mean, var = adb.map_statistics(attention.reshape(1, 1, -1))  # (b, h, q)
    print(f"{name:14} mean {mean.item():.3f}  variance {var.item():.4f}")

# %% [markdown]
# **Explain.** The mean says how much of the picture's attention a word takes; the variance says how
# concentrated it is. The two maps in different places have the *same* two numbers. So pulling mean
# and variance towards those of the category says "take as much attention as a cat does, and as
# concentrated", and leaves open where. A regulariser on the map itself, pixel by pixel, would also
# forbid `[V]` to be anywhere but where this "cat" was.
#
# ## 2. The term itself
#
# For layers $l = 1 \dots L$ and the samples $b$ of a batch (paper, section 3.2):
#
# $$\mathcal{L}_\mathrm{reg} = \frac{1}{L}\sum_l \sum_b \Big[
# \lambda_\mu\,(\mu_V-\mu_\mathrm{cat})^2 + \lambda_\sigma\,
# (\sigma^2_V-\sigma^2_\mathrm{cat})^2 \Big].$$
#
# The core's own code; the last three lines are the equation:

# %%
print(inspect.getsource(adb.regularizer.regularizer).split('"""')[2])

# %% [markdown]
# The same by hand, on made-up statistics of 2 layers and 3 samples, and compared with the core's:

# %%
generator = torch.Generator().manual_seed(0)
v = adb.stack_statistics(
    [torch.rand(3, 2, 16, generator=generator) for _ in range(2)]
)  # (L, b) each
cat = adb.stack_statistics([torch.rand(3, 2, 16, generator=generator) for _ in range(2)])
by_hand = 0.0
for layer in range(2):
    for sample in range(3):
        by_hand += (
            2.0 * (v.mean[layer, sample] - cat.mean[layer, sample]) ** 2 / 2
        )  # lambda_mu = 2, L = 2
        by_hand += (
            5.0 * (v.var[layer, sample] - cat.var[layer, sample]) ** 2 / 2
        )  # lambda_sigma = 5
core = adb.regularizer.regularizer(v, cat, 2.0, 5.0).total
print("by hand equals the core:", torch.allclose(by_hand, core))
print("shape of the statistics:", tuple(v.mean.shape))

# %% [markdown]
# ## 3. What it does to a real `[V]`
#
# Two models of Pico that differ in nothing but the regulariser: the stock recipe and the ablation
# without it. The loss of each step also reports the statistics of both words.
#
# **Predict.** Without the regulariser, will the mean attention of `[V]` end above or below that of
# "cat"?

# %%
base = adb.load_base("tiny")
concept = adb.Concept.bundled("pico")
models = {
    "with": adb.teaching.trained(base, concept, "attndreambooth"),
    "without": adb.teaching.trained(base, concept, "without_regularizer"),
}


def end_ratio(result, what="mean", steps=100):
    """Statistic of [V] over that of the category, mean over layers and the last steps."""
    last = result.history[-steps:]
    v = np.mean([getattr(r, f"v_{what}") for r in last])
    return v / np.mean([getattr(r, f"category_{what}") for r in last])


def ratio_figure(models):
    figure = adb.plots.new_figure(
        7.5,
        2.8,
        "Mean attention of [V] divided by that of the category at every training step, with and "
        "without the regulariser.",
    )
    ax = adb.plots.style_axes(
        figure.subplots(), "mean attention: [V] / category", "training step", "ratio"
    )
    for (name, result), color in zip(models.items(), (adb.plots.V_COLOR, adb.plots.CATEGORY_COLOR)):
        ratio = [np.mean(r.v_mean) / np.mean(r.category_mean) for r in result.history]
        ax.plot(
            ratio,
            color=color,
            linestyle="-" if name == "with" else "--",
            label=f"{name} regulariser",
        )
    ax.axhline(1, color=adb.plots.INK, linewidth=0.8, linestyle=":")
    adb.plots.legend(ax)
    return figure


adb.teaching.show(ratio_figure(models))
away = {name: abs(end_ratio(m, steps=100) - 1) for name, m in models.items()}
print("with: within 5 % of the category's:", away["with"] < 0.05)
print(
    "without: at least three times as far from the category's:", away["without"] > 3 * away["with"]
)
in_photos = {name: adb.metrics.photo_maps(m, concept) for name, m in models.items()}
in_photos = {
    name: float(maps["v"].mean() / maps["category"].mean()) for name, maps in in_photos.items()
}
print(
    "in Pico's photos, the large maps at low and middle noise: with: below 1.6:",
    in_photos["with"] < 1.6,
    "| without: above 2.5:",
    in_photos["without"] > 2.5,
)

# %% [markdown]
# The same prompts and noise for both:

# %%
prompts = [
    "a photo of a {}",
    "a photo of a {} wearing a hat on the beach",
    "a sketch of a {} with a balloon next to a cake in the snow",
]
rows = {
    name: adb.generate(m, prompts, seeds=[0], maps=True, words=[concept.placeholder, "cat"])
    for name, m in models.items()
}
adb.teaching.show(
    adb.plots.image_grid(
        [list(made.images) for made in rows.values()],
        row_labels=[f"{n} regulariser" for n in rows],
        column_labels=[p.replace("{}", "[V] cat") for p in prompts],
        alt="The same three prompts with and without the regulariser, same noise.",
    )
)
adb.teaching.show(
    adb.plots.attention_grid(
        [list(made.images) for made in rows.values()],
        [[made.word_maps(k)[concept.placeholder] for k in range(3)] for made in rows.values()],
        row_labels=[f"{n} regulariser" for n in rows],
        column_labels=[p.replace("{}", "[V] cat") for p in prompts],
        top=max(
            made.word_maps(k)[concept.placeholder].max() for made in rows.values() for k in range(3)
        ),
        alt="Attention maps of [V] of those pictures, with and without the regulariser, on one "
        "colour scale.",
    )
)
print("pictures of each:", {name: len(made.images) for name, made in rows.items()})

# %% [markdown]
# **Explain.** Without the regulariser `[V]` ends above its category: it is the word that the
# training pictures reward, so it takes attention from its neighbours, a different amount at each
# step. With it, the ratio settles at 1 and stays. How large the gap is depends on where one looks.
# The curve is the mean over all seven layers and over random noise levels, at many of which nothing
# can be seen and all words get little. In the 16 by 16 maps, at noise levels where the cat can be
# seen, [V] takes several times the attention of "cat" (last line); notebook 09 reports that number.
# The maps show the same: one colour scale for all of them, and the lower row is the hotter one.
#
# Now be honest about the pictures: on this small model both versions draw Pico, and both find room
# for the rest of the prompt. The map is repaired plainly; what that is worth in pictures has to be
# measured, which notebook 09 does.
#
# ## 4. The size of the pull
#
# How large is the term beside the diffusion loss? The recipe's weights are small numbers times
# squared differences of small numbers.

# %%
for stage in models["with"].learner.recipe.stages:
    records = [r for r in models["with"].history if r.stage == stage.name]
    share = np.mean([(r.mean_part + r.var_part) / r.loss for r in records])
    print(
        f"{stage.name:10} lambda_mu {stage.lambda_mu:g}, lambda_sigma {stage.lambda_sigma:g}: "
        f"under 5 % of the loss: {share < 0.05}"
    )

# %% [markdown]
# **Explain.** At the authors' weights the term is a small part of the loss on this model. Its
# gradient still points towards one target all the time, while the diffusion loss's jumps about with
# the noise level.
#
# ## 5. The playground
#
# The playground runs the fast recipe, whose third stage is shorter. Six sliders: $\lambda_\mu$ and
# $\lambda_\sigma$ of each stage; a ticked box keeps the second and third stage alike. Where the
# point was computed beforehand (the first stage as it is, $\lambda_\mu$ of 0, 2 or 20 and
# $\lambda_\sigma$ of 0, 5 or 100 in the others) its pictures and the maps of `[V]` appear at once.
# **Train this** trains exactly the chosen point on your processor, with a live curve; **Stop**
# stops it. What you trained stays in the gallery below, so that you can compare.

# %%
playground = adb.widgets.RegularizerPlayground(
    base, concept, adb.recipe("attndreambooth_fast"), grid=adb.teaching.load_grid(), prompts=prompts
)
playground.view

# %% [markdown]
# The same by code: the strongest precomputed pull on the mean, then a point that nobody has
# computed.

# %%
playground.sliders["identity", "lambda_mu"].value = 20.0  # the attention stage's slider follows
playground.sliders["identity", "lambda_sigma"].value = 0.0
print("precomputed:", "), precomputed:" in playground.text)
playground.sliders["identity", "lambda_mu"].value = 0.5
print("not precomputed:", "not precomputed" in playground.text)
playground.sliders[
    "identity", "lambda_mu"
].value = 2.0  # back to the recipe's own point, whose pictures are there
playground.sliders["identity", "lambda_sigma"].value = 5.0

# %% [markdown]
# **Predict.** What should a strong pull ($\lambda_\mu = 20$, ten times the recipe's) do to the
# ratio of the two means? And to the identity?

# %%
grid = adb.teaching.load_grid()
print("lambda_mu, lambda_sigma of stages 2 and 3: what was measured")
for point in grid.points:
    mu, sigma = point.lambdas[1]
    print(f"{mu:5g} {sigma:5g}: {point.text}")

# %% [markdown]
# **Explain.** With no weight in the second and third stage the ratio ends highest. Identity and
# text move little between them, and not in one direction: three pictures are a look, not a
# measurement. What $\lambda_\mu$ changes reliably is the map: with any of it the ratio is 1, while
# $\lambda_\sigma$ alone does not bring it there. The first stage keeps its own pull on the mean in
# all of these points, which is why even 0 and 0 end not far from 1. On Stable Diffusion with real
# photographs the paper reports that the pictures follow (its ablation study); here the base model
# is small, its prompts are short, and words compete less.
#
# ## Exercises
#
# ### Exercise 1 (easy, 5 minutes): the statistics of a map
#
# Return mean and **unbiased** variance over heads and pixels of each sample: `attention` is a
# tensor (b, h, q); the result two tensors (b,).


# %% tags=["stub"] exercise="08.1"
def statistics(attention):
    return ...


# %% tags=["solution"] exercise="08.1"
def statistics(attention):
    flat = attention.flatten(1)  # (b, h*q)
    return flat.mean(1), flat.var(1, correction=1)


# %% tags=["check"] exercise="08.1"
adb.teaching.check("08.1", statistics)

# %% [markdown]
# ### Exercise 2 (medium, 8 minutes): the whole term
#
# `mean_v`, `var_v`, `mean_cat`, `var_cat` are tensors (L, b). Return the regulariser: squared
# differences, weighted, **summed over the batch** and **averaged over the layers**.


# %% tags=["stub"] exercise="08.2"
def penalty(mean_v, var_v, mean_cat, var_cat, lambda_mu, lambda_sigma):
    return ...


# %% tags=["solution"] exercise="08.2"
def penalty(mean_v, var_v, mean_cat, var_cat, lambda_mu, lambda_sigma):
    each = lambda_mu * (mean_v - mean_cat) ** 2 + lambda_sigma * (var_v - var_cat) ** 2  # (L, b)
    return each.mean(0).sum()


# %% tags=["check"] exercise="08.2"
adb.teaching.check("08.2", penalty)

# %% [markdown]
# ### Exercise 3 (medium, 8 minutes): the batch matters
#
# Because the term sums over the batch, half the batch means half the pull. Return the $\lambda$
# that gives with `new_batch` samples the pull that `lambda_old` gave with `old_batch` samples of
# the same statistics.


# %% tags=["stub"] exercise="08.3"
def same_pull(lambda_old, old_batch, new_batch):
    return ...


# %% tags=["solution"] exercise="08.3"
def same_pull(lambda_old, old_batch, new_batch):
    return lambda_old * old_batch / new_batch


# %% tags=["check"] exercise="08.3"
adb.teaching.check("08.3", same_pull)

# %% [markdown]
# ## Summary
#
# - Mean: how much attention a word takes. Variance: how concentrated it is. Neither says where.
# - The regulariser pulls both towards the category's, so that `[V]` behaves like an ordinary noun.
# - It sums over the batch: a weight is only meaningful together with a batch size.
#
# **Read next:** section 3.2 and the ablation of the [paper](https://arxiv.org/abs/2406.05000).
# **Next notebook:** [09 Measuring](09_measuring.ipynb).
