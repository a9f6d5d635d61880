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
# # 07 · Stage 3: identity
#
# {{badge}}
#
# `[V]` has a place among the words (stage 1) and a place in the picture (stage 2). What is drawn in
# that place has Pico's colour and not yet his marks. Stage 3 lets the **whole U-Net** move, at a
# low learning rate, until what it draws there is Pico.
#
# At the end of this page you will have seen the model after every stage, saved it, and loaded it in
# plain diffusers, which has never heard of this collection.
#
# **You will learn**
# - what each of the three stages adds, in one grid of pictures from simple to complex prompts;
# - what a learning rate means for a weight, and how far the U-Net really moves;
# - what stage 3 does without the two before it, and what it changes that nobody asked for.
#
# **Prerequisites:** notebooks [05](05_stage_1_embedding_alignment.ipynb) and
# [06](06_stage_2_attention_map.ipynb).
#
# **Measured time:** {{time}}

# %% tags=["bootstrap"]

# %% [markdown]
# Where this page stands in the series. Orange is trained, grey is frozen, and the page's subject
# has a blue frame.

# %%
import adb_core as adb

diagram = adb.plots.diagram("unet", adb.recipe("attndreambooth").stages[2])
adb.teaching.show(diagram)

# %% [markdown]
# ## 1. The recipe, and a yardstick
#
# Stage 3 moves more than stage 2 and at a lower rate. The numbers of the authors, for Stable
# Diffusion 2.1, and those of the small model here:

# %%
from dataclasses import replace

import numpy as np
import torch
from tqdm.auto import tqdm

base = adb.load_base("tiny")
concept = adb.Concept.bundled("pico")
judge = adb.load_judge()
for preset in ("paper", "tiny"):
    for stage in adb.recipe("attndreambooth", preset).stages:
        print(
            f"{preset:5} {stage.name:10} {stage.train[0]:16} {stage.steps:3} steps, learning rate"
            f" {stage.lr:g}"
        )

# %% [markdown]
# To see what a stage adds, four prompts from simple to complex are drawn after each stage, two
# seeds each, always from the same noise. A judge, a small network that knows the toy world, says
# two things about each picture: how much the individual is Pico (a cosine, 1 is the same), and
# which share of what the prompt asked for is there (0 to 1). Notebook [09](09_measuring.ipynb)
# takes both numbers apart.

# %%
ladder = [
    ("a photo of a {}", {"style": "photo"}),
    ("a photo of a {} on the beach", {"style": "photo", "place": "beach"}),
    (
        "a painting of a {} wearing a hat in the forest",
        {"style": "painting", "accessory": "hat", "place": "forest"},
    ),
    (
        "a sketch of a {} wearing a crown next to a cake in the snow",
        {
            "style": "sketch",
            "accessory": "crown",
            "relation": "next to",
            "object": "cake",
            "place": "snow",
        },
    ),
]
prompts, seeds = [p for p, _ in ladder], [0, 1]
asks = [a for _, a in ladder for _ in seeds]


def look(model):
    """Pictures of all prompts, and the judge's two numbers for each of them."""
    if model is base:  # a base model has no [V]: it is asked for "cat"
        images = adb.generate(
            base, [p.replace("{}", concept.category) for p in prompts], seeds, steps=20
        ).images
    else:
        images = adb.generate(model, prompts, seeds, steps=20).images
    values, _ = adb.metrics.score_pictures(images, asks, concept, judge=judge)
    return images, values["identity"], values["text"]


seen = {"base": look(base)}
print("base model: pictures", seen["base"][0].shape)

# %% [markdown]
# ## 2. Three stages, three looks
#
# **Predict.** After which stage will Pico be recognisable in "a photo of a [V]"? After which in the
# sketch with crown, cake and snow?

# %%
recipe = adb.recipe("attndreambooth")
learner = adb.Learner(base, concept, recipe, seed=0)


def weights_of(unet):
    return {name: p.detach().clone() for name, p in unet.named_parameters()}


