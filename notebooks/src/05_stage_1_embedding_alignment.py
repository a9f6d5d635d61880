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
# Textual Inversion asked the embedding to do everything (notebook
# [03](03_textual_inversion_and_how_it_fails.ipynb)), DreamBooth asked it to do nothing
# ([04](04_dreambooth_and_how_it_fails.ipynb)). Both at once do not settle it: on Stable Diffusion,
# says the paper, the U-Net then learns the concept and the embedding hardly moves. AttnDreamBooth
# begins between the two: the embedding moves alone, from a good start, for a short time.
#
# The paper calls this *embedding alignment* ([Pang et al. 2024](https://arxiv.org/abs/2406.05000),
# section 3): [V] is to find its place in a sentence, not to become the concept.
#
# **You will learn**
# - how one row of a table is trained while everything around it stays frozen;
# - why this stage begins at the category and ends early;
# - what stage 1 gives, and what it cannot give.
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
# The recipe, one line a stage: the paper's numbers, and beside them the tiny model's.

# %%
import inspect
import json
from dataclasses import replace

import torch
from tqdm.auto import tqdm

base, judge = adb.load_base("tiny"), adb.load_judge()
concept = adb.Concept.bundled("pico")
plan = adb.recipe("attndreambooth")
stage = plan.stages[0]
learner = adb.Learner(base, concept, plan)
token = learner.token
table = base.text_encoder.get_input_embeddings().weight.detach().float()
print(adb.recipe_table())
print("stage 1 trains:", *stage.train, "| its prompts:", *stage.prompts)

# %%
cat = base.tokenizer(concept.category, add_special_tokens=False).input_ids
same = torch.equal(token.rows[0].detach(), table[cat].mean(0))
print("pieces of 'cat':", len(cat), "| the row of [V] equals their mean, bit for bit:", same)

# %% [markdown]
# So before the first step the model reads "a photo of a cat cat": [V] behaves like an ordinary
# noun, and has only to keep that.
#
# ## 2. One trainable row
#
# The text encoder's table is one parameter of many rows. How can one row of it be trained? This is
# the core's answer:

# %%
print(inspect.getsource(adb.concept_token.Rows.trainable))

# %% [markdown]
# The row is a parameter of its own; a hook behind the table puts it wherever a token id is [V]. The
# table itself stays frozen.
#
# **Predict.** Suppose the *table* were trained instead. Which of its rows would get a gradient from
# the prompt "a photo of a [V] cat"?

# %%
ids = token.tokenize([learner.prompt("a photo of a {}")])
torch.manual_seed(0)
probe = torch.randn(1, ids.shape[1], table.shape[1])  # any function of the text states will do
with token.trainable() as rows:
    rows.requires_grad_(True)
    (by_hook,) = torch.autograd.grad((token.encode(ids) * probe).sum(), rows)
    rows.requires_grad_(False)
whole = token.text_encoder.get_input_embeddings().weight
whole.requires_grad_(True)  # the other way: the whole table
(by_table,) = torch.autograd.grad((token.encode(ids) * probe).sum(), whole)
whole.requires_grad_(False)
moved = by_table.abs().sum(1).nonzero().flatten().tolist()
print("rows of the table with a gradient:", token.tokenizer.convert_ids_to_tokens(moved))
off = (by_table[token.ids] - by_hook).abs().max() / by_hook.abs().max()
adb.teaching.fact("largest difference of the two gradients of [V]", off, between=(0, 1e-3))

# %% [markdown]
# **Explain.** Only tokens that stand in the prompt get a gradient, the marks of its begin and end
# among them. Training the table would move "photo" and "cat" along with [V]. The gradient of [V]'s
# own row is the same either way, up to rounding, so nothing is lost by training it alone.
#
# ## 3. Train stage 1
#
# `train_stage` takes one step each time the loop asks for one; in between, the loop notes where [V]
# is.
#
# **Predict.** The embedding is all that moves. Which of these will change: the color of the cat,
# its marks, where [V] looks, the things around the cat?

# %%
project = adb.Projection(table)


