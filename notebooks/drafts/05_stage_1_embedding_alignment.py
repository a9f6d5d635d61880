# %% [markdown]
# # 05 · Stage 1: embedding alignment
#
# {{badge}}
#
# Textual Inversion asked the embedding to do everything, and it ran away from the words (notebook
# [03](03_textual_inversion_and_how_it_fails.ipynb)). DreamBooth asked it to do nothing, and it stayed a stranger
# among them ([04](04_dreambooth_and_how_it_fails.ipynb)). AttnDreamBooth begins with the middle way: move the embedding,
# from a good start, *a little*, and leave the rest to later stages.
#
# The paper calls this stage *embedding alignment* ([Pang et al. 2024](https://arxiv.org/abs/2406.05000), method section): [V]
# is to find its place in a sentence beside the other words, not to become the concept.
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
#
# %% [bootstrap]
# %% [markdown]
# ## 1. Where [V] begins
# %%
import inspect
from dataclasses import replace

import numpy as np
import torch
from tqdm.auto import tqdm

import adb_core as adb
from adb_core import metrics, plots
from adb_core.notebook import show
from adb_core.personalization import Result

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
print("stage:", stage.name, "| trains:", stage.train, "| prompts:", stage.prompts)
print("steps fewer than Textual Inversion's:", stage.steps < inversion.steps, "| learning rate lower:", stage.lr < inversion.lr)
print("row of [V] equals the row of 'cat', bit for bit:", torch.equal(token.rows[0].detach(), table[cat].mean(0)))
# %% [markdown]
# The row starts as the mean of the category's pieces; "cat" is one piece. So before the first step the model reads
# "a photo of a cat cat": [V] behaves like an ordinary word from the beginning, and has to lose that, not to find it.
#
# ## 2. One trainable row
#
# The text encoder's table is one parameter of many rows. How can one row of it be trained? This is the core's
# answer:
# %%
print(inspect.getsource(adb.ConceptToken.trainable))
# %% [markdown]
# The row is a parameter of its own. A hook behind the table looks up which token ids are [V] and puts the row in
# their place, `torch.where`. The table itself stays frozen.
#
# **Predict.** In a prompt of six words, which rows would get a gradient if the *table* were trained instead?
# %%
ids = token.tokenize([learner.prompt("a photo of a {}")])
torch.manual_seed(0)
probe = torch.randn(1, ids.shape[1], table.shape[1])  # any scalar function of the text states will do

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
print("the row of [V] gets the same gradient both ways:", torch.allclose(by_table[token.ids], by_hook, atol=1e-5))
# %% [markdown]
# **Explain.** TODO
#
# ## 3. Train stage 1
# %%
project = adb.Projection(table)


def train(learner, stage):
    """Train one stage in a loop; returns where [V] was, and every step's record."""
    def moment(step):
        return plots.DriftPoint(step, stage.name, learner.token.drift(), tuple(project(learner.token.rows.mean(0)).tolist()))

    points, records = [moment(0)], []
    for record in tqdm(adb.train_stage(learner, stage), total=stage.steps, desc=stage.name):
        records.append(record)
        if record.step % 2 == 0 or record.step == stage.steps:
            points.append(moment(record.step))
    return points, records


result = Result(learner)
asked = ["a photo of a {}", "a photo of a {} wearing a hat on the beach", "a painting of a {} wearing a crown in the forest",
         "a sketch of a {} with a balloon in the snow"]
before = adb.generate(result, asked, [0], maps=True, resolution=16)
maps_before = metrics.photo_maps(result, concept)
points, records = train(learner, stage)
after = adb.generate(result, asked, [0], maps=True, resolution=16)
maps_after = metrics.photo_maps(result, concept)

words = ["cat", "dog", "blue", "green", "orange", "hat", "beach", "snow", "painting"]
places = {w: tuple(project(table[base.tokenizer(w, add_special_tokens=False).input_ids].mean(0)).tolist()) for w in words}
show(plots.embedding_drift(points, project(table).numpy(), places, concept.category))
labels = [p.replace("{}", "[V] cat") for p in asked]
show(plots.image_grid([before.images, after.images], row_labels=["before stage 1", "after stage 1"], column_labels=labels,
                      alt="Four prompts with [V], seed 0, before and after stage 1."))
photos = judge.identity(concept.squares(64))
start, end = points[0].drift, points[-1].drift
print("drift at the start:", start.distance, "| moved:", end.distance > 0)
print("nearest word at the end:", end.nearest[0][0], "| cosine to 'cat' above 0.5:", end.cosine_to_category > 0.5)
print(end, metrics.cosine_to_mean(judge.identity(after.images), photos), metrics.cosine_to_mean(judge.identity(before.images), photos))


