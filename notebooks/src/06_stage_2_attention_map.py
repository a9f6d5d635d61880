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
# After stage 1 (notebook [05](05_stage_1_embedding_alignment.ipynb)) the new word stands at a
# sensible place among the other words. The U-Net, however, has never met it. Which pixels should
# look at `[V]`, and how strongly? Stage 2 trains exactly the layers in which pixels look at words,
# the **cross-attention** layers, and nothing else.
#
# At the end of this page you will see two maps side by side: where `[V]` was looked at before, and
# after.
#
# **You will learn**
# - which parameters stage 2 moves, and how to prove that it moves no others;
# - what its loss adds to the ordinary diffusion loss, and why a map can be trained at all;
# - how the map of `[V]` comes to resemble its category's, and what is left undone if the stage is
#   skipped.
#
# **Prerequisites:** notebook [02](02_seeing_cross_attention.ipynb) (attention maps) and notebook
# [05](05_stage_1_embedding_alignment.ipynb) (stage 1).
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
# A recipe is a list of stages, and each stage says what it trains. The three stages, with the
# numbers that this collection uses for its small model:

# %%
import copy
import inspect

import numpy as np
import torch
from tqdm.auto import tqdm

base = adb.load_base("tiny")
concept = adb.Concept.bundled("pico")
recipe = adb.recipe("attndreambooth")
for stage in recipe.stages:
    print(
        f"{stage.name:10} trains {stage.train[0]:16} {stage.steps:3} steps of {stage.batch_size},"
        f" learning rate {stage.lr:g}, "
        f"lambda_mu {stage.lambda_mu:g}, lambda_sigma {stage.lambda_sigma:g}"
    )

# %% [markdown]
# **Predict.** What share of the U-Net's parameters belongs to its cross-attention layers: 5 %, 15
# %, or 50 %?

# %%
learner = adb.Learner(base, concept, recipe, seed=0)
first, second, third = recipe.stages
moving = learner.parameters(second)
total = sum(p.numel() for p in learner.unet.parameters())
count = sum(p.numel() for p in moving.values())
print("tensors in stage 2:", len(moving), "of", len(list(learner.unet.parameters())))
print("parameters in stage 2:", f"{count:,} of {total:,}, {100 * count / total:.0f} %")
print("what a layer consists of:", sorted({name.split(".attn2.")[1] for name in moving}))

# %% [markdown]
# **Explain.** diffusers calls the two attention layers of a block `attn1` (pixels look at pixels)
# and `attn2` (pixels look at words). Stage 2 takes every parameter whose name contains `.attn2.`:
# the queries `to_q` made from pixels, the keys `to_k` and values `to_v` made from words, and the
# output `to_out`. These are the lines of the core that choose (paper, section 3.2):

# %%
print(inspect.getsource(adb.Stage.trains))

# %% [markdown]
# ## 2. Stage 1, quickly
#
# Notebook 05 took this stage apart. Here it only has to be done; `train_stage` is a generator that
# takes one step of training each time it is asked for one, so a `for` loop is all it needs.

# %%
history = []
for record in tqdm(adb.train_stage(learner, first), total=first.steps, desc=first.name):
    history.append(record)
print(
    "steps:",
    len(history),
    "| the U-Net has not moved:",
    all(torch.equal(a, b) for a, b in zip(base.unet.parameters(), learner.unet.parameters())),
)

# %% [markdown]
# ## 3. Where does `[V]` look now?
#
# To compare maps fairly, everything else has to be the same. So we do not look at a picture that is
# being made (it changes as the model changes) but at Pico's own **photos**: noise is added to them,
# always the same noise, and the U-Net is asked once what it sees. `photo_maps` does this for five
# photos at three noise levels.

# %%
before = adb.metrics.photo_maps(adb.Result(learner), concept)
print("maps of [V]: (photos, noise levels, y, x) =", before["v"].shape)


def ratio(maps):
    """Mean attention of [V] divided by its category's."""
    return float(maps["v"].mean() / maps["category"].mean())


def likeness(maps):
    """Mean histogram intersection of [V]'s map and its category's: 1 if they have one shape."""
    pairs = zip(
        maps["v"].reshape(-1, *maps["v"].shape[2:]),
        maps["category"].reshape(-1, *maps["category"].shape[2:]),
    )
    return float(np.mean([adb.metrics.overlap(a, b) for a, b in pairs]))


def peak(maps):
    """The largest attention of [V] divided by its category's, mean over photos and noise levels."""
    return float((maps["v"].max((2, 3)) / maps["category"].max((2, 3))).mean())


def map_rows(maps, level=1, photos=(0, 1, 3)):
    return [[maps["v"][k, level] for k in photos], [maps["category"][k, level] for k in photos]]


