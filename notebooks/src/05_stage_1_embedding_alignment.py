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
# # 05 · Stage 1: embedding alignment
#
# {{badge}}
#
# Textual Inversion asked the embedding to do everything, and it ran away from the words (notebook
# [03](03_textual_inversion_and_how_it_fails.ipynb)). DreamBooth asked it to do nothing, and it
# stayed a stranger among them ([04](04_dreambooth_and_how_it_fails.ipynb)). AttnDreamBooth begins
# with the middle way: move the embedding, from a good start, far less than Textual Inversion does,
# and leave the rest to later stages.
#
# The paper calls this stage *embedding alignment*
# ([Pang et al. 2024](https://arxiv.org/abs/2406.05000), method section): [V] is to find its place
# in a sentence beside the other words, not to become the concept.
#
# **You will learn**
# - how one row of a table is trained while everything around it stays frozen;
# - why this stage begins at the category and ends early;
# - what stage 1 gives, and what it does not give.
#
# **Prerequisites:** notebooks [03](03_textual_inversion_and_how_it_fails.ipynb) and
# [04](04_dreambooth_and_how_it_fails.ipynb).
#
# **Measured time:** {{time}}

# %% tags=["bootstrap"]

# %% [markdown]
# Where this page stands in the series. Orange is trained, grey is frozen, and the page's subject
# has a blue frame.

# %%
import adb_core as adb

diagram = adb.plots.diagram("row", adb.recipe("attndreambooth").stages[0])
adb.teaching.show(diagram)

# %% [markdown]
# ## 1. Where [V] begins
#
# The recipe is a table, one line a stage: the paper's numbers, and beside them the tiny model's.
# This page is about its first line.

# %%
import inspect
from dataclasses import replace

import numpy as np
import torch
from tqdm.auto import tqdm

base = adb.load_base("tiny")
concept = adb.Concept.bundled("pico")
judge = adb.load_judge()
plan = adb.recipe("attndreambooth")
stage = plan.stages[0]
inversion = adb.recipe("textual_inversion").stages[0]
learner = adb.Learner(base, concept, plan)
token = learner.token
table = base.text_encoder.get_input_embeddings().weight.detach().float()
cat = base.tokenizer(concept.category, add_special_tokens=False).input_ids
print(adb.recipe_table())
print("stage:", stage.name, "| trains:", stage.train, "| prompts:", stage.prompts)
print("steps fewer than Textual Inversion's:", stage.steps < inversion.steps)
print(
    "row of [V] equals the row of 'cat', bit for bit:",
    torch.equal(token.rows[0].detach(), table[cat].mean(0)),
)

# %% [markdown]
# The row starts as the mean of the category's pieces; "cat" is one piece. So before the first step
# the model reads "a photo of a cat cat": [V] behaves like an ordinary word from the beginning, and
# has to lose that, not to find it.
#
# ## 2. One trainable row
#
# The text encoder's table is one parameter of many rows. How can one row of it be trained? This is
# the core's answer:

# %%
print(inspect.getsource(adb.concept_token.Rows.trainable))

# %% [markdown]
# The row is a parameter of its own. A hook behind the table looks up which token ids are [V] and
# puts the row in their place, `torch.where`. The table itself stays frozen.
#
# **Predict.** In a prompt of six words, which rows would get a gradient if the *table* were trained
# instead?

# %%
ids = token.tokenize([learner.prompt("a photo of a {}")])
torch.manual_seed(0)
probe = torch.randn(
    1, ids.shape[1], table.shape[1]
)  # any scalar function of the text states will do

with token.trainable() as rows:
    rows.requires_grad_(True)
    (token.encode(ids) * probe).sum().backward()
    by_hook = rows.grad.clone()
    touched = [n for n, p in token.text_encoder.named_parameters() if p.grad is not None]
    rows.requires_grad_(False)
    rows.grad = None
print("parameters of the encoder that got a gradient:", touched)