def ratio(maps):
    """Mean attention of [V] over that of the category, in the photos."""
    return float(maps["v"].mean() / maps["category"].mean())


print("ratio", ratio(maps_before), ratio(maps_after))
show(plots.attention_grid([[concept.squares(64)[k] for k in (0, 1, 3)] * 2] * 2,
                          [[*(maps[who][k].mean(0) for who in ("v", "category") for k in (0, 1, 3))] for maps in (maps_before, maps_after)],
                          row_labels=["before stage 1", "after stage 1"], column_labels=["[V]"] * 3 + ["cat"] * 3,
                          alt="Attention maps of [V] and of cat over three photos of Pico, before and after stage 1."))
# %% [markdown]
# **Explain.** TODO
#
# ## 4. The loss, and what the regulariser does here
#
# $$L = \underbrace{\mathbb E \,\| \epsilon - \epsilon_\theta(z_t, t, c) \|^2}_{\text{diffusion}} + \underbrace{\frac 1 L \sum_l \sum_b \lambda_\mu (\mu_V - \mu_{cat})^2 + \lambda_\sigma (\sigma^2_V - \sigma^2_{cat})^2}_{\text{regulariser}}$$
# %%
print("lambda_mu:", stage.lambda_mu, "| lambda_sigma:", stage.lambda_sigma)
share = np.mean([r.mean_part / r.loss for r in records])
print("share", share)
variants = {"no regulariser": replace(stage, lambda_mu=0.0), "1,000 times the recipe's": replace(stage, lambda_mu=1000 * stage.lambda_mu)}
ends = {"the recipe's": (points, records)}
for name, variant in variants.items():
    ends[name] = train(adb.Learner(base, concept, plan), variant)
for name, (p, r) in ends.items():
    v, c = (np.mean([np.mean(getattr(x, f"{w}_mean")) for x in r[-10:]]) for w in ("v", "category"))
    print(name, v / c, p[-1].drift)
# %% [markdown]
# ## 5. Too long, too fast
# %%
runaway = adb.Learner(base, concept, plan)
fast = replace(stage, steps=2 * stage.steps, lr=10 * stage.lr)
far, _ = train(runaway, fast)
print(far[-1].drift)
g = adb.generate(Result(runaway), asked, [0], maps=True, resolution=16)
show(plots.image_grid([after.images, g.images], row_labels=["stage 1", "runaway"], column_labels=labels, alt="x"))
for m in (before, after, g):
    print([{w: round(float(x.mean()), 3) for w, x in m.word_maps(k).items()} for k in range(4)])
# %% [markdown]
# ## Exercises
#
# ### Exercise 1 (easy, 5 minutes): mask a gradient
#
# Many programs train the whole table and throw away the gradient of all rows but one. Write that mask: given the
# `gradient` (n, d) of a table, return a new tensor in which only the row `row` is left and all others are zero.
# (Why does the core not do this? See section 2, and think of weight decay.)
# %% [stub] 05.1
def one_row(gradient, row):
    return ...
# %% [solution] 05.1
def one_row(gradient, row):
    masked = torch.zeros_like(gradient)
    masked[row] = gradient[row]
    return masked
# %% [check] 05.1
from adb_core.exercises import check

check("05.1", one_row)
# %% [markdown]
# ### Exercise 2 (easy, 3 minutes): a category of several pieces
#
# Our tokenizer splits "teal" into three pieces. Return the first row of [V] for a category with the token numbers
# `pieces`: the mean of their rows in `table` (n, d).
# %% [stub] 05.2
def start_row(table, pieces):
    return ...
# %% [solution] 05.2
def start_row(table, pieces):
    return table[pieces].mean(0)
# %% [check] 05.2
check("05.2", start_row)
# %% [markdown]
# ### Exercise 3 (medium, 8 minutes): how far can it go?
#
# One step of Adam moves each number by about the learning rate `lr`, whatever the size of its gradient. Suppose all
# `steps` steps go the same way. How far, in Euclidean length, can a row of `channels` numbers get?
# %% [stub] 05.3
def reach(steps, lr, channels):
    return ...
# %% [solution] 05.3
def reach(steps, lr, channels):
    return steps * lr * channels**0.5
# %% [check] 05.3
check("05.3", reach)
# %% [markdown]
# ## Summary
#
# TODO
#
# **Read next:** the method section of [Pang et al. 2024](https://arxiv.org/abs/2406.05000).
# **Next notebook:** [06 Stage 2: the attention map](06_stage_2_attention_map.ipynb).