def moment(learner, step):
    at = tuple(project(learner.token.rows.mean(0)).tolist())
    return adb.plots.DriftPoint(step, "alignment", learner.token.drift(), at)


def train(learner, stage):
    """Train one stage in a loop; returns where [V] was, and every step's record."""
    points, records = [moment(learner, 0)], []
    for record in tqdm(adb.train_stage(learner, stage), total=stage.steps, desc=stage.name):
        records.append(record)
        points.append(moment(learner, record.step))
    return points, records


# %% [markdown]
# Four prompts are drawn before and after, from the same noise. The maps are read in the five photos
# (`photo_maps`, the condition of notebook [02](02_seeing_cross_attention.ipynb)).

# %%
sets = ("complexity_0", "complexity_1", "styles", "complexity_4")
files = [json.loads(adb.data_path("prompts", f"{s}.json").read_text()) for s in sets]
asked = [file["prompts"][0]["prompt"] for file in files]
labels = [p.replace("{}", "[V] cat") for p in asked]


def look(learner):
    """Pictures of the four prompts, and the maps of [V] and of its category in the photos."""
    result = adb.Result(learner)
    return adb.generate(result, asked, [0]).images, adb.metrics.photo_maps(result, concept)


def taken(maps):
    """Mean attention of [V] over that of the category, in the photos."""
    return float(maps["v"].mean() / maps["category"].mean())


before, maps_before = look(learner)
points, records = train(learner, stage)
after, maps_after = look(learner)
start, end = points[0].drift, points[-1].drift

# %%
words = ["cat", "dog", "blue", "green", "teal", "orange", "hat", "beach", "painting"]
rows = {w: table[base.tokenizer(w, add_special_tokens=False).input_ids].mean(0) for w in words}
places = {w: tuple(project(row).tolist()) for w, row in rows.items()}
cloud = project(table).numpy()
adb.teaching.show(adb.plots.embedding_drift(points, cloud, places, concept.category))
adb.teaching.fact("distance of [V] from its start", end.distance, between=(0.4, 0.9))
ratio = end.norm / end.vocabulary_norm
adb.teaching.fact("length of [V], times the mean row's", ratio, between=(2, 4))
adb.teaching.fact("cosine to 'cat' at the end", end.cosine_to_category, between=(0.15, 0.6))
print("nearest words at the end:", *sorted(word for word, _ in end.nearest[:2]))

# %% [markdown]
# **Explain.** The row has moved towards "teal", the color that Pico is known by, and has kept "cat"
# among its nearest words. It is longer than a word should be; but in notebook 03, where Textual
# Inversion went on for longer and faster, the row ended three times as long again.
#
# And stage 1 does not converge: it is *stopped*.

# %%
rows = {"before stage 1": before, "after stage 1": after}
alt = "Four prompts with [V], seed 0, before and after stage 1."
adb.teaching.show(adb.plots.image_rows(rows, labels, alt))
photos = judge.identity(concept.squares(base.side))


def identity(images):
    """How much pictures show Pico: mean cosine to the photos; 1 is the same."""
    return float(adb.metrics.cosine_to_mean(judge.identity(images), photos).mean())


adb.teaching.fact("identity before stage 1", identity(before), between=(-0.1, 0.3))
adb.teaching.fact("identity after stage 1", identity(after), between=(0.2, 0.5))

# %% [markdown]
# **Explain.** The cats have taken Pico's color, in the sketch as well, and beach, glasses and
# pumpkin stay where they were. Spots are hinted at, the star is not there.
#
# What is missing is no defect: a frozen U-Net draws only what it can draw already.


