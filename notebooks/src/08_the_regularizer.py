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
# In each of the three stages a small extra term was at work: the attention map of `[V]` is pulled
# towards the map of its category. This notebook takes that term apart. It compares two numbers of a
# map with two numbers of another map, no more.
#
# **You will learn**
# - what the mean and the variance of an attention map say about a word;
# - why a term that does not know **where** a map lies can still decide it;
# - what happens to pictures and maps when its two weights are moved, by moving them.
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
# **Predict.** A word that takes attention everywhere, in one place, in another place, nowhere:
# which of the two numbers tells them apart?

# %%
import inspect

import numpy as np
import torch

y, x = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16), indexing="ij")
bump = torch.exp(-(x**2 + y**2) / 0.08)
kinds = {
    "everywhere": torch.full((16, 16), 0.5),
    "one place": 0.5 * bump,
    "another place": 0.5 * bump.roll((-3, 4), (0, 1)),
    "nowhere": torch.full((16, 16), 0.01),
}
for name, attention in kinds.items():
    mean, var = adb.map_statistics(attention.reshape(1, 1, -1))  # (b, h, q)
    print(f"{name:14} mean {mean.item():.3f}  variance {var.item():.4f}")

# %%
grey = np.full((16, 16, 3), 200, np.uint8)
alt = "Four artificial maps on one scale: everywhere, in one place, in another place, nowhere."
told = dict(column_labels=list(kinds), top=0.5, alt=alt)
maps = [m.numpy() for m in kinds.values()]
adb.teaching.show(adb.plots.attention_grid([[grey] * 4], [maps], **told))

# %% [markdown]
# **Explain.** The mean says how much of the picture's attention a word takes, the variance how
# concentrated it is. The maps in two different places have the *same* two numbers: "take as much
# attention as a cat does, and as concentrated", and not a word about where. A regulariser on the
# map itself, pixel by pixel, would forbid `[V]` to be anywhere but where this "cat" was.
#
# ## 2. The term itself
#
# For layers $l = 1 \dots L$ and the samples $b$ of a batch (paper, section 3.2):
#
# $$\mathcal{L}_\mathrm{reg} = \frac{1}{L}\sum_l \sum_b \Big[
# \lambda_\mu\,(\mu_V-\mu_\mathrm{cat})^2 + \lambda_\sigma\,
# (\sigma^2_V-\sigma^2_\mathrm{cat})^2 \Big].$$
#
# The core's own code; the last lines are the equation:

# %%
print(inspect.getsource(adb.regularizer.regularizer).split('"""')[2])

# %% [markdown]
# ## 3. A price for attention
#
# So why should such a term decide where a map lies? Differentiate its first half with respect to
# one entry of a map of $n$ entries:
#
# $$\frac{\partial}{\partial A_i}\,\lambda_\mu(\mu_V-\mu_\mathrm{cat})^2
# = \frac{2\lambda_\mu}{n}(\mu_V-\mu_\mathrm{cat}).$$
#
# There is no $i$ on the right. Every pixel pays the same **price** for its attention, and the price
# rises with what [V] takes beyond its category's budget. The diffusion loss decides where it is
# worth paying: where attention to [V] makes the prediction better. Without a price, attention
# spreads to every pixel with the slightest gain.
#
# Here is a market of 256 pixels: some gain a lot in the middle, and all of them a little.
#
# **Predict.** Which pixels will look at [V] when attention costs nothing? And with a price?

# %%
gain = 0.05 + bump  # how much the prediction gains from a pixel's attention
budget = 0.1  # the category's mean


def settle(lambda_mu):
    """Attention after 400 steps of descent on price minus gain, (16, 16)."""
    scores = torch.full((16, 16), -2.0, requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=0.1)
    for _ in range(400):
        attention = scores.sigmoid()
        loss = lambda_mu * (attention.mean() - budget) ** 2 - (gain * attention).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return scores.sigmoid().detach()


# %%
settled = {f"lambda_mu {value:g}": settle(value) for value in (0, 0.5, 2, 20)}
alt = "Where attention settles: everywhere without a price, in the middle with one."
told = dict(column_labels=list(settled), top=1.0, alt=alt)
maps = [m.numpy() for m in settled.values()]
adb.teaching.show(adb.plots.attention_grid([[grey] * 4], [maps], **told))
middle = bump > 0.5
for name, m in settled.items():
    adb.teaching.fact(f"{name}: mean", m.mean(), between=(0, 1))
    share = 100 * m[middle].sum() / m.sum()
    adb.teaching.fact(f"{name}: share of it in the middle", share, between=(0, 100), unit="%")