whole = token.text_encoder.get_input_embeddings().weight
whole.requires_grad_(True)  # the other way: train the whole table
(token.encode(ids) * probe).sum().backward()
by_table = whole.grad.clone()
whole.requires_grad_(False)
whole.grad = None
moved = by_table.abs().sum(1).nonzero().flatten().tolist()
print("rows of the table with a gradient:", token.tokenizer.convert_ids_to_tokens(moved))
print(
    "the row of [V] gets the same gradient both ways:",
    torch.allclose(by_table[token.ids], by_hook, atol=1e-5),
)

# %% [markdown]
# **Explain.** Only the rows of tokens that stand in the prompt get a gradient, the marks of its
# begin and end among them; all other rows get none. Training the table would move "photo" and "cat"
# along with [V]. And [V]'s own row gets the same gradient either way, so nothing is lost by
# training it alone.
#
# ## 3. Train stage 1
#
# The core's `train_stage` takes one step each time the loop asks for one; in between, the loop
# notes where [V] is. The same four prompts are drawn before and after, from the same noise, and the
# maps of [V] are read off the five photos (`metrics.photo_maps`: noise is added to a photo, and the
# U-Net is asked once what it sees).
#
# **Predict.** The embedding is all that moves. Which of these will change: the colour of the cat,
# its place among the words, where [V] looks, the hat?

# %%
project = adb.Projection(table)


def train(learner, stage):
    """Train one stage in a loop; returns where [V] was, and every step's record."""

    def moment(step):
        return adb.plots.DriftPoint(
            step,
            stage.name,
            learner.token.drift(),
            tuple(project(learner.token.rows.mean(0)).tolist()),
        )

    points, records = [moment(0)], []
    for record in tqdm(adb.train_stage(learner, stage), total=stage.steps, desc=stage.name):
        records.append(record)
        if record.step % 2 == 0 or record.step == stage.steps:
            points.append(moment(record.step))
    return points, records


result = adb.Result(learner)
asked = [
    "a photo of a {}",
    "a photo of a {} wearing a hat on the beach",
    "a painting of a {} wearing a crown in the forest",
    "a sketch of a {} with a balloon in the snow",
]
before, maps_before = (
    adb.generate(result, asked, [0]).images,
    adb.metrics.photo_maps(result, concept),
)
points, records = train(learner, stage)
after, maps_after = adb.generate(result, asked, [0]).images, adb.metrics.photo_maps(result, concept)
print("steps taken:", len(records), "| moments kept:", len(points))

# %%
words = ["cat", "dog", "blue", "green", "orange", "hat", "beach", "snow", "painting"]
places = {
    w: tuple(project(table[base.tokenizer(w, add_special_tokens=False).input_ids].mean(0)).tolist())
    for w in words
}
adb.teaching.show(
    adb.plots.embedding_drift(points, project(table).numpy(), places, concept.category)
)
start, end = points[0].drift, points[-1].drift
print(
    "distance from its start, at the start:",
    round(start.distance, 1),
    "| at the end:",
    round(end.distance, 1),
)
print("three nearest words at the end:", sorted(word for word, _ in end.nearest[:3]))
print("length of [V], times the mean row's, below 3:", end.norm < 3 * end.vocabulary_norm)

# %% [markdown]
# **Explain.** The row has moved towards the two colours that Pico is made of, and it has kept "cat"
# among its nearest words. It lies at the edge of the cloud already, and is longer than a word
# should be; but compare notebook 03, where Textual Inversion went on for much longer and at a
# higher learning rate: there the row ended more than four times as long as the mean row, and "cat"
# was hardly to be found. Note the left curve: it is still rising when the stage ends. Stage 1 does
# not converge; it is *stopped*.

