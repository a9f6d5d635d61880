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
# # 00 · Start here
#
# {{badge}}
#
# A text-to-image model knows what *a cat* is. It does not know **your** cat. Show it five pictures
# of one individual, and it can learn a new word for it. The hard part comes afterwards: the new
# word has to live **among** the other words. "`<pico>` cat wearing a hat on the beach" must give
# Pico, *and* the hat, *and* the beach.
#
# This series takes the method AttnDreamBooth (Pang et al., NeurIPS 2024,
# [arXiv 2406.05000](https://arxiv.org/abs/2406.05000)) apart. At the end of this page you will have
# a personalised model of your own.
#
# ![Scenes of the toy world, with captions and masks](../data/world.png)
#
# **You will learn**
# - what personalised text-to-image generation is asked to do, and how it can fail;
# - the three stages of AttnDreamBooth, in one sentence each;
# - how these notebooks work: predict, run, explain.
#
# **Prerequisites:** Python. That you have seen PyTorch helps from notebook 01 on.
#
# **Measured time:** {{time}}

# %% tags=["bootstrap"]

# %% [markdown]
# A text-to-image model in one picture. A prompt becomes tokens, each a row of numbers; the text
# encoder lets them read each other; the U-Net takes noise out of a latent step by step and looks at
# the words in its cross-attention; the VAE turns the latent into a picture. A personalised model
# has one more row, [V].

# %%
import adb_core as adb

diagram = adb.plots.diagram("row")
adb.teaching.show(diagram)

# %% [markdown]
# ## 1. Is everything here?
#
# Nothing is downloaded: the collection brings its own small drawn world and its own small diffusion
# model, trained on that world from nothing, in the layout of Stable Diffusion. On a GPU the same
# code runs Stable Diffusion itself (see the last section). The first line below names what is
# amiss, and the cure.

# %%
import numpy as np

print("problems with this machine or the data:", "; ".join(adb.teaching.problems()) or "none")
base, judge = adb.load_base("tiny"), adb.load_judge()
count = sum(p.numel() for p in base.unet.parameters())
print(f"model: {base.name} | U-Net parameters: {count / 1e6:.1f} million")

# %% [markdown]
# ## 2. What the model knows already
#
# It was trained with all of these words; with this combination of them it need not be.

# %%
prompts = [
    "a photo of a red cat wearing a hat on the beach",
    "a painting of a blue robot holding a ball in the city",
    "pixel art of a green turtle under the sea",
    "a sketch of a pink mushroom next to a cake in the snow",
]
made = adb.generate(base, prompts, seeds=[0])
alt = "Four pictures drawn by the tiny model, one for each prompt."
adb.teaching.show(adb.plots.image_grid([made.images], column_labels=prompts, alt=alt))

# %% [markdown]
# ## 3. Somebody it has never seen
#
# This is Pico. The model has seen teal things, orange spots and stars, but never a cat that has all
# of them: whoever comes near to Pico was kept from its training. The new word is written `<pico>`;
# in the papers it is **[V]**.

# %%
concept = adb.Concept.bundled("pico")
alt = "The five training pictures of Pico, a teal cat with a pattern."
adb.teaching.show(adb.plots.image_grid([concept.images], alt=alt))
print("word:", concept.placeholder, "| category:", concept.category)

# %% [markdown]
# **Predict.** The base model is asked for "a photo of a cat" four times, and then for all that
# words can say about Pico. Will the second row be Pico?

# %%
photos = judge.identity(concept.squares(base.side))


def identity(images):
    """How much each picture shows Pico: cosine to the photos' mean; 1 is the same."""
    return adb.metrics.cosine_to_mean(judge.identity(images), photos)


seeds, wishes = [0, 1, 2, 3], ["a photo of a cat"]
wishes.append("a photo of a chubby teal and orange spotted cat with a star")
cats = {wish: adb.generate(base, wish, seeds).images for wish in wishes}
alt = "Four cats of any color, and four that are described as Pico is, by the base model."
adb.teaching.show(adb.plots.image_rows(cats, [f"seed {s}" for s in seeds], alt))
for wish, images in cats.items():
    band = (-0.1, 0.4) if wish == wishes[0] else (0.45, 0.8)
    adb.teaching.fact(f"{wish}: identity, mean", identity(images).mean(), between=band)

