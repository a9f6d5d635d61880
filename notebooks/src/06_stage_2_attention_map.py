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
# # 06 · Stage 2: the attention map
#
# {{badge}}
#
# After stage 1 (notebook [05](05_stage_1_embedding_alignment.ipynb)) the new word stands among the
# other words. Which pixels should look at it, and how strongly? Stage 2 trains exactly the layers
# in which pixels look at words, the **cross-attention** layers, and nothing else.
#
# **You will learn**
# - which parameters stage 2 moves, and how to prove that it moves no others;
# - what its loss adds to the diffusion loss, and why a map can be trained at all;
# - how two maps come to resemble each other, which of them moves, and what is left undone if the
#   stage is skipped.
#
# **Prerequisites:** notebooks [02](02_seeing_cross_attention.ipynb) and
# [05](05_stage_1_embedding_alignment.ipynb).
#
# **Measured time:** {{time}}

# %% tags=["bootstrap"]

# %% [markdown]
# Where this page stands in the series. Orange is trained, grey is frozen, and the page's subject
# has a blue frame.

# %%
import adb_core as adb

diagram = adb.plots.diagram(["cross-attention", "maps"], adb.recipe("attndreambooth").stages[1])
adb.teaching.show(diagram)

# %% [markdown]
# ## 1. What may move
#
# **Predict.** Each stage of a recipe says what it trains. What share of the U-Net's parameters
# belongs to its cross-attention layers: 5 %, 15 %, or 50 %?

# %%
import copy
import inspect
from dataclasses import replace

import numpy as np
import torch
from tqdm.auto import tqdm

base, concept = adb.load_base("tiny"), adb.Concept.bundled("pico")
recipe = adb.recipe("attndreambooth")
first, second, _ = recipe.stages
learner = adb.Learner(base, concept, recipe)
moving = learner.parameters(second)
total = sum(p.numel() for p in learner.unet.parameters())
count = sum(p.numel() for p in moving.values())
print(f"stage 2 trains {count:,} of {total:,} parameters: {100 * count / total:.0f} %")
print("what a layer consists of:", sorted({name.split(".attn2.")[1] for name in moving}))

# %% [markdown]
# **Explain.** diffusers calls the two attention layers of a block `attn1` (pixels look at pixels)
# and `attn2` (pixels look at words). Stage 2 takes every parameter whose name contains `.attn2.`.
# Queries `to_q` and keys `to_k` decide *where* a word is looked at; values `to_v` and the output
# `to_out` decide *what* it then brings. A map alone needs only the first two. The paper trains all
# four, for the diffusion loss has to be served as well: whoever looks at [V] must find something
# there. These lines of the core choose:

# %%
print(inspect.getsource(adb.Stage.trains))

# %% [markdown]
# ## 2. Stage 1, quickly

# %%
history = list(tqdm(adb.train_stage(learner, first), total=first.steps, desc=first.name))
pairs = zip(base.unet.parameters(), learner.unet.parameters())
print("tensors of the U-Net that moved:", sum(not torch.equal(a, b) for a, b in pairs))

# %% [markdown]
# ## 3. Where does `[V]` look now?
#
# A picture that is being made changes with the model. To compare fairly we look at Pico's own
# **photos**, under the condition of notebook 02: `photo_maps` adds the same noise every time.


# %%
def maps_now():
    return adb.metrics.photo_maps(adb.Result(learner), concept)  # (photos, noise levels, y, x)


def ratio(maps):
    """Mean attention of [V] divided by its category's."""
    return float(maps["v"].mean() / maps["category"].mean())


def peak(maps):
    """The largest attention of [V] divided by its category's, mean over photos and levels."""
    return float((maps["v"].max((2, 3)) / maps["category"].max((2, 3))).mean())


# %%
def rows_of(maps):
    return [[maps[who][k, 1] for k in (0, 1, 3)] for who in ("v", "category")]


before = maps_now()
photos = list(concept.squares(base.side)[[0, 1, 3]])
columns = [f"photo {k}" for k in (1, 2, 4)]
alt = "After stage 1: maps of [V] and of cat over three photos of Pico."
told = dict(row_labels=["[V]", "cat"], column_labels=columns, alt=alt)
adb.teaching.show(adb.plots.attention_grid([photos] * 2, rows_of(before), **told))
adb.teaching.fact("mean attention of [V] / 'cat'", ratio(before), between=(0.5, 1.1))
adb.teaching.fact("largest attention of [V] / 'cat'", peak(before), between=(0.7, 1.7))