weights = [weights_of(learner.unet)]
for number, stage in enumerate(recipe.stages[:2], 1):
    for _ in tqdm(
        adb.train_stage(learner, stage), total=stage.steps, desc=f"{number} {stage.name}"
    ):
        pass
    seen[f"stage {number}: {stage.name}"] = look(adb.Result(learner))
    weights.append(weights_of(learner.unet))
print("trained so far:", [s.name for s in recipe.stages[:2]])

# %% [markdown]
# The third stage is the long one. `trained` runs the whole recipe with the same seed, or loads it
# if another notebook has trained it: the same two stages, then the third.

# %%
result = adb.teaching.trained(base, concept, "attndreambooth")
seen[f"stage 3: {recipe.stages[2].name}"] = look(result)
weights.append(weights_of(result.learner.unet))
same_row = torch.nn.functional.cosine_similarity(learner.token.rows, result.token.rows)
print("the rows of [V] of the two runs agree (cosine above 0.99):", bool((same_row > 0.99).all()))

# %%
adb.teaching.show(
    adb.plots.image_grid(
        [[images[len(seeds) * k] for k in range(len(prompts))] for images, _, _ in seen.values()],
        row_labels=list(seen),
        column_labels=[p.replace("{}", "[V] cat") for p in prompts],
        alt="Four prompts from simple to complex, drawn by the base model and after each of the "
        "three stages.",
    )
)


def stage_scores(seen):
    """The two scores of every model: a dot for each picture, a line for the mean."""
    figure = adb.plots.new_figure(
        6.4,
        2.8,
        "Identity and text score of the base model and after each stage; a dot is a picture, a "
        "bar the mean.",
    )
    axes = figure.subplots(1, 2, sharey=False)
    for ax, column, title, colour in (
        (axes[0], 1, "identity", adb.plots.V_COLOR),
        (axes[1], 2, "share of the prompt found", adb.plots.CATEGORY_COLOR),
    ):
        adb.plots.style_axes(ax, title, "", "")
        for k, scores in enumerate(seen.values()):
            values = scores[column]
            ax.scatter(
                k + np.linspace(-0.2, 0.2, len(values)), values, s=14, color=colour, alpha=0.6
            )
            ax.plot([k - 0.3, k + 0.3], [values.mean()] * 2, color=adb.plots.INK, linewidth=2)
        ax.set_xticks(range(len(seen)), [name.split(":")[0] for name in seen])
        ax.set_ylim(-0.5 if column == 1 else -0.05, 1.05)
    return figure


adb.teaching.show(stage_scores(seen))
names = list(seen)
mean = {name: identity.mean() for name, (_, identity, _) in seen.items()}
print(
    "mean identity: base below 0.3:",
    mean[names[0]] < 0.3,
    "| stage 1 above 0.5:",
    mean[names[1]] > 0.5,
    "| stage 3 above 0.65:",
    mean[names[3]] > 0.65,
)
simple = {
    name: identity[:4].mean() for name, (_, identity, _) in seen.items()
}  # the two prompts without an accessory
print(
    "photos without an accessory: stage 3 above stage 1 by more than 0.1:",
    simple[names[3]] > simple[names[1]] + 0.1,
)
print(
    "each stage adds identity:",
    mean[names[0]] < mean[names[1]] < mean[names[2]] < mean[names[3]],
    "| stage 3 adds less than stage 2:",
    mean[names[3]] - mean[names[2]] < mean[names[2]] - mean[names[1]],
)
print(
    "at least nine tenths of the prompt found after every stage:",
    all(text.mean() >= 0.9 for _, _, text in seen.values()),
)