photos = list(concept.squares(64)[[0, 1, 3]])
adb.teaching.show(
    adb.plots.attention_grid(
        [photos, photos],
        map_rows(before),
        row_labels=["[V]", concept.category],
        column_labels=[f"photo {k}" for k in (1, 2, 4)],
        alt="After stage 1: maps of [V] in the first row and of cat in the second, over three "
        "photos of Pico.",
    )
)

# %% [markdown]
# **Predict.** Stage 2 is about to train. Its regulariser asks two numbers of the map of `[V]` to
# come close to two numbers of the map of "cat". Will the map of "cat" stay as it is?
#
# ## 4. The loss of stage 2
#
# The loss is the diffusion loss plus a regulariser (paper, section 3.2):
#
# $$\mathcal L = \mathcal L_{\text{diffusion}} + \frac1L \sum_{l=1}^{L} \sum_b \left[
# \lambda_\mu\,(\mu_V - \mu_{cat})^2 + \lambda_\sigma\,(\sigma^2_V - \sigma^2_{cat})^2 \right]$$
#
# For a layer $l$ and a picture $b$, $\mu_V$ is the mean and $\sigma_V^2$ the variance of the map of
# `[V]` over heads and pixels. Notebook [08](08_the_regularizer.ipynb) is about these few symbols.
# Here they are once by hand, on one pass through the U-Net, each line beside its part of the
# equation.

# %%
ids = learner.token.tokenize([learner.prompt("a photo of a {}")])
at_v, at_category = learner.token.positions(ids[0])
latents = learner.latents[0][:4]  # four photos, encoded
noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
times = torch.tensor([100, 300, 500, 700])
noisy = base.scheduler.add_noise(latents, noise, times)
states = learner.token.encode(ids).expand(4, -1, -1)
with torch.no_grad(), adb.capture_attention(learner.unet, [at_v[0], at_category[0]]) as capture:
    predicted = learner.unet(noisy, times, encoder_hidden_states=states).sample

by_hand = 0.0
for maps in capture.layers.values():  # (b, heads, pixels, 2)
    v, category = maps[..., 0].flatten(1), maps[..., 1].flatten(1)
    mu = v.mean(1) - category.mean(1)  # mu_V - mu_cat, for each picture b
    sigma = v.var(1) - category.var(1)  # sigma^2_V - sigma^2_cat
    by_hand = by_hand + (second.lambda_mu * mu**2 + second.lambda_sigma * sigma**2).sum() / len(
        capture.layers
    )


core = adb.regularizer.regularizer(
    adb.stack_statistics(capture.maps(0)),
    adb.stack_statistics(capture.maps(1)),
    second.lambda_mu,
    second.lambda_sigma,
)
assert torch.allclose(by_hand, core.total)
diffusion = (predicted - base.scheduler.get_velocity(latents, noise, times)).square().mean()
print("cross-attention layers:", len(capture.layers))
print("the regulariser by hand equals the core's:", torch.allclose(by_hand, core.total))
print("it is less than half of the diffusion loss:", bool(core.total < diffusion / 2))

# %% [markdown]
# **Explain.** The maps are the output of a softmax, and a softmax can be differentiated. So a
# sentence about maps ("be as bright as that one") is a loss like any other. It is the smaller part
# of the loss; whether it has an effect is a question for the next cells.
#
# A category may fall apart into several pieces ("sun", "flower"), and `[V]` may have several
# vectors. Each piece then has a mean and a variance of its own, and $\mu_{cat}$ and
# $\sigma^2_{cat}$ are the means of these. To average the *maps* first would smooth them: of two and
# of four pieces the mean map had 0.48 and 0.22 of the pieces' variance, and `[V]` would be asked to
# be flatter than any piece. The authors take the first piece alone. Vectors of `[V]` are held to
# the category one by one, as the authors do it.
#
# ## 5. Train stage 2, and prove what moved
#
# Before we train, every tensor of the model is copied. After each few steps the maps of the photos
# are kept too, for a slider further down.


# %%
def tensors(learner):
    """Every tensor of the personalised model: name -> copy."""
    parts = {"unet": learner.unet, "text_encoder": learner.token.text_encoder, "vae": base.vae}
    return {
        f"{part}.{name}": p.detach().clone()
        for part, module in parts.items()
        for name, p in module.named_parameters()
    }


at_start = tensors(learner)
early = copy.copy(learner)  # the same word, but a U-Net of its own:
early.unet = copy.deepcopy(learner.unet)  # the model as stage 1 left it