# %% [markdown]
# ## 4. The loss of stage 2
#
# The loss is the diffusion loss plus a regulariser (paper, section 3.2):
#
# $$\mathcal L = \mathcal L_{\text{diffusion}} + \frac1L \sum_{l=1}^{L} \sum_b \left[
# \lambda_\mu\,(\mu_V - \mu_{cat})^2 + \lambda_\sigma\,(\sigma^2_V - \sigma^2_{cat})^2 \right]$$
#
# For a layer $l$ and a picture $b$, $\mu_V$ is the mean and $\sigma_V^2$ the variance of the map of
# `[V]` over heads and pixels. Here it is by hand, on one pass through the U-Net; notebook
# [08](08_the_regularizer.ipynb) is about these few symbols.

# %%
ids = learner.token.tokenize([learner.prompt("a photo of a {}")])
at_v, at_category = learner.token.positions(ids[0])
latents = learner.latents.mean[:4]  # four views of the photos, encoded
noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
times = torch.tensor([100, 300, 500, 700])
noisy = base.scheduler.add_noise(latents, noise, times)
states = learner.token.encode(ids).expand(4, -1, -1)
with torch.no_grad(), adb.capture_attention(learner.unet, [at_v[0], at_category[0]]) as capture:
    predicted = learner.unet(noisy, times, encoder_hidden_states=states).sample
diffusion = (predicted - base.scheduler.get_velocity(latents, noise, times)).square().mean()

# %%
by_hand = 0.0
for maps in capture.layers.values():  # (b, heads, pixels, 2)
    v, category = maps[..., 0].flatten(1), maps[..., 1].flatten(1)
    mu = v.mean(1) - category.mean(1)  # mu_V - mu_cat, for each picture b
    sigma = v.var(1) - category.var(1)  # sigma^2_V - sigma^2_cat
    each = second.lambda_mu * mu**2 + second.lambda_sigma * sigma**2
    by_hand += each.sum() / len(capture.layers)
statistics = [adb.stack_statistics(capture.maps(k)) for k in (0, 1)]
weights = second.lambda_mu, second.lambda_sigma
core = adb.regularizer.regularizer(*statistics, *weights).total
print("the regulariser by hand equals the core's:", torch.allclose(by_hand, core))
adb.teaching.fact("the regulariser / the diffusion loss", core / diffusion, between=(0, 0.1))

# %% [markdown]
# **Explain.** The maps come out of a softmax, which can be differentiated. So "be as bright as that
# map" is a loss like any other.
#
# A category may fall apart into several pieces ("sun", "flower"). Each has a mean and a variance of
# its own, and $\mu_{cat}$ and $\sigma^2_{cat}$ are the means of these. To average the *maps* first
# would smooth them: of two and of four pieces the mean map had 0.48 and 0.22 of the pieces'
# variance, and `[V]` would be asked to be flatter than any piece. The authors take the first piece
# alone. Several vectors of `[V]` are held to the category one by one, as the authors do it.
#
# ## 5. Train stage 2, and prove what moved
#
# Every tensor is copied first, and the maps are kept every ten steps.

# %%
at_start = adb.teaching.copy_weights(learner)
early = copy.copy(learner)  # the same word, but a U-Net of its own:
early.unet = copy.deepcopy(learner.unet)  # the model as stage 1 left it
moments = [(0, before)]
for record in tqdm(adb.train_stage(learner, second), total=second.steps, desc=second.name):
    history.append(record)
    if record.step % 10 == 0:
        moments.append((record.step, maps_now()))
changed = adb.teaching.changed_weights(at_start, learner)
print("tensors that moved:", len(changed), "of", len(at_start), "| of stage 2's:", len(moving))
print("of them not named .attn2.:", sum(".attn2." not in name for name in changed))

# %% [markdown]
# **Explain.** Compared bit for bit. The row of `[V]` is now as fixed as the other words: the U-Net
# learns to read it.
#
# ## 6. Before and after
#
# **Predict.** The regulariser wants the two maps to agree. Which of them will move, [V]'s, that of
# "cat", or both?

# %%
after = maps_now()
labels = [f"{word}, {when}" for when in ("before", "after") for word in ("[V]", "cat")]
alt = "Maps of [V] and of cat over three photos of Pico, before and after stage 2."
told = dict(row_labels=labels, column_labels=columns, alt=alt)
adb.teaching.show(adb.plots.attention_grid([photos] * 4, rows_of(before) + rows_of(after), **told))
for what, maps in (("before", before), ("after", after)):
    band = (0.5, 1.1) if what == "before" else (0.85, 1.15)
    adb.teaching.fact(f"mean attention of [V] / 'cat', {what}", ratio(maps), between=band)
    adb.teaching.fact(f"largest attention of [V] / 'cat', {what}", peak(maps), between=(0.7, 1.7))