# %%
shown = (0, 1, 3)
heats = [[m[w][k].mean(0) for w in m for k in shown] for m in (maps_before, maps_after)]
pictures = [[concept.squares(base.side)[k] for k in shown] * 2] * 2
columns = [f"{word}, photo {k + 1}" for word in ("[V]", "cat") for k in shown]
alt = "Maps of [V] and of cat in three photos of Pico, before and after stage 1."
told = dict(row_labels=["before stage 1", "after stage 1"], column_labels=columns, alt=alt)
adb.teaching.show(adb.plots.attention_grid(pictures, heats, **told))
adb.teaching.fact(
    "attention of [V], times that of 'cat', before", taken(maps_before), between=(0.2, 0.6)
)
adb.teaching.fact(
    "attention of [V], times that of 'cat', after", taken(maps_after), between=(0.5, 1.1)
)

# %% [markdown]
# **Explain.** Before, [V] was looked at less than half as much as "cat". Now it gets four fifths,
# and from the cat's own pixels: the regulariser has something to work with.
#
# The slider goes through the moments of the training.

# %%
explorer = adb.widgets.DriftExplorer(points, cloud, places)
explorer.view

# %% [markdown]
# The same by code:

# %%
explorer.at.value = len(points) - 1
print("last moment:", explorer.text.split(":")[0])

# %% [markdown]
# ## 4. The loss, and what the regulariser does here
#
# $$\mathcal L = \underbrace{\mathbb E \,\| y - y_\theta(z_t, t, c) \|^2}_{\text{diffusion}}
# + \underbrace{\frac 1 L \sum_{l=1}^L \sum_b \left[ \lambda_\mu (\mu_V - \mu_{cat})^2
# + \lambda_\sigma (\sigma^2_V - \sigma^2_{cat})^2 \right]}_{\text{regulariser}}$$
#
# $y$ is what the U-Net predicts: the noise in the paper, the velocity in our tiny model. The second
# part (paper, section 3.2; $L$ layers, samples $b$ of the batch) asks the map of [V] for the mean
# and the variance of the category's map. In stage 1 the variance is left free:
# $\lambda_\sigma = 0$.
#
# **Predict.** How large is the regulariser's part of this loss? And what will change when it is
# left out, or made a thousand times stronger?

# %%
share = sum(r.mean_part for r in records) / sum(r.loss for r in records)
adb.teaching.fact("the regulariser's part of the loss", 100 * share, between=(0, 0.1), unit="%")
ends = {}
for name, times in {"left out": 0, "the recipe's": 1, "1,000 times stronger": 1000}.items():
    variant = replace(stage, lambda_mu=times * stage.lambda_mu)
    ends[name] = train(adb.Learner(base, concept, plan), variant)[0][-1].drift
distances = {name: d.distance for name, d in ends.items()}
cosines = {name: d.cosine_to_category for name, d in ends.items()}
panels = {"distance from its start": distances, "cosine to 'cat'": cosines}
adb.teaching.show(adb.plots.bar_panels(panels))
for name, distance in distances.items():
    adb.teaching.fact(f"{name}: distance of [V]", distance, between=(0.1, 0.9))

# %% [markdown]
# The recipe's weight makes next to no difference here: the term is a ten-thousandth of the loss. A
# thousand times stronger, it keeps [V] less than half as far from its start.
#
# **Explain.** A small term can have an effect because it pulls towards the same target at every
# step, while the diffusion loss, with its random noise and times, pulls back and forth. A very
# strong one keeps [V] where it is: to have the category's map, the easiest way is to remain the
# category.
#
# ## 5. Break it: too long, too fast
#
# **Predict.** Twice the steps at ten times the learning rate: what will be different in the
# pictures?

# %%
runaway = adb.Learner(base, concept, plan)
far = train(runaway, replace(stage, steps=2 * stage.steps, lr=10 * stage.lr))[0][-1].drift
gone, maps_gone = look(runaway)
alt = "Four prompts after stage 1, and after a stage 1 that ran too long and too fast."
rows = {"stage 1": after, "too long, too fast": gone}
adb.teaching.show(adb.plots.image_rows(rows, labels, alt))
ratio = far.distance / end.distance
adb.teaching.fact("distance from its start, times stage 1's", ratio, between=(5, 14))
adb.teaching.fact("cosine to 'cat'", far.cosine_to_category, between=(-0.3, 0.3))
adb.teaching.fact("identity", identity(gone), between=(0.35, 0.75))
adb.teaching.fact("attention of [V], times that of 'cat'", taken(maps_gone), between=(0.3, 1.5))

