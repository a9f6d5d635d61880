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
# `[V]` has a place among the words (stage 1) and a place in the picture (stage 2). Stage 3 lets the
# **whole U-Net** move, at a low learning rate, until what it draws in that place is Pico.
#
# At the end of this page you will have seen the model after every stage, saved it, and loaded it in
# plain diffusers, which has never heard of this collection.
#
# **You will learn**
# - what each of the three stages adds, in pictures and in two numbers;
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
# ## 1. A yardstick
#
# Four prompts, from one that asks for nothing but Pico to one that asks for five things more, are
# drawn after each stage, two seeds each, always from the same noise. A judge, a small network that
# knows the toy world, says two things about each picture: how much the individual is Pico (a
# cosine, 1 is the same), and which share of what the prompt asked for is there. Notebook
# [09](09_measuring.ipynb) takes both numbers apart.

# %%
import json
from dataclasses import replace

import numpy as np
import torch
from tqdm.auto import tqdm

base, judge = adb.load_base("tiny"), adb.load_judge()
concept = adb.Concept.bundled("pico")
sets = (f"complexity_{n}" for n in (0, 1, 3, 5))
files = [json.loads(adb.data_path("prompts", f"{s}.json").read_text()) for s in sets]
entries, seeds = [file["prompts"][0] for file in files], [0, 1]
prompts, asks = [e["prompt"] for e in entries], [e["asks"] for e in entries for _ in seeds]
labels = [p.replace("{}", "[V] cat") for p in prompts]


# %%
def look(model):
    """Pictures of all prompts, and the judge's two numbers for each of them."""
    texts = [p.replace("{}", "cat") for p in prompts] if model is base else prompts
    images = adb.generate(model, texts, seeds).images
    values, _ = adb.metrics.score_pictures(images, asks, concept, judge=judge)
    return images, values["identity"], values["text"]


def state(name, model, identity, text=(0.85, 1)):
    """Print the two means of a model's pictures beside their bands; keep the pictures."""
    seen[name] = look(model)
    adb.teaching.fact(f"{name}: identity", seen[name][1].mean(), between=identity)
    adb.teaching.fact(f"{name}: text", seen[name][2].mean(), between=text)


seen = {}
state("base", base, (-0.1, 0.4))

# %% [markdown]
# ## 2. Three stages, three looks
#
# **Predict.** After which stage will Pico be recognisable in "a photo of a [V] cat"? After which in
# the longest prompt?

# %%
recipe = adb.recipe("attndreambooth")
first, second, third = recipe.stages
learner = adb.Learner(base, concept, recipe)
weights = [adb.teaching.copy_weights(learner)]
for number, stage in enumerate((first, second), 1):
    list(tqdm(adb.train_stage(learner, stage), total=stage.steps, desc=stage.name))
    state(f"stage {number}", adb.Result(learner), {1: (0.2, 0.5), 2: (0.45, 0.75)}[number])
    weights.append(adb.teaching.copy_weights(learner))

# %% [markdown]
# The third stage is the long one. `trained` runs the whole recipe with the same seed, or loads what
# another notebook has trained: the same two stages, then the third.

# %%
result = adb.teaching.trained(base, concept, "attndreambooth")
state("stage 3", result, (0.55, 0.85))
weights.append(adb.teaching.copy_weights(result.learner))
names = list(seen)
alt = "Four prompts from simple to complex, by the base model and after each of the three stages."
rows = {name: images[:: len(seeds)] for name, (images, _, _) in seen.items()}
adb.teaching.show(adb.plots.image_rows(rows, labels, alt))
identities = {name: identity for name, (_, identity, _) in seen.items()}
texts = {name: text for name, (_, _, text) in seen.items()}
adb.teaching.show(adb.plots.dot_panels({"identity": identities, "text": texts}))

# %% [markdown]
# **Explain.** Stage 1 gives the color, in all four prompts at once. Stage 2 brings the spots,
# firmer ears, and most of the gain in numbers. Stage 3 adds what is smallest: the yellow of the
# star on the chest, a calmer face. All the while the beach, the drum, the scarf and the plant stay
# where the base model put them. That is what the three stages are for.
#
# ## 3. How far does a weight go?
#
# The optimizer is AdamW. It divides the gradient by the gradient's own recent size, so that a step
# moves a weight by about the learning rate $\eta$, however large or small the gradient is:
#
# $$w \leftarrow w - \eta\,\lambda w - \eta\,\frac{\hat m}{\sqrt{\hat v} + \epsilon}$$
#
# (Loshchilov and Hutter 2019. $\hat m$ and $\hat v$ are running means of the gradient and of its
# square, $\lambda$ is the weight decay.) In a stage of $T$ steps a weight therefore goes hardly
# farther than $\eta T$.
#
# **Predict.** Stage 2 moves a small part of the parameters, stage 3 all of them. Which of the two
# changes the cross-attention more?