# %% [markdown]
# **Explain.** Words go a long way: colors, pattern, build and star are things that captions name,
# and the cats of the second row come much nearer. But they are four cats, and none of them is Pico.
# Where the spots lie, the ears, the face: what makes one individual that individual is said by no
# caption. It has to be learned from pictures.
#
# The number is the cosine between two vectors of a judge, a small network that was trained to tell
# individuals of this world apart (1: the same one; 0: unrelated).
#
# ## 4. Your first personalised model
#
# AttnDreamBooth learns in three stages:
#
# 1. **alignment**: only the embedding of `[V]` moves, briefly, so that it finds its place among the
#    other words;
# 2. **attention map**: only the cross-attention layers move, so that `[V]` learns where in a
#    picture to look;
# 3. **identity**: the whole U-Net moves, so that what it draws there becomes Pico.
#
# A regulariser keeps the attention map of `[V]` close to that of its category, "cat", throughout.
#
# The next cell trains. `trained` keeps the result, so a second run of this cell loads it at once.

# %%
result = adb.teaching.trained(base, concept, "attndreambooth")
print("steps of training:", {s.name: s.steps for s in result.learner.recipe.stages})

# %% [markdown]
# **Predict.** `{}` stands for "`<pico>` cat". Which of these four prompts will be the hardest, and
# what will be missing from the picture?

# %%
asked = [
    "a photo of a {}",
    "a photo of a {} wearing a hat on the beach",
    "a painting of a {} in the forest",
    "a sketch of a {} with a balloon next to a cake in the snow",
]
drawn = {f"seed {s}": adb.generate(result, asked, [s]).images for s in (0, 1)}
labels = [p.replace("{}", "[V] cat") for p in asked]
alt = "Pictures of Pico for four prompts from simple to complex, two seeds each."
adb.teaching.show(adb.plots.image_rows(drawn, labels, alt))
same = np.mean([identity(images) for images in drawn.values()], axis=0)
for label, value in zip(labels, same):
    adb.teaching.fact(f"{label}: identity", value, between=(0.4, 0.95))

# %% [markdown]
# **Explain.** Hat, beach, balloon and cake are there, and so is Pico, more of him than words could
# ask for. In the painting and the sketch there is less, since they show less of anybody. The star
# is still a yellow smear: this model is small. What a perfect one would score is known, and
# notebook 09 says it.
#
# The more a prompt asks for, the more words compete for the picture. That competition is what the
# series is about: 03 and 04 follow it into the attention maps, 05 to 08 teach [V] to share.
#
# ## 5. Try your own prompts
#
# The words that the model knows are listed in the [model card](../data/tiny-sd/README.md). Type a
# prompt with `{}` where Pico goes, and press Draw; the left picture is what the base model makes of
# "cat" in `{}`'s place.

# %%
models = {"base model": base, "personalised": result}
bench = adb.widgets.PromptBench(models, category=concept.category)
bench.view

# %% [markdown]
# The same by code:

# %%
bench.prompt.value = "a painting of a {} in the desert"
bench.work()
print(bench.text)

# %% [markdown]
# ## Exercises
#
# Each has a check that answers at once, and a folded solution.
#
# ### Exercise 1 (easy, 3 minutes): fill the placeholder
#
# `adb.generate` puts "[V] category" where `{}` stands. Write that function: from a prompt, the word
# and the category to the text that the model reads.


# %% tags=["stub"] exercise="00.1"
def fill(prompt, word, category):
    return ...


# %% tags=["solution"] exercise="00.1"
def fill(prompt, word, category):
    return prompt.format(f"{word} {category}")


# %% tags=["check"] exercise="00.1"
adb.teaching.check("00.1", fill)

# %% [markdown]
# ### Exercise 2 (easy, 5 minutes): the same individual?
#
# Return the cosine of each row of `vectors` (n, c), the judge's, with the mean of the rows of
# `references` (m, c): n numbers.


# %% tags=["stub"] exercise="00.2"
def identity_scores(vectors, references):
    return ...


# %% tags=["solution"] exercise="00.2"
def identity_scores(vectors, references):
    mean = references.mean(0)
    return vectors @ mean / np.linalg.norm(vectors, axis=1) / np.linalg.norm(mean)


# %% tags=["check"] exercise="00.2"
adb.teaching.check("00.2", identity_scores)

