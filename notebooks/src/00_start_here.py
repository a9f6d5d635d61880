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
# of one individual, and it can learn a new word for it. The hard part is what comes afterwards: the
# new word has to live **among** the other words. "`<pico>` cat wearing a hat on the beach" must
# give Pico, *and* the hat, *and* the beach.
#
# This series takes the method AttnDreamBooth (Pang et al., NeurIPS 2024,
# [arXiv 2406.05000](https://arxiv.org/abs/2406.05000)) apart and lets you see each part work. At
# the end of this page you will have a personalised model of your own.
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
# has one more row, [V]. The pages that follow return to this picture, each with another box lit.

# %%
import adb_core as adb

diagram = adb.plots.diagram("row")
adb.teaching.show(diagram)

# %% [markdown]
# ## 1. Is everything here?
#
# Nothing is downloaded: the collection brings its own small drawn world and its own small diffusion
# model, a real one, trained on that world from nothing, in the layout of Stable Diffusion. On a GPU
# the same code runs Stable Diffusion itself (see the last section). The first line below names what
# is amiss, and the cure: a damaged file, too little memory or disk. (`adb doctor` in a terminal
# says more.)

# %%
import numpy as np

print(
    "problems with this machine or the data:",
    "; ".join(adb.teaching.problems()) or "none",
)
base = adb.load_base("tiny")
print("model:", base.name)
print("U-Net parameters, millions:", round(sum(p.numel() for p in base.unet.parameters()) / 1e6, 1))
print("predicts:", base.prediction_type)

# %% [markdown]
# ## 2. What the model knows already
#
# Four prompts, one picture each. The words are all ones it was trained with; this combination of
# them need not be.

# %%
prompts = [
    "a photo of a red cat wearing a hat on the beach",
    "a painting of a blue robot holding a ball in the city",
    "pixel art of a green turtle under the sea",
    "a sketch of a pink mushroom next to a cake in the snow",
]
made = adb.generate(base, prompts, seeds=[0])
adb.teaching.show(
    adb.plots.image_grid(
        [list(made.images)],
        column_labels=prompts,
        alt="Four pictures drawn by the tiny model, one for each prompt.",
    )
)
print("pictures:", made.images.shape)

# %% [markdown]
# ## 3. Somebody it has never seen
#
# This is Pico. Pico is a cat, but not one that the model was trained on: its colours, pattern and
# proportions lie outside of what training drew. The new word is written `<pico>`; in the papers it
# is called **[V]**.

# %%
concept = adb.Concept.bundled("pico")
adb.teaching.show(
    adb.plots.image_grid(
        [list(concept.images)], alt="The five training pictures of Pico, a teal cat with a pattern."
    )
)
print(
    "word:",
    concept.placeholder,
    "| category:",
    concept.category,
    "| pictures:",
    len(concept.images),
)

# %% [markdown]
# **Predict.** The base model is asked for "a photo of a cat" four times. In how many of the four
# pictures will the cat be Pico? And does it help to name the colour?

# %%
wishes = ["a photo of a cat", "a photo of a blue cat"]
cats = adb.generate(base, wishes, seeds=[0, 1, 2, 3])
adb.teaching.show(
    adb.plots.image_grid(
        [list(cats.images[:4]), list(cats.images[4:])],
        row_labels=wishes,
        column_labels=[f"seed {s}" for s in range(4)],
        alt="Four cats of any colour, and four blue cats; none of them is Pico.",
    )
)
judge = adb.load_judge()
photos = judge.identity(concept.squares(64))
same = judge.identity(cats.images) @ photos.mean(0) / np.linalg.norm(photos.mean(0))
for k, wish in enumerate(wishes):
    print(
        f"{wish}: taken for Pico (identity above 0.7):",
        int((same[4 * k : 4 * k + 4] > 0.7).sum()),
        "of 4",
    )