for who, word in (("v", "[V]"), ("category", "'cat'")):
    change = after[who].mean() / before[who].mean()
    band = (1.05, 1.8) if who == "v" else (0.8, 1.25)
    adb.teaching.fact(f"mean attention of {word}, after / before", change, between=band)

# %% [markdown]
# **Explain.** Before, [V] was looked at less than "cat", and mostly from the tail. After sixty
# steps both get the same attention to within a few per cent: [V] has come up, "cat" hardly moved.
# Where they look stays a little different: "cat" prefers the ears and the feet, [V] the tail and
# the flank, where Pico's colors are. Two numbers were asked for, and two agree.
#
# Each record of training carries the mean and the variance of both maps:

# %%
adb.teaching.show(adb.plots.training_curves(history))

# %% [markdown]
# **Explain.** In stage 1 the line of [V] climbs from below; in stage 2 the two come together within
# some twenty steps and stay there, while the diffusion loss goes on falling.
#
# And in a picture that is being made, from the same noise, by the model before and after:

# %%
prompt = "a photo of a {} wearing a hat on the beach"
words = [concept.placeholder, concept.category, "hat", "beach"]
stages = {"before stage 2": adb.Result(early), "after stage 2": adb.Result(learner)}
options = dict(seeds=[0], maps=True, words=words, resolution=16)
made = {name: adb.generate(model, prompt, **options) for name, model in stages.items()}
heats = [list(g.word_maps(0).values()) for g in made.values()]
alt = "Where [V], cat, hat and beach are looked at in one picture, before and after stage 2."
told = dict(row_labels=list(made), column_labels=["[V]", *words[1:]], alt=alt)
adb.teaching.show(
    adb.plots.attention_grid([[g.images[0]] * 4 for g in made.values()], heats, **told)
)
shares = {name: adb.attention_shares(model, prompt) for name, model in stages.items()}
adb.teaching.show(adb.plots.attention_stack(shares, v=concept.placeholder, category="cat"))
for name, share in shares.items():
    adb.teaching.fact(f"share of [V] {name}", 100 * share[words[0]], between=(0.2, 3), unit="%")

# %% [markdown]
# **Explain.** What holds for the photos holds here: "hat" and "beach" are looked at where they
# were, as strongly as before, and [V] is paid by the start token.
#
# ## 7. Break it: hold one side, or drop the regulariser
#
# The gradient flows into both maps: "cat" may come to meet [V]. `detach_category` takes the
# category's map as a fixed target, and $\lambda = 0$ drops the term.
#
# **Predict.** In which of the three will "cat" be changed most?

# %%
free = dict(lambda_mu=0.0, lambda_sigma=0.0)
variants = {"[V] alone": dict(detach_category=True), "no regulariser": free}
ends = {"both sides": after}
for name, changes in variants.items():
    other = copy.copy(early)
    other.unet = copy.deepcopy(early.unet)
    stage = replace(second, **changes)
    list(tqdm(adb.train_stage(other, stage), total=stage.steps, desc=name))
    ends[name] = adb.metrics.photo_maps(adb.Result(other), concept)
for name, maps in ends.items():
    change = maps["category"].mean() / before["category"].mean()
    low, high = (0.3, 0.8) if name == "no regulariser" else (0.85, 1.15)
    adb.teaching.fact(f"{name}: attention of 'cat', after / before", change, between=(0.8, 1.8))
    adb.teaching.fact(f"{name}: attention of [V] / 'cat'", ratio(maps), between=(low, high))

# %% [markdown]
# **Explain.** With the regulariser on both sides "cat" stays nearly as it was. Held as a target, it
# drifts more: the weights that move still change its map, and nobody corrects it. Without the
# regulariser "cat" takes over, and [V] falls to half of its attention: the U-Net finds it easier to
# draw Pico at the word that it knows.
#
# ## 8. What if stage 2 is skipped?
#
# The recipe `without_stage_2` goes from stage 1 straight to stage 3, which moves the whole U-Net,
# cross-attention included, with the same regulariser.
#
# **Predict.** Can stage 3 make up for the stage that was skipped?

# %%
prompts = [prompt, "a photo of a {}", "a painting of a {} in the forest"]
drawn = {}
for name, plan in (("all stages", "attndreambooth"), ("without stage 2", "without_stage_2")):
    model = adb.teaching.trained(base, concept, plan)
    drawn[name] = adb.generate(model, prompts, [0, 1]).images
    maps = adb.metrics.photo_maps(model, concept)
    adb.teaching.fact(f"{name}: attention of [V] / 'cat'", ratio(maps), between=(0.6, 1.3))
labels = [p.replace("{}", "[V] cat") for p in prompts for _ in (0, 1)]
alt = "Three prompts, two seeds each, after all stages and without stage 2."
adb.teaching.show(adb.plots.image_rows(drawn, labels, alt))