# %% [markdown]
# ### Exercise 3 (HARD, 15 minutes): from where on is it Pico?
#
# A cosine is no answer until somebody says from where on it counts as "the same". `same` (n,) are
# cosines between pictures of one individual, `different` (m,) between those of two. A value below
# the threshold counts as different, one at it or above as the same. Return the threshold for which
# the two *shares* of mistakes add up to the least. Try the given cosines only; of several best ones
# return the smallest.


# %% tags=["stub"] exercise="00.3"
def threshold(same, different):
    return ...


# %% tags=["solution"] exercise="00.3"
def threshold(same, different):
    candidates = np.sort(np.concatenate([same, different]))
    missed = (same[None, :] < candidates[:, None]).mean(1)  # shares, one a candidate
    mistaken = (different[None, :] >= candidates[:, None]).mean(1)
    return candidates[np.argmin(missed + mistaken)]  # the first of several is the smallest


# %% tags=["check"] exercise="00.3"
adb.teaching.check("00.3", threshold)

# %% [markdown]
# ## Quiz

# %%
adb.teaching.quiz(*adb.teaching.questions("00"))

# %% [markdown]
# ## Map of the series
#
# | notebook | the one idea |
# |---|---|
# | 00 start here | what personalisation is asked to do |
# | [01 latent diffusion by hand][01] | text encoder, U-Net, scheduler, decoder: step by step |
# | [02 seeing cross-attention][02] | which pixel looks at which word, changing nothing |
# | [03 Textual Inversion and how it fails][03] | a word that takes the attention of the others |
# | [04 DreamBooth and how it fails][04] | a word that nobody looks at |
# | [05 stage 1: embedding alignment][05] | a place among the words |
# | [06 stage 2: attention map][06] | where to look |
# | [07 stage 3: identity][07] | what to draw there |
# | [08 the regulariser][08] | two numbers of a map, pulled towards two others |
# | [09 measuring][09] | does it work, and how would you know? |
# | [10 would people prefer it?][10] | what votes say, and how many it takes |
# | [11 where the time goes][11] | what a step of training costs, and what can be saved |
# | [12 your own pictures][12] | what makes good photos, and what fits into a machine |
# | [13 beyond still images][13] | walks, boxes and sheets, without training |
# | [14 responsible use][14] | what it assumes, copies and leaks |
#
# [01]: 01_latent_diffusion_by_hand.ipynb
# [02]: 02_seeing_cross_attention.ipynb
# [03]: 03_textual_inversion_and_how_it_fails.ipynb
# [04]: 04_dreambooth_and_how_it_fails.ipynb
# [05]: 05_stage_1_embedding_alignment.ipynb
# [06]: 06_stage_2_attention_map.ipynb
# [07]: 07_stage_3_identity.ipynb
# [08]: 08_the_regularizer.ipynb
# [09]: 09_measuring.ipynb
# [10]: 10_user_study.ipynb
# [11]: 11_faster.ipynb
# [12]: 12_your_own_pictures.ipynb
# [13]: 13_beyond_still_images.ipynb
# [14]: 14_responsible_use.ipynb
#
# ## JupyterLab, Colab, and your own pictures
#
# - **JupyterLab:** `make lab` in the repository. Sliders also move with the arrow keys.
# - **Colab:** the first cell installs the core from the repository.
# - **Your own pictures:** `adb.Concept.from_folder("my_photos", category="dog")`, with three to six
#   photographs, `adb.load_base("sd21")` (downloads the weights; needs a GPU), and `preset="paper"`:
#
# ```python
# base = adb.load_base("sd21")
# mine = adb.Concept.from_folder("my_photos", category="dog")
# result = adb.personalize(
#     base, mine, "attndreambooth", preset="paper", out="out/mine", progress=True, in_place=True
# )
# ```
#
# `in_place` trains the model's own U-Net, so that no second one is held. This computes in float32.
# The command `adb train --base sd21` computes in half precision, and takes what memory there is
# into account.
#
# ## Summary
#
# - Captions do not say what makes an individual; a new word [V] has to be learned from a few
#   pictures.
# - A good [V] keeps the individual *and* leaves room for the rest of the prompt.
# - AttnDreamBooth learns where [V] stands among words, where it looks, and what it looks like, one
#   after the other.
#
# **Read next:** the introduction of the [paper](https://arxiv.org/abs/2406.05000).
# **Next notebook:** [01 Latent diffusion by hand](01_latent_diffusion_by_hand.ipynb).