# %% [markdown]
# **Explain.** Stage 1 gives the colour, in all four prompts at once. Stage 2 gives firmer ears and
# a first orange patch. Stage 3 adds patches on face and chest, if smeared ones, and it shows most
# in the photos on the left. In numbers the last step is the smallest of the three: the judge counts
# colours, and they were there before. In the painting and the sketch it sees little gain over stage
# 2; look for yourself whether it is right. What the prompts ask for is still there, or nearly all
# of it.
#
# ## 3. How far does a weight go?
#
# The optimizer is AdamW. Whatever the size of the gradient, it divides by the gradient's own recent
# size, so that a step moves a weight by about the learning rate $\eta$ and not much more:
#
# $$w \leftarrow w - \eta\,\lambda w - \eta\,\frac{\hat m}{\sqrt{\hat v} + \epsilon}$$
#
# ($\hat m$ and $\hat v$ are running means of the gradient and of its square, $\lambda$ is the
# weight decay.) In a stage of $T$ steps a weight therefore goes hardly farther than $\eta T$,
# however long its way would have to be.
#
# **Predict.** Stage 2 moves a small part of the parameters, stage 3 all of them. Which of the two
# changes the cross-attention more?


# %%
def kind(name):
    return next((k for k in (".attn2.", ".attn1.", "resnets") if k in name), "the rest").strip(".")


def relative_change(a, b, wanted):
    """|b - a| / |a| over all weights of one kind of layer."""
    chosen = [n for n in a if kind(n) == wanted]
    far = sum((b[n] - a[n]).square().sum() for n in chosen)
    return float((far / sum(a[n].square().sum() for n in chosen)).sqrt())


kinds = {
    "attn2": "cross-attention",
    "attn1": "self-attention",
    "resnets": "convolutions",
    "the rest": "the rest",
}
changes = {
    stage: [relative_change(weights[stage - 1], weights[stage], k) for k in kinds]
    for stage in (2, 3)
}


def change_bars(changes):
    described = "; ".join(
        f"stage {s}: " + ", ".join(f"{kinds[k]} {100 * v:.1f} %" for k, v in zip(kinds, values))
        for s, values in changes.items()
    )
    figure = adb.plots.new_figure(
        5.6, 2.6, f"Relative change of the weights by kind of layer. {described}."
    )
    ax = adb.plots.style_axes(
        figure.subplots(), "how far the weights moved", "", "change / size, %"
    )
    for k, (stage, values) in enumerate(changes.items()):
        ax.bar(
            np.arange(4) + 0.36 * k - 0.18,
            100 * np.array(values),
            0.34,
            label=f"stage {stage}",
            color=adb.plots.OKABE_ITO["sky" if stage == 2 else "vermillion"],
            hatch="" if stage == 2 else "//",
            edgecolor=adb.plots.INK,
        )
    ax.set_xticks(range(4), list(kinds.values()))
    adb.plots.legend(ax)
    return figure


adb.teaching.show(change_bars(changes))
for number in (2, 3):
    stage = recipe.stages[number - 1]
    farthest = max(
        float((weights[number][n] - weights[number - 1][n]).abs().max()) for n in weights[0]
    )
    print(
        f"stage {number}: the farthest weight went less than rate x steps:",
        farthest < stage.lr * stage.steps,
    )
print("stage 2 moved nothing but cross-attention:", changes[2][1:] == [0, 0, 0])
print("cross-attention moved more in stage 2 than in stage 3:", changes[2][0] > changes[3][0])

# %% [markdown]
# **Explain.** Stage 2 moved the cross-attention by several per cent, stage 3 by less than half of
# that, at half the learning rate and with other layers to share the work. Identity is made of many
# small changes all over the network, the largest, for their size, in the convolutions that paint.
# In the paper's preset the difference is larger: stage 3's rate is a tenth of stage 2's.
#
# ## 4. Without stages 1 and 2
#
# DreamBooth (Ruiz et al. 2023; notebook [04](04_dreambooth_and_how_it_fails.ipynb)) is, seen from
# here, a third stage alone: the whole U-Net moves, the word is a rare one that nobody has aligned,
# and there is no regulariser.
#
# **Predict.** It has about as many steps. Will Pico be missing? Will something else be?