# %% [markdown]
# **Explain.** The price knows no place, yet the map it leaves has one: attention is given up first
# where it gains least. The regulariser sets *how much*, the diffusion loss, under that limit,
# *where*. This is why notebook [09](09_measuring.ipynb) can ask whether maps point better with the
# term than without. (The second half of the term adds to the price in proportion to $A_i - \mu_V$:
# exercise 4.)
#
# ## 4. What it does to a real `[V]`
#
# Two models of Pico that differ in nothing but the regulariser.
#
# **Predict.** Without it, will the mean attention of `[V]` end above or below that of "cat"?

# %%
base, concept = adb.load_base("tiny"), adb.Concept.bundled("pico")
recipes = {"with": "attndreambooth", "without": "without_regularizer"}
models = {name: adb.teaching.trained(base, concept, r) for name, r in recipes.items()}
histories = {f"{name} regulariser": m.history for name, m in models.items()}
adb.teaching.show(adb.plots.ratio_curves(histories))


def end_ratio(history):
    """Mean attention of [V] over that of the category, all layers, the last 50 steps."""
    v, cat = (np.mean([getattr(r, f"{w}_mean") for r in history[-50:]]) for w in ("v", "category"))
    return v / cat


# %%
for name, history in histories.items():
    adb.teaching.fact(f"{name}: [V] / 'cat' in training", end_ratio(history), between=(0.3, 1.25))
for name, model in models.items():
    maps = adb.metrics.photo_maps(model, concept)
    ratio = maps["v"].mean() / maps["category"].mean()
    adb.teaching.fact(f"{name} regulariser: [V] / 'cat' in photos", ratio, between=(0.15, 1.25))

# %% [markdown]
# With the regulariser [V] gets as much attention as "cat" from stage 2 on. Without it, it falls
# back as soon as the cross-attention may move: "cat", which the network knows already, takes over.
#
# The two measures differ: training averages all layers and random noise levels, at many of which
# nothing can be seen; the photos' maps are the large ones, at levels where the cat can be seen
# (notebook 02).
#
# The same prompts and noise for both:

# %%
v, two = concept.placeholder, "a photo of a {} wearing a hat on the beach"
prompts = ["a photo of a {}", two, "a sketch of a {} with a balloon next to a cake in the snow"]
options = dict(seeds=[0], maps=True, words=[v, "cat"], resolution=16)
made = {name: adb.generate(m, prompts, **options) for name, m in models.items()}
labels = [p.replace("{}", "[V] cat") for p in prompts]
alt = "The same three prompts with and without the regulariser."
rows = {f"{name} regulariser": g.images for name, g in made.items()}
adb.teaching.show(adb.plots.image_rows(rows, labels, alt))

# %%
lines = [(name, word) for name in made for word in (v, "cat")]
heats = [[made[name].word_maps(k)[word] for k in range(3)] for name, word in lines]
top = max(float(m.max()) for row in heats for m in row)
alt = "Maps of [V] and of cat in those pictures, with and without the regulariser, on one scale."
told = dict(row_labels=[f"{word}, {name}" for name, word in lines], column_labels=labels, alt=alt)
pictures = [list(made[name].images) for name, _ in lines]
adb.teaching.show(adb.plots.attention_grid(pictures, heats, top=top, **told))
judge = adb.load_judge()
photos = judge.identity(concept.squares(base.side))
for name, images in rows.items():
    same = adb.metrics.cosine_to_mean(judge.identity(images), photos).mean()
    adb.teaching.fact(f"{name}: identity", same, between=(0.5, 0.85))

# %% [markdown]
# **Explain.** Both models draw Pico, the hat, the balloon and the cake, and the judge sees no
# difference worth the name. The difference is in the maps: with the regulariser [V] is looked at as
# much as "cat"; without it "cat" has taken on the work, and every cat pays for that (notebook 04).
# What a map is worth beyond that is a question for notebook 09.
#
# ## 5. The size of the pull
#
# How large is the term beside the diffusion loss? Its weights are small numbers times squared
# differences of small numbers.