# %%
kinds = {
    "cross-attention": ".attn2.",
    "self-attention": ".attn1.",
    "convolutions": ".resnets.",
    "text encoder": "text encoder",
}


def change(a, b, kind):
    """|b - a| / |a| in per cent, over all weights of one kind of layer."""
    chosen = [name for name in a if kind in name]
    far = sum((b[n] - a[n]).square().sum() for n in chosen)
    return 100 * float((far / sum(a[n].square().sum() for n in chosen)).sqrt())


# %%
panels = {}
for number, stage in ((2, second), (3, third)):
    a, b = weights[number - 1], weights[number]
    panels[f"stage {number}: change, %"] = {k: change(a, b, kinds[k]) for k in kinds}
    farthest = max(float((b[n] - a[n]).abs().max()) for n in a if n.startswith("unet"))
    reach = farthest / (stage.lr * stage.steps)
    adb.teaching.fact(
        f"stage {number}: farthest weight / (rate x steps)", reach, between=(0.3, 1.2)
    )
adb.teaching.show(adb.plots.bar_panels(panels, share=True))
for title, bars in panels.items():
    stage = title.split(":")[0]
    for kind in ("cross-attention", "convolutions"):
        adb.teaching.fact(f"{stage}: {kind}", bars[kind], between=(0, 2), unit="%")

# %% [markdown]
# Stage 2 moved the cross-attention by nearly one per cent, stage 3 by a third of that, and
# everything else by as little.
#
# **Explain.** Stage 3 has a lower rate and many more layers to share the work: identity is made of
# many small changes all over the network. In the paper's preset the difference is larger, for stage
# 3's rate is a tenth of stage 2's.
#
# ## 4. Break it: ten times the rate
#
# The same third stage, but each step ten times as long.
#
# **Predict.** More Pico, or less? And what becomes of the prompt?

# %%
fast = replace(third, lr=10 * third.lr)
list(tqdm(adb.train_stage(learner, fast), total=fast.steps, desc="ten times the rate"))
state("ten times", adb.Result(learner), (0.7, 0.95), text=(0.6, 0.92))
rows = {name: seen[name][0] for name in ("stage 3", "ten times")}
alt = "Four prompts, two seeds each, after stage 3 and after a stage 3 at ten times its rate."
doubled = [label for label in labels for _ in seeds]
adb.teaching.show(adb.plots.image_rows(rows, doubled, alt, size=1.15))

# %% [markdown]
# **Explain.** More Pico: the star is clearer, the judge is content. And less of the rest: the first
# picture has acquired the photos' kitchen, drum and plant are gone. A long step walks past
# the point where the photos are drawn well, to where only the photos are drawn.
#
# ## 5. Without stages 1 and 2
#
# DreamBooth (Ruiz et al. 2023; notebook [04](04_dreambooth_and_how_it_fails.ipynb)) is, seen from
# here, a third stage alone: the whole U-Net moves, the word is a rare one that nobody has aligned,
# and there is no regulariser.
#
# **Predict.** It has about as many steps. Will Pico be missing? Will something else be?

# %%
alone = adb.teaching.trained(base, concept, "dreambooth")
state("DreamBooth", alone, (0.6, 0.9), text=(0.65, 0.95))
pair = {"three stages": seen["stage 3"], "DreamBooth": seen["DreamBooth"]}
rows = {name: images for name, (images, _, _) in pair.items()}
alt = "Four prompts, two seeds each, after all three stages and by DreamBooth."
adb.teaching.show(adb.plots.image_rows(rows, doubled, alt, size=1.15))
identities = {name: identity for name, (_, identity, _) in pair.items()}
texts = {name: text for name, (_, _, text) in pair.items()}
adb.teaching.show(adb.plots.dot_panels({"identity": identities, "text": texts}))
for name, model in (("three stages", result), ("DreamBooth", alone)):
    maps = adb.metrics.photo_maps(model, concept)
    ratio = maps["v"].mean() / maps["category"].mean()
    band = (0.6, 1.3) if name == "three stages" else (0.15, 0.6)
    adb.teaching.fact(f"{name}: attention of [V] / 'cat'", ratio, between=band)

# %% [markdown]
# **Explain.** Pico is not missing; DreamBooth draws him as well, or a little better. What is
# missing are a drum in the kitchen and a plant on the moon, and its [V] is looked at far less than
# "cat" is, while that of the three stages gets nearly as much.
#
# Eight pictures of one concept are a look, not a measurement; notebook 09 says what would be one.
#
# ## 6. What nobody asked for
#
# Every weight that draws Pico also draws everything else. So ask the tuned U-Net for a plain cat,
# without `[V]`.
#
# **Predict.** Will "a photo of a cat" still give four different cats?