# %%
labels = [p.replace("{}", "[V] cat") for p in asked]
adb.teaching.show(
    adb.plots.image_grid(
        [before, after],
        row_labels=["before stage 1", "after stage 1"],
        column_labels=labels,
        alt="Four prompts with [V], seed 0, before and after stage 1: the same scenes, and the "
        "cats have become teal.",
    )
)
photos = judge.identity(concept.squares(base.side))


def identity(images):
    return float(adb.metrics.cosine_to_mean(judge.identity(images), photos).mean())


def ratio(maps):
    """Mean attention of [V] over that of the category, in the photos."""
    return float(maps["v"].mean() / maps["category"].mean())


print(
    "mean identity, before: below 0.3:",
    identity(before) < 0.3,
    "| after: above 0.4:",
    identity(after) > 0.4,
)
adb.teaching.show(
    adb.plots.attention_grid(
        [[concept.squares(base.side)[k] for k in (0, 1, 3)] * 2] * 2,
        [
            [*(maps[who][k].mean(0) for who in ("v", "category") for k in (0, 1, 3))]
            for maps in (maps_before, maps_after)
        ],
        row_labels=["before stage 1", "after stage 1"],
        column_labels=[f"{who}, photo {k}" for who in ("[V]", "cat") for k in (1, 2, 4)],
        alt="Attention maps of [V] and of cat over three photos of Pico, before and after stage "
        "1. After it, [V] looks at the cat's outline and tail.",
    )
)
print(
    "attention of [V] before: less than that of 'cat':",
    ratio(maps_before) < 1,
    "| after: more:",
    ratio(maps_after) > 1,
)

# %% [markdown]
# **Explain.** The cats have taken Pico's colour, in every style, and hats and places stay as they
# were; only where the prompt names no place has it changed. The spots, the eyes and the star on the
# chest are not there: a frozen U-Net cannot draw what it has never drawn. That is no defect of this
# stage. Its product is the lower row of maps: pixels of the cat, and hardly any others, look at
# [V].
#
# Look at the numbers below the maps, too. [V]'s largest attention is now nearly three times that of
# "cat". It has begun to take more than a word of its kind should; that is what the regulariser is
# there to hold back, and stage 2 (notebook [06](06_stage_2_attention_map.ipynb)) is where it
# succeeds.
#
# The slider goes through the moments of the training.

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
# ## 4. The loss, and what the regulariser does here
#
# $$L = \underbrace{\mathbb E \,\| \epsilon - \epsilon_\theta(z_t, t, c) \|^2}_{\text{diffusion}}
# + \underbrace{\frac 1 L \sum_l \sum_b \left[ \lambda_\mu (\mu_V - \mu_{cat})^2
# + \lambda_\sigma (\sigma^2_V - \sigma^2_{cat})^2 \right]}_{\text{regulariser}}$$
#
# The second part (paper, section 3.2) asks the map of [V] for the mean $\mu$ and the variance
# $\sigma^2$ of the category's map. Each stage has its own weights; in stage 1 the variance is left
# free.
#
# **Predict.** Is the regulariser a large part of this loss or a small one? And if it is a small
# one, will anything change when it is left out?

# %%
print("lambda_mu:", stage.lambda_mu, "| lambda_sigma:", stage.lambda_sigma)
share = np.mean([r.mean_part / r.loss for r in records])
print("regulariser less than one hundredth of the loss:", bool(share < 0.01))
variants = {
    "left out": replace(stage, lambda_mu=0.0),
    "1,000 times stronger": replace(stage, lambda_mu=1000 * stage.lambda_mu),
}
ends = {"left out": None, "the recipe's": end}
for name, variant in variants.items():
    ends[name] = train(adb.Learner(base, concept, plan), variant)[0][-1].drift