# %%
history = models["with"].history
for stage in models["with"].learner.recipe.stages:
    records = [r for r in history if r.stage == stage.name]
    share = 100 * np.mean([(r.mean_part + r.var_part) / r.loss for r in records])
    adb.teaching.fact(f"{stage.name}: part of the loss", share, between=(0, 2), unit="%")

# %% [markdown]
# **Explain.** A thousandth of the loss, and less. The term has its effect because it pulls towards
# one target all the time, while the diffusion loss, with its random noise and times, pulls back and
# forth.
#
# ## 6. The playground: drive it until it breaks
#
# Six sliders: $\lambda_\mu$ and $\lambda_\sigma$ of each stage of the fast recipe, whose third
# stage is shorter; a ticked box keeps the second and third stage alike. Points that were computed
# beforehand appear at once, with the maps of `[V]`: both weights off, at the recipe's value, and
# far too strong. **Train this** trains the chosen point on your processor, with a live curve;
# **Stop** stops it. What you trained stays in the gallery below.
#
# **Predict.** What will pictures look like when hardly anything but the maps is trained?

# %%
grid = adb.teaching.load_grid()
fast = adb.recipe("attndreambooth_fast")
playground = adb.widgets.RegularizerPlayground(base, concept, fast, grid=grid, prompts=prompts)
playground.view

# %% [markdown]
# The same by code: the strongest precomputed pull on the mean, then a point that nobody has
# computed, then the recipe's own, whose pictures are there.

# %%
mu, sigma = (playground.sliders["identity", name] for name in ("lambda_mu", "lambda_sigma"))
strongest = max(point.lambdas[-1][0] for point in grid.points)
for values in ((strongest, 0.0), (0.5, 0.0), (2.0, 5.0)):
    mu.value, sigma.value = values  # the attention stage's sliders follow
    print(playground.text.split(" (precomputed:")[0])

# %% [markdown]
# All points, as numbers:

# %%
print("lambda_mu, lambda_sigma of stages 2 and 3: what was measured")
for point in grid.points:
    print("{:6g} {:6g}: ".format(*point.lambdas[-1]) + point.text)

# %% [markdown]
# **Explain.** Without any pull [V] stays at three quarters of "cat"'s attention. At the recipe's
# values it comes to 1, and nothing is lost. Far too strong, the term is all that counts: 50,000 on
# the variance destroys the drawing, hat and cake included, to make a map as contrasted as it should
# be; 20,000 on the mean keeps the scene and loses Pico; both together lose both. In between there
# is much room: no decimal of $\lambda$ matters.
#
# The first stage keeps its own pull on the mean in all of these points. Three pictures are a look,
# not a measurement.
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
# ### Exercise 3 (medium, 5 minutes): the batch matters
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
# ### Exercise 4 (HARD, 20 minutes): the whole price
#
# Section 3 has the price of the mean. Add that of the variance. `a` (n,) is the map of [V] in one
# layer and sample, `mean_cat` and `var_cat` are the category's two numbers. Return the gradient
# (n,) of the term with respect to `a`, in a closed form, without autograd. The variance is the
# unbiased one.


# %% tags=["stub"] exercise="08.4"
def price(a, mean_cat, var_cat, lambda_mu, lambda_sigma):
    return ...


# %% tags=["solution"] exercise="08.4"
def price(a, mean_cat, var_cat, lambda_mu, lambda_sigma):
    n = len(a)
    mean, var = a.mean(), a.var(ddof=1)
    of_mean = 2 * lambda_mu * (mean - mean_cat) / n  # the same for all
    of_variance = 4 * lambda_sigma * (var - var_cat) * (a - mean) / (n - 1)
    return of_mean + of_variance


# %% tags=["check"] exercise="08.4"
adb.teaching.check("08.4", price)

# %% [markdown]
# ## Quiz

# %%
adb.teaching.quiz(*adb.teaching.questions("08"))

# %% [markdown]
# ## Summary
#
# - Mean: how much attention a word takes. Variance: how concentrated it is. Both together are a
#   price on attention; the diffusion loss decides where it is worth paying.
# - At the recipe's weights [V] is looked at as much as its category; without, the category takes
#   over; far too strong, the drawing breaks.
# - It sums over the batch: a weight is only meaningful together with a batch size.
#
# **Read next:** section 3.2 and the ablation of the [paper](https://arxiv.org/abs/2406.05000).
# **Next notebook:** [09 Measuring](09_measuring.ipynb).