# %%
alone = adb.teaching.trained(base, concept, "dreambooth")
seen["dreambooth"] = look(alone)
last = names[-1]
adb.teaching.show(
    adb.plots.image_grid(
        [
            [seen[name][0][len(seeds) * k + s] for k in range(len(prompts)) for s in range(2)]
            for name in (last, "dreambooth")
        ],
        row_labels=["all three stages", "DreamBooth"],
        column_labels=[p.replace("{}", "[V] cat") for p in prompts for _ in range(2)],
        alt="Four prompts, two seeds each, after all three stages in the upper row and by "
        "DreamBooth in the lower.",
        size=1.15,
    )
)
adb.teaching.show(stage_scores({"three stages": seen[last], "DreamBooth": seen["dreambooth"]}))
v_ratio = {
    name: adb.metrics.photo_maps(model, concept)
    for name, model in (("three stages", result), ("dreambooth", alone))
}
v_ratio = {
    name: float(maps["v"].mean() / maps["category"].mean()) for name, maps in v_ratio.items()
}
print(
    "DreamBooth: mean identity above 0.5:",
    seen["dreambooth"][1].mean() > 0.5,
    "| nine tenths of the prompt found:",
    seen["dreambooth"][2].mean() >= 0.9,
)
print(
    "attention of [V], times that of 'cat': three stages between 0.8 and 1.25:",
    0.8 < v_ratio["three stages"] < 1.25,
    "| DreamBooth below 0.3:",
    v_ratio["dreambooth"] < 0.3,
)

# %% [markdown]
# **Explain.** Pico is not missing. He is a little less himself here (the dots on the left), and in
# one picture much less; eight pictures of one concept are too few to make much of that, and
# notebook 09 says what would be enough. What differs is the way: the model of the three stages
# looks at [V] as much as at "cat", DreamBooth's hardly looks at it. That holds for Pico; for other
# individuals the difference is smaller (notebook 09).
#
# ## 5. What nobody asked for
#
# Every weight that draws Pico also draws everything else. So ask the tuned U-Net for a plain cat,
# without `[V]`.
#
# **Predict.** Will "a photo of a cat" still give four different cats?

# %%
plain = "a photo of a cat"
tuned = replace(base, unet=result.learner.unet)  # the base model, but with the U-Net after stage 3
cats = {
    "base model": adb.generate(base, plain, seeds=[0, 1, 2, 3], steps=20).images,
    "after stage 3": adb.generate(tuned, plain, seeds=[0, 1, 2, 3], steps=20).images,
}
adb.teaching.show(
    adb.plots.image_grid(
        [list(c) for c in cats.values()],
        row_labels=list(cats),
        column_labels=[f"seed {s}" for s in range(4)],
        alt="'a photo of a cat', without the new word, by the base model and by the tuned one, "
        "from the same noise.",
    )
)
photos = judge.identity(concept.squares(base.side))
drifted = {
    name: adb.metrics.cosine_to_mean(judge.identity(images), photos).mean()
    for name, images in cats.items()
}
print(
    "mean identity with Pico: base model below 0.2:",
    drifted["base model"] < 0.2,
    "| after stage 3 above 0.3:",
    drifted["after stage 3"] > 0.3,
)

# %% [markdown]
# **Explain.** No. The cats without [V] have become teal as well, in places of the photos: the
# failure that notebook 04 found in DreamBooth, only that these cats are less exactly Pico. The
# three stages teach the model to listen to [V]; they do not teach it that "cat" alone means
# something else. Nothing in the loss asks for that. Prior preservation does, and it can be combined
# with them: a stage has a field for it (`prior_weight`), and the recipe `dreambooth_prior` shows
# its use.
#
# ## 6. Keep it: plain diffusers loads the folder
#
# `save_pretrained` writes an ordinary Stable Diffusion folder: the new word is in its tokenizer,
# the row in its text encoder, and the U-Net is the tuned one. Whoever loads it needs diffusers and
# nothing of this collection.

# %%
from diffusers import StableDiffusionPipeline
from diffusers.utils import logging