# %% [markdown]
# **Explain.** A caption names a category and a colour word. What makes one individual that
# individual is not said by any caption, so no prompt can ask for it. It has to be learned from
# pictures.
#
# The number is the cosine between two vectors of a judge, a small network that was trained to tell
# individuals of this world apart (1: the same one; 0: unrelated). Notebook 09 takes it apart.
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
print("stages:", [s.name for s in result.learner.recipe.stages])
print("training steps:", len(result.history))

# %% [markdown]
# **Predict.** `{}` stands for "`<pico>` cat". Which of these four prompts will be the hardest, and
# what will be missing from the picture? And in which will Pico be most himself?

# %%
asked = [
    "a photo of a {}",
    "a photo of a {} wearing a hat on the beach",
    "a painting of a {} in the forest",
    "a sketch of a {} with a balloon next to a cake in the snow",
]
pictures = adb.generate(result, asked, seeds=[0, 1])
rows = [[pictures.images[2 * k + s] for k in range(len(asked))] for s in range(2)]
adb.teaching.show(
    adb.plots.image_grid(
        rows,
        row_labels=["seed 0", "seed 1"],
        column_labels=[p.replace("{}", "[V] cat") for p in asked],
        alt="Pictures of Pico for four prompts from simple to complex, two seeds each.",
    )
)
same = judge.identity(pictures.images[:2]) @ photos.mean(0) / np.linalg.norm(photos.mean(0))
print("simple prompt, taken for Pico:", int((same > 0.7).sum()), "of 2")

# %% [markdown]
# **Explain.** Hats, places, balloon and cake are there, or nearly so; the tiny model seldom loses a
# word. What gives way is Pico himself. Even for the simplest prompt the judge takes one of two
# pictures for him: the colours are right in both, the patches, eyes and outline of the other are
# not close enough. In the painting and the sketch still less of him is left.
#
# The more a prompt asks for, the more words compete for the picture. That competition is what the
# series is about: in large models [V] can swallow the other words or be swallowed by them, which
# notebooks 03 and 04 follow into the attention maps, where it shows here too; 05 to 08 teach it to
# share.
#
# ## 5. Try your own prompts
#
# The words that the model knows are listed in the [model card](../data/tiny-sd/README.md). Type a
# prompt with `{}` where Pico goes, and press Draw; the left picture is what the base model makes of
# "cat" in `{}`'s place.

# %%
bench = adb.widgets.PromptBench(
    {"base model": base, "personalised": result}, category=concept.category
)
bench.view

# %% [markdown]
# The same by code, so that what you see can be checked:

# %%
bench.prompt.value = "a painting of a {} in the desert"
bench.work()
print(bench.text)

# %% [markdown]
# ## Exercises
#
# Each exercise has a difficulty, the minutes it should take, a check that answers at once, and a
# folded solution.
#
# ### Exercise 1 (easy, 3 minutes): fill the placeholder
#
# `adb.generate` puts "[V] category" where `{}` stands. Write that function: it takes a prompt, the
# word and the category, and returns the text that the model reads.


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
# The judge gives one vector for each picture. Return the cosine of each row of `vectors` (n, c)
# with the mean of the rows of `references` (m, c): n numbers between -1 and 1.


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
# [13]: 13_beyond_still_images.ipynb
# [14]: 14_responsible_use.ipynb
#
# ## JupyterLab, Colab, and your own pictures
#
# - **JupyterLab:** `make lab` in the repository. Run cells with Shift-Enter; sliders also move with
#   the arrow keys.
# - **Colab:** the first cell installs the core from the repository and leaves alone what is there.
# - **Your own pictures:** `adb.Concept.from_folder("my_photos", category="dog")`, with three to six
#   photographs, `adb.load_base("sd21")` (downloads the weights; needs a GPU), and `preset="paper"`.
#   `in_place` trains the U-Net that was loaded, instead of a second one beside it:
#
# ```python
# base = adb.load_base("sd21")
# mine = adb.Concept.from_folder("my_photos", category="dog")
# result = adb.personalize(
#     base, mine, "attndreambooth", preset="paper", in_place=True, out="out/mine", progress=True
# )
# ```
#
# This computes in float32. The command `adb train --base sd21` computes in half precision, and
# takes what memory there is into account.
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