# %% [markdown]
# **Explain.** Nine times as far, and no longer near "cat" at all. The spots are all there: the
# judge likes it, and nothing else in these four prompts is lost. So why stop early? What the row
# has taken over in a hurry the next stages could have learned for it, and a row that far out takes
# as much attention as it likes (notebook 03).
#
# The paper reports that a long stage 1 overfits on Stable Diffusion, and stops after 60 steps.
#
# ## 6. What would be missing without stage 1
#
# The ablation `without_stage_1` begins with stage 2: [V] keeps the row of "cat", and only the
# cross-attention learns. Here are both ways as far as the end of stage 2.
#
# **Predict.** Stage 2 has hundreds of thousands of numbers to work with. Will it need stage 1's one
# row?

# %%
second, skipped = plan.stages[1], adb.Learner(base, concept, plan)
drawn, ratios = {}, {}
for name, who in {"stages 1 and 2": learner, "stage 2 alone": skipped}.items():
    list(tqdm(adb.train_stage(who, second), total=second.steps, desc=name))
    drawn[name], maps = look(who)
    ratios[name] = taken(maps)
alt = "Four prompts after stages 1 and 2, and after stage 2 alone."
adb.teaching.show(adb.plots.image_rows(drawn, labels, alt))
for name, images in drawn.items():
    adb.teaching.fact(f"{name}: identity", identity(images), between=(0.25, 0.7))
    adb.teaching.fact(f"{name}: attention of [V] / 'cat'", ratios[name], between=(0.6, 1.2))

# %% [markdown]
# **Explain.** Stage 2 alone comes less far in the same steps: greener cats, fewer spots, less
# attention for [V]. A row that already points towards Pico gives the cross-attention a word to
# listen to.
#
# ## Exercises
#
# ### Exercise 1 (easy, 5 minutes): mask a gradient
#
# Many programs train the whole table and throw away the gradient of all rows but one. Write that
# mask: given the `gradient` (n, d) of a table, return a new tensor in which only the row `row` is
# left and all others are zero. (Why does the core not do this? Think of weight decay.)


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
# A tokenizer may split a category into pieces. Return the first row of [V] for a category with the
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
# ### Exercise 4 (HARD, 20 minutes): stage 1 in ten lines
#
# Train one row by hand. `table` (n, d) is frozen, `ids` (k,) is a prompt as token numbers, `v` is
# the number of [V], and `loss` takes the prompt's embeddings (k, d) and returns one number. Begin
# at the row `start`, take `steps` steps of plain gradient descent at the rate `lr`, and return the
# trained row (d,), which stands in wherever `ids` is `v`. Neither `table` nor `start` may change.


# %% tags=["stub"] exercise="05.4"
def learn_row(table, start, ids, v, loss, steps, lr):
    return ...


# %% tags=["solution"] exercise="05.4"
def learn_row(table, start, ids, v, loss, steps, lr):
    row = start.clone().requires_grad_(True)
    for _ in range(steps):
        is_v = (ids == v)[:, None]  # (k, 1)
        embeddings = torch.where(is_v, row, table[ids].detach())  # (k, d)
        (gradient,) = torch.autograd.grad(loss(embeddings), row)
        with torch.no_grad():
            row -= lr * gradient
    return row.detach()


# %% tags=["check"] exercise="05.4"
adb.teaching.check("05.4", learn_row)

# %% [markdown]
# ## Quiz

# %%
adb.teaching.quiz(*adb.teaching.questions("05"))

# %% [markdown]
# ## Summary
#
# - Stage 1 moves one row, from the category's, and is stopped before it has converged.
# - It gives the color and a place to be looked from; spots and star are for the stages that
#   follow.
#
# **Read next:** section 3 of [Pang et al. 2024](https://arxiv.org/abs/2406.05000).
# **Next notebook:** [06 Stage 2: the attention map](06_stage_2_attention_map.ipynb).