# %%
tuned = replace(base, unet=result.learner.unet)  # the base model, with the U-Net after stage 3
plain, four = "a photo of a cat", [0, 1, 2, 3]
cats = {
    "base model": adb.generate(base, plain, four).images,
    "after stage 3": adb.generate(tuned, plain, four).images,
}
alt = "'a photo of a cat', without the new word, by the base model and by the tuned one."
adb.teaching.show(adb.plots.image_rows(cats, [f"seed {s}" for s in four], alt))
photos = judge.identity(concept.squares(base.side))
for name, images in cats.items():
    same = adb.metrics.cosine_to_mean(judge.identity(images), photos).mean()
    band = (-0.1, 0.4) if name == "base model" else (0.6, 0.9)
    adb.teaching.fact(f"{name}: identity of 'a cat'", same, between=band)

# %% [markdown]
# No. Cats without [V] are teal and spotted now, in the photos' places: the failure that notebook 04
# found in DreamBooth.
#
# **Explain.** The three stages teach the model to listen to [V]; nothing in their loss asks it to
# keep "cat" as it was. Prior preservation asks that, and can be combined with them: a stage has a
# field for it (`prior_weight`), which the recipe `dreambooth_prior` uses.
#
# ## 7. Keep it: plain diffusers loads the folder
#
# `save_pretrained` writes an ordinary Stable Diffusion folder: the new word is in its tokenizer,
# the row in its text encoder, and the U-Net is the tuned one.

# %%
from diffusers import StableDiffusionPipeline
from diffusers.utils import logging

logging.disable_progress_bar()
folder = result.save_pretrained(adb.teaching.workspace() / "pico-model")
print("in the folder:", ", ".join(sorted(p.name for p in folder.iterdir())))
options = dict(safety_checker=None, requires_safety_checker=False)
pipeline = StableDiffusionPipeline.from_pretrained(folder, **options)
pipeline.set_progress_bar_config(disable=True)

# %%
text = f"a photo of a {result.subject} on the beach"
drawing = dict(num_inference_steps=20, guidance_scale=3.0, output_type="np")
array = pipeline(text, generator=torch.Generator().manual_seed(7), **drawing).images[0]
theirs = (array * 255).round().astype(np.uint8)
beach = "a photo of a {} on the beach"
ours = adb.generate(result, beach, seeds=[7], steps=20, guidance=3.0).images[0]
print("prompt:", text)
print("the picture of plain diffusers is ours, pixel for pixel:", np.array_equal(theirs, ours))

# %% [markdown]
# **Explain.** No hook and no special attention is left: all that the three stages have learned is
# in the weights. The folder also holds `learned_embeds.safetensors` (the row alone, for
# `load_textual_inversion`) and a model card that names the pictures, the recipe and the licence.
#
# ## 8. Wipe from one stage to the next

# %%
before, after = (seen[name][0][len(seeds)] for name in ("stage 2", "stage 3"))
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
# ### Exercise 3 (HARD, 20 minutes): AdamW with a memory
#
# Now all steps. `gradient(weight, step)` gives the gradient at a weight (an array) in step 1, 2,
# ..., `steps`. With $m = v = 0$ at the beginning, each step does
#
# $$m \leftarrow \beta_1 m + (1 - \beta_1)\,g,\quad v \leftarrow \beta_2 v + (1 - \beta_2)\,g^2,
# \quad \hat m = \frac{m}{1 - \beta_1^{t}},\quad \hat v = \frac{v}{1 - \beta_2^{t}}$$
#
# and the update of section 3. Return the last weight; the one passed in must not change.


# %% tags=["stub"] exercise="07.3"
def adamw(weight, gradient, steps, lr, decay, betas=(0.9, 0.999), eps=1e-8):
    return ...


# %% tags=["solution"] exercise="07.3"
def adamw(weight, gradient, steps, lr, decay, betas=(0.9, 0.999), eps=1e-8):
    m, v = np.zeros_like(weight), np.zeros_like(weight)
    for step in range(1, steps + 1):
        g = gradient(weight, step)
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat, v_hat = m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)
        weight = weight - lr * decay * weight - lr * m_hat / (np.sqrt(v_hat) + eps)
    return weight


# %% tags=["check"] exercise="07.3"
adb.teaching.check("07.3", adamw)

# %% [markdown]
# ## Quiz

# %%
adb.teaching.quiz(*adb.teaching.questions("07"))

# %% [markdown]
# ## Summary
#
# - Stage 1 finds the color, stage 2 the pattern, stage 3 the marks; what else the prompt asks for
#   stays.
# - Tuning changes every other cat too.
# - The learning rate times the number of steps is roughly the farthest that a weight goes.
# - The result is an ordinary diffusers model.
#
# **Read next:** section 3.3 and figure 5 of the [paper](https://arxiv.org/abs/2406.05000);
# Loshchilov and Hutter, [Decoupled weight decay regularization](https://arxiv.org/abs/1711.05101).
# **Next notebook:** [08 The regulariser](08_the_regularizer.ipynb).