moments = [(0, before)]
for record in tqdm(adb.train_stage(learner, second), total=second.steps, desc=second.name):
    history.append(record)
    if record.step % max(1, second.steps // 6) == 0 or record.step == second.steps:
        moments.append((record.step, adb.metrics.photo_maps(adb.Result(learner), concept)))

at_end = tensors(learner)
moved = {name for name in at_start if not torch.equal(at_start[name], at_end[name])}
allowed = set(moving)
print("every tensor named .attn2. moved:", allowed <= moved)
print("moved, but not named .attn2.:", len(moved - allowed))
print(
    "equal bit for bit:",
    len(at_start) - len(moved),
    "of",
    len(at_start),
    "tensors, the word table among them:",
    not any("embedding" in name for name in moved),
)
last = history[-1]
print(
    "loss = diffusion + regulariser:",
    np.isclose(last.loss, last.diffusion + last.mean_part + last.var_part),
)

# %% [markdown]
# **Explain.** `torch.equal` compares bits, not "about the same". The row of `[V]`, which stage 1
# moved, is now as fixed as the other words. From here on `[V]` means what it means, and the U-Net
# learns to read it.
#
# ## 6. Before and after

# %%
after = moments[-1][1]
adb.teaching.show(
    adb.plots.attention_grid(
        [photos] * 4,
        map_rows(before) + map_rows(after),
        row_labels=[
            "[V], before",
            f"{concept.category}, before",
            "[V], after",
            f"{concept.category}, after",
        ],
        column_labels=[f"photo {k}" for k in (1, 2, 4)],
        alt="Maps of [V] and of cat over three photos of Pico, before stage 2 in the upper two "
        "rows and after it in the lower two.",
    )
)
print(
    "[V]'s largest attention has come down towards its category's:",
    peak(after) < 0.9 * peak(before),
)
print(
    "difference of mean attention, [V] and category, has shrunk:",
    abs(np.log(ratio(after))) < abs(np.log(ratio(before))),
)
change = after["category"].max((2, 3)).mean() / before["category"].max((2, 3)).mean()
print(
    "the category's own largest attention has come up, by less than a half:",
    bool(1.1 < change < 1.5),
)

# %% [markdown]
# **Explain.** Before, a few pixels looked at [V] more than twice as hard as any pixel looked at
# "cat". Now its map is dimmer: it still prefers tail and forehead, and peaks about one and a half
# times as high as that of "cat". The gradient of the regulariser flows into both maps, and "cat"
# has come some of the way to meet [V].
#
# The numbers of every training step tell the same story. Each record carries the mean and the
# variance of both maps.

# %%
adb.teaching.show(adb.plots.training_curves(history))

# %% [markdown]
# **Explain.** In stage 1 the orange line climbs: at first [V] gets less than half the attention of
# "cat", in the end as much and more, and its variance overshoots with it. In stage 2 the two lines
# come together within some twenty steps and stay there; the diffusion loss goes on falling beside
# them. Whether it would have fallen farther without the regulariser this figure cannot say;
# notebook 08 compares the two.
#
# And in pictures that are being made, from the same noise, by the model before and after stage 2:

# %%
prompt = "a photo of a {} wearing a hat on the beach"
words = [concept.placeholder, concept.category, "hat", "beach"]
models = {"before": adb.Result(early), "after": adb.Result(learner)}
made = {
    name: adb.generate(model, prompt, seeds=[0], maps=True, words=words, resolution=16)
    for name, model in models.items()
}
adb.teaching.show(
    adb.plots.attention_grid(
        [[g.images[0]] * 4 for g in made.values()],
        [list(g.word_maps(0).values()) for g in made.values()],
        row_labels=["before stage 2", "after stage 2"],
        column_labels=[f"[V] ({concept.placeholder})", *words[1:]],
        alt="Where [V], cat, hat and beach are looked at while one picture is made, before and "
        "after stage 2.",
    )
)
print("the two pictures differ:", not np.array_equal(made["before"].images, made["after"].images))

# %% [markdown]
# **Explain.** What held for the photos holds while a picture is made: the peak of [V] has come
# down, "cat" has come up, "hat" and "beach" are looked at where they were. Stage 2 has changed how
# strongly [V] speaks, and left the others their share.
#
# ## 7. What if stage 2 is skipped?
#
# The recipe `without_stage_2` goes from stage 1 straight to stage 3. Stage 3 moves the whole U-Net,
# cross-attention included, and it has the same regulariser. Both recipes are trained to their end
# here (or loaded, if another notebook has trained them).
#
# **Predict.** Can stage 3 make up for the stage that was skipped?

# %%
final = {
    "all three stages": adb.teaching.trained(base, concept, "attndreambooth"),
    "without stage 2": adb.teaching.trained(base, concept, "without_stage_2"),
}

# %%
prompts = [
    "a photo of a {}",
    prompt,
    "a painting of a {} in the forest",
    "a sketch of a {} with a balloon next to a cake in the snow",
]
drawn = {name: adb.generate(model, prompts, seeds=[0], steps=20) for name, model in final.items()}
adb.teaching.show(
    adb.plots.image_grid(
        [list(g.images) for g in drawn.values()],
        row_labels=list(drawn),
        column_labels=[p.replace("{}", "[V] cat") for p in prompts],
        alt="Four prompts, drawn after all three stages in the upper row and after stages 1 and 3"
        " only in the lower.",
    )
)
ends = {name: adb.metrics.photo_maps(model, concept) for name, model in final.items()}
for name, maps in ends.items():
    print(
        f"{name}: [V]'s mean attention is within a quarter of its category's: "
        f"{abs(np.log(ratio(maps))) < np.log(1.25)}"
    )
print(
    "both maps are alike in shape, histogram intersection above 0.7:",
    all(likeness(maps) > 0.7 for maps in ends.values()),
)

# %% [markdown]
# **Explain.** Here it can. Stage 3 has the same regulariser and moves the cross-attention too, and
# on this small model its steps suffice: the same balance of attention, and little difference in the
# pictures, but for the first, which has brought along the kitchen of the photos. The paper's
# ablation on Stable Diffusion (section 4) finds the stage needed; there, a separate stage spares
# the slow third one the work of repairing maps. We report what we see, on one concept and one seed.
# Notebook [09](09_measuring.ipynb) measures it over six other individuals, and there the one
# difference that stays is that kitchen: without stage 2 backgrounds of the photos leak.
#
# ## 8. Watch the map form
#
# The slider moves through stage 2. On the left a photo of Pico, in the middle the map of `[V]`, on
# the right the map of "cat", both with the same brightness scale.


# %%
class Forming(adb.widgets.Panel):
    """The maps of [V] and of its category in one photo, after some steps of stage 2."""

    def __init__(self, moments, photos):
        self.moments, self.photos = moments, photos
        self.moment = adb.widgets.wide(
            "SelectionSlider",
            "steps of stage 2",
            options=[(str(step), k) for k, (step, _) in enumerate(moments)],
            value=0,
        )
        self.photo = adb.widgets.wide("IntSlider", "photo", min=1, max=len(photos), value=1)
        super().__init__([self.moment, self.photo], "How the map of [V] forms")
        self.watch(self._refresh, self.moment, self.photo)

    def _refresh(self):
        step, maps = self.moments[self.moment.value]
        image, k = self.photos[self.photo.value - 1], self.photo.value - 1
        v, category = maps["v"][k].mean(0), maps["category"][k].mean(0)
        top = max(v.max(), category.max())
        self.paint(
            adb.pictures.side_by_side(
                adb.pictures.enlarge(image),
                adb.pictures.overlay(image, v, top),
                adb.pictures.overlay(image, category, top),
            )
        )
        self.say(f"after {step} steps of stage 2, photo {k + 1}: photo, [V], {concept.category}")


forming = Forming(moments, concept.squares(64))
forming.view

# %% [markdown]
# The same by code:

# %%
forming.moment.value = len(moments) - 1
forming.photo.value = 4
print(forming.text)

# %% [markdown]
# ## Exercises
#
# ### Exercise 1 (easy, 4 minutes): choose what moves
#
# Given the names of all parameters of a U-Net, return the list of those that stage 2 trains, in
# their order. Beware of look-alikes: `norm2` stands before the layer and does not belong to it.


# %% tags=["stub"] exercise="06.1"
def stage_2_names(names):
    return ...


# %% tags=["solution"] exercise="06.1"
def stage_2_names(names):
    return [name for name in names if ".attn2." in name]


# %% tags=["check"] exercise="06.1"
adb.teaching.check("06.1", stage_2_names)

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
# The regulariser compares a mean and a variance; two maps may share both and look at different
# places. Write the histogram intersection, which compares **where**: divide each map (y, x) by its
# sum, take the smaller of the two values in each cell, and add up. It is 1 for maps of one shape,
# whatever their brightness, and 0 for maps that never meet.


# %% tags=["stub"] exercise="06.3"
def map_overlap(a, b):
    return ...


# %% tags=["solution"] exercise="06.3"
def map_overlap(a, b):
    return np.minimum(a / a.sum(), b / b.sum()).sum()


# %% tags=["check"] exercise="06.3"
adb.teaching.check("06.3", map_overlap)

# %% [markdown]
# ## Summary
#
# - Stage 2 moves every parameter of every cross-attention layer, and, bit for bit, nothing else.
# - Its loss is the diffusion loss plus the squared differences of two numbers of two maps.
# - It brings the two words' attention together within a few steps. What a later stage could do
#   itself, it does earlier and with fewer parameters; on the tiny model skipping it costs next to
#   nothing.
#
# **Read next:** section 3.2 of the [paper](https://arxiv.org/abs/2406.05000), and Hertz et al.,
# [Prompt-to-Prompt](https://arxiv.org/abs/2208.01626), on what cross-attention maps decide in a
# picture. **Next notebook:** [07 Stage 3: identity](07_stage_3_identity.ipynb).