def bars(ends):
    """Distance and cosine of [V] after stage 1, for three strengths of the regulariser."""
    said = "; ".join(
        f"{n}: distance {d.distance:.2f}, cosine to cat {d.cosine_to_category:.2f}"
        for n, d in ends.items()
    )
    figure = adb.plots.new_figure(
        6.4,
        2.4,
        "Where [V] ends with the regulariser left out, as in the recipe, and a thousand times "
        f"stronger. {said}.",
    )
    for ax, key, title in zip(
        figure.subplots(1, 2),
        ("distance", "cosine_to_category"),
        ("distance from its start", "cosine to 'cat'"),
    ):
        adb.plots.style_axes(ax, title)
        ax.barh(
            range(len(ends)),
            [getattr(d, key) for d in ends.values()],
            0.6,
            color=adb.plots.V_COLOR,
            edgecolor=adb.plots.INK,
        )
        ax.set_yticks(range(len(ends)), list(ends))
        ax.invert_yaxis()
    return figure


adb.teaching.show(bars(ends))
for name, d in ends.items():
    print(
        f"{name}: distance {d.distance:.1f}, cosine to 'cat' {d.cosine_to_category:.1f}, nearest "
        f"word {'cat' if d.nearest[0][0] == 'cat' else 'a colour'}"
    )

# %% [markdown]
# **Explain.** A part of the loss that is hundreds of times smaller than the other still has its
# effect, because it always pulls towards the same target while the diffusion loss, with its random
# noise and times, pulls back and forth. With the recipe's weight [V] ends a little nearer to "cat".
# A thousand times stronger, it goes little more than half as far, and "cat" stays its nearest word:
# to have the category's map, the easiest way is to remain the category.
#
# ## 5. Too long, too fast
#
# **Predict.** Twice the steps at ten times the learning rate: what will be different in the
# pictures?

# %%
runaway = adb.Learner(base, concept, plan)
far = train(runaway, replace(stage, steps=2 * stage.steps, lr=10 * stage.lr))[0][-1].drift
gone = adb.generate(adb.Result(runaway), asked, [0]).images
adb.teaching.show(
    adb.plots.image_grid(
        [after, gone],
        row_labels=["stage 1", "too long, too fast"],
        column_labels=labels,
        alt="Four prompts after stage 1, and after a stage 1 that was run too long and too fast: "
        "nearly the same pictures.",
    )
)
print("distance from its start, times that of stage 1, above 5:", far.distance > 5 * end.distance)
print("cosine to 'cat' below 0.2:", far.cosine_to_category < 0.2)
print(
    "mean identity higher than after stage 1 by more than 0.05:",
    identity(gone) > identity(after) + 0.05,
)

# %% [markdown]
# **Explain.** The row is far out, and the pictures that name a place are nearly the same; the judge
# finds no more of Pico in them. The first one has brought along the kitchen of the photos. So on
# this model running away is no disaster at once, and the pictures do not tell: only the embedding
# does. What it costs shows in notebook 03, in the attention that such a row takes from the other
# words. The paper reports that on Stable Diffusion a long stage 1 overfits, keeps it to 60 steps,
# and leaves the rest to stages that can learn it better.
#
# ## 6. What would be missing without stage 1
#
# The ablation `without_stage_1` begins with stage 2: [V] keeps the row of "cat" to the end, and
# only the cross-attention may learn. Here are both ways as far as the end of stage 2.
#
# **Predict.** Stage 2 has every cross-attention layer to work with, hundreds of thousands of
# numbers. Will it need stage 1's one row?

# %%
second = plan.stages[1]
skipped = adb.Learner(base, concept, plan)
for who, name in ((learner, "after stage 1"), (skipped, "without stage 1")):
    for _ in tqdm(adb.train_stage(who, second), total=second.steps, desc=name):
        pass