# %% [markdown]
# **Explain.** Here it can: the same balance, to within a fifth, and pictures that differ little.
# The paper's ablation on Stable Diffusion (section 4) finds the stage needed; there, a separate
# stage spares the slow third one the work of repairing maps.
#
# ## 9. Watch the map form
#
# A photo of Pico, the maps of `[V]` and of "cat" on one scale.

# %%
forming = adb.widgets.FormingMaps(moments, concept.squares(base.side), concept.category)
forming.view

# %% [markdown]
# The same by code:

# %%
forming.moment.value, forming.photo.value = len(moments) - 1, 4
print(forming.text.split(":")[0])

# %% [markdown]
# ## Exercises
#
# ### Exercise 1 (easy, 4 minutes): only keys and values
#
# Custom Diffusion (Kumari et al. 2023) trains less: of each cross-attention layer only what words
# become, keys and values. Given the names of all parameters of a U-Net, return the list of those,
# in their order. Beware of look-alikes.


# %% tags=["stub"] exercise="06.1"
def key_value_names(names):
    return ...


# %% tags=["solution"] exercise="06.1"
def key_value_names(names):
    return [name for name in names if ".attn2.to_k." in name or ".attn2.to_v." in name]


# %% tags=["check"] exercise="06.1"
adb.teaching.check("06.1", key_value_names)

# %% [markdown]
# ### Exercise 2 (easy, 5 minutes): what has moved?
#
# `before` and `after` are dictionaries, name -> tensor, with the same names. Return the **set** of
# the names whose tensors are not equal bit for bit.


# %% tags=["stub"] exercise="06.2"
def moved_names(before, after):
    return ...


# %% tags=["solution"] exercise="06.2"
def moved_names(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


# %% tags=["check"] exercise="06.2"
adb.teaching.check("06.2", moved_names)

# %% [markdown]
# ### Exercise 3 (medium, 8 minutes): do two maps look alike?
#
# Two maps may share mean and variance and look at different places. Write the histogram
# intersection, which compares **where**: divide each map (y, x) by its sum, take the smaller of the
# two values in each cell, and add up. It is 1 for maps of one shape, whatever their brightness.


# %% tags=["stub"] exercise="06.3"
def map_overlap(a, b):
    return ...


# %% tags=["solution"] exercise="06.3"
def map_overlap(a, b):
    return np.minimum(a / a.sum(), b / b.sum()).sum()


# %% tags=["check"] exercise="06.3"
adb.teaching.check("06.3", map_overlap)

# %% [markdown]
# ### Exercise 4 (HARD, 20 minutes): the loop of stage 2
#
# Train the cross-attention of `unet` and nothing else. `loss(step)` makes a forward pass and
# returns one number, for step 0, 1, ... In each step: gradients of this step alone, their common
# norm clipped to 1, one step of `torch.optim.AdamW` with the rate `lr` and its other settings as
# they are. Afterwards every parameter must have the `requires_grad` that it came with, and no
# gradient is left (`None`). Return the list of the losses, as floats.


# %% tags=["stub"] exercise="06.4"
def stage_2(unet, loss, steps, lr):
    return ...


# %% tags=["solution"] exercise="06.4"
def stage_2(unet, loss, steps, lr):
    named = dict(unet.named_parameters())
    wanted = {name: p.requires_grad for name, p in named.items()}
    for name, p in named.items():
        p.requires_grad_(".attn2." in name)
    moving = [p for name, p in named.items() if ".attn2." in name]
    optimizer, losses = torch.optim.AdamW(moving, lr=lr), []
    for step in range(steps):
        value = loss(step)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(moving, 1.0)
        optimizer.step()
        losses.append(float(value.detach()))
    for name, p in named.items():
        p.requires_grad_(wanted[name])
        p.grad = None
    return losses


# %% tags=["check"] exercise="06.4"
adb.teaching.check("06.4", stage_2)

# %% [markdown]
# ## Quiz

# %%
adb.teaching.quiz(*adb.teaching.questions("06"))

# %% [markdown]
# ## Summary
#
# - Stage 2 moves every parameter of every cross-attention layer, and, bit for bit, nothing else.
# - Its loss is the diffusion loss plus the squared differences of two numbers of two maps.
# - Within a few steps [V] gets as much attention as its category; without the regulariser it gets
#   half.
# - Where the stage is skipped, stage 3 makes up for it on this small model.
#
# **Read next:** section 3.2 of the [paper](https://arxiv.org/abs/2406.05000), and Hertz et al.,
# [Prompt-to-Prompt](https://arxiv.org/abs/2208.01626), on what cross-attention maps decide in a
# picture. **Next notebook:** [07 Stage 3: identity](07_stage_3_identity.ipynb).