logging.disable_progress_bar()
folder = result.save_pretrained(adb.teaching.workspace() / "pico-model")
plain_pipeline = StableDiffusionPipeline.from_pretrained(
    folder, safety_checker=None, requires_safety_checker=False
)
plain_pipeline.set_progress_bar_config(disable=True)
print("in the folder:", ", ".join(sorted(p.name for p in folder.iterdir())))

text = f"a photo of a {result.subject} on the beach"
array = plain_pipeline(
    text,
    num_inference_steps=20,
    guidance_scale=3.0,
    generator=torch.Generator().manual_seed(7),
    output_type="np",
).images[0]
theirs = (array * 255).round().astype(np.uint8)
ours = adb.generate(
    result, "a photo of a {} on the beach", seeds=[7], steps=20, guidance=3.0
).images[0]
assert np.array_equal(theirs, ours)
print("prompt:", text)
print("the picture of plain diffusers is ours, pixel for pixel:", np.array_equal(theirs, ours))

# %% [markdown]
# **Explain.** There is no trick left at the end: no hook, no special attention. All that the three
# stages have learned is in the weights. The folder also holds `learned_embeds.safetensors` (the row
# alone, for `load_textual_inversion`) and a model card that names the pictures, the recipe and the
# licence.
#
# ## 7. Wipe from one stage to the next

# %%
before, after = (seen[name][0][2 * len(seeds)] for name in names[-2:])
wipe = adb.widgets.BeforeAfter(before, after, ("after stage 2", "after stage 3"))
wipe.view

# %% [markdown]
# The same by code:

# %%
wipe.edge.value = 25
print(wipe.text)

# %% [markdown]
# ## Exercises
#
# ### Exercise 1 (medium, 10 minutes): the first step of AdamW
#
# At the first step the running means have no past: $\hat m = g$ and $\hat v = g^2$ (that is what
# the hats, the bias correction, are for). Return the weight after the first step: the weight decay
# shrinks it by $\eta\lambda w$, and the gradient $g$ moves it by
# $\eta\,\hat m / (\sqrt{\hat v} + \epsilon)$. Weight and gradient are arrays of one shape.


# %% tags=["stub"] exercise="07.1"
def adamw_first_step(weight, gradient, lr, decay, eps=1e-8):
    return ...


# %% tags=["solution"] exercise="07.1"
def adamw_first_step(weight, gradient, lr, decay, eps=1e-8):
    m, v = gradient, gradient**2
    return weight - lr * decay * weight - lr * m / (np.sqrt(v) + eps)


# %% tags=["check"] exercise="07.1"
adb.teaching.check("07.1", adamw_first_step)

# %% [markdown]
# ### Exercise 2 (easy, 6 minutes): how far did a model move?
#
# `before` and `after` are dictionaries, name -> array. Return the length of the whole change
# divided by the length of the whole model before: $\sqrt{\sum (w' - w)^2} \,/\, \sqrt{\sum w^2}$,
# with both sums over all numbers of all arrays.


# %% tags=["stub"] exercise="07.2"
def model_change(before, after):
    return ...


# %% tags=["solution"] exercise="07.2"
def model_change(before, after):
    far = sum(((after[name] - before[name]) ** 2).sum() for name in before)
    return np.sqrt(far / sum((w**2).sum() for w in before.values()))


# %% tags=["check"] exercise="07.2"
adb.teaching.check("07.2", model_change)

# %% [markdown]
# ## Summary
#
# - Stage 1 gives the colour, stage 2 a place to look, stage 3 the individual; the prompt is obeyed
#   all along.
# - The learning rate times the number of steps is roughly the farthest that a weight goes.
# - Tuning is not free: the same weights draw every other cat, and they look like Pico now.
# - The result is an ordinary diffusers model.
#
# **Read next:** section 3.3 and figure 5 of the [paper](https://arxiv.org/abs/2406.05000);
# Loshchilov and Hutter, [Decoupled weight decay regularization](https://arxiv.org/abs/1711.05101).
# **Next notebook:** [08 The regulariser](08_the_regularizer.ipynb).