both = {
    name: adb.Result(who) for name, who in (("stages 1 and 2", learner), ("stage 2 alone", skipped))
}
drawn = {name: adb.generate(model, asked, [0]).images for name, model in both.items()}
adb.teaching.show(
    adb.plots.image_grid(
        list(drawn.values()),
        row_labels=list(drawn),
        column_labels=labels,
        alt="Four prompts after stages 1 and 2 in the upper row, and after stage 2 alone in the "
        "lower.",
    )
)
print(
    "mean identity higher with stage 1 by more than 0.05:",
    identity(drawn["stages 1 and 2"]) > identity(drawn["stage 2 alone"]) + 0.05,
)
share = {name: ratio(adb.metrics.photo_maps(model, concept)) for name, model in both.items()}
print(
    "attention of [V], times that of 'cat', within 10 % of 1: with stage 1:",
    abs(share["stages 1 and 2"] - 1) < 0.1,
    "| stage 2 alone:",
    abs(share["stage 2 alone"] - 1) < 0.1,
    "| stage 2 alone gives [V] less than 'cat':",
    share["stage 2 alone"] < 0.9,
)

# %% [markdown]
# **Explain.** It does. Stage 2 alone makes the cats green, fits Pico's shape less, and in the first
# picture it has brought along the kitchen of the photos; [V] gets less attention than "cat". The
# same steps after stage 1 begin at a word that already says "teal", and can go on from there. One
# row, trained first, saves many layers a detour. (After stage 3, which moves everything, the
# difference is no longer to be told from chance: notebook 09 measures it over six individuals.)
#
# ## Exercises
#
# ### Exercise 1 (easy, 5 minutes): mask a gradient
#
# Many programs train the whole table and throw away the gradient of all rows but one. Write that
# mask: given the `gradient` (n, d) of a table, return a new tensor in which only the row `row` is
# left and all others are zero. (Why does the core not do this? See section 2, and think of weight
# decay.)


# %% tags=["stub"] exercise="05.1"
def one_row(gradient, row):
    return ...


# %% tags=["solution"] exercise="05.1"
def one_row(gradient, row):
    masked = torch.zeros_like(gradient)
    masked[row] = gradient[row]
    return masked


# The core does not need this: its row is a parameter of its own, and no other row is one. With the
# whole table as a parameter, AdamW's weight decay would shrink every row at every step, gradient or
# not, and its running means would take the memory of two more tables.

# %% tags=["check"] exercise="05.1"
adb.teaching.check("05.1", one_row)

# %% [markdown]
# ### Exercise 2 (easy, 3 minutes): a category of several pieces
#
# Our tokenizer splits "teal" into three pieces. Return the first row of [V] for a category with the
# token numbers `pieces`: the mean of their rows in `table` (n, d).


# %% tags=["stub"] exercise="05.2"
def start_row(table, pieces):
    return ...


# %% tags=["solution"] exercise="05.2"
def start_row(table, pieces):
    return table[pieces].mean(0)


# %% tags=["check"] exercise="05.2"
adb.teaching.check("05.2", start_row)

# %% [markdown]
# ### Exercise 3 (medium, 8 minutes): how far can it go?
#
# One step of Adam moves each number by about the learning rate `lr`, whatever the size of its
# gradient. Suppose all `steps` steps go the same way. How far, in Euclidean length, can a row of
# `channels` numbers get?


# %% tags=["stub"] exercise="05.3"
def reach(steps, lr, channels):
    return ...


# %% tags=["solution"] exercise="05.3"
def reach(steps, lr, channels):
    return steps * lr * channels**0.5


# %% tags=["check"] exercise="05.3"
adb.teaching.check("05.3", reach)

# %% [markdown]
# ## Summary
#
# - Stage 1 moves one row, from the category's, and stops before it has converged, at a third of the
#   length that Textual Inversion reaches.
# - It gives [V] the colour of the concept and a place in the picture to be looked from. It cannot
#   give the individual.
# - The regulariser is a tiny part of the loss here, and still keeps [V] nearer to its category.
#
# **Read next:** the method section of [Pang et al. 2024](https://arxiv.org/abs/2406.05000).
# **Next notebook:** [06 Stage 2: the attention map](06_stage_2_attention_map.ipynb).
