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
# # 14 · Responsible use
#
# {{badge}}
#
# Five pictures are enough to learn somebody, and nobody has to ask them. So this page measures what
# a model assumes, copies and leaks, and how its pictures can be told from photographs.
#
# **You will learn**
# - to measure what a model assumes, copies and leaks, beside what chance would give;
# - what metadata, signatures and watermarks can prove, and how each is removed;
# - to fill in a checklist before you train on anybody.
#
# **Prerequisites:** [00](00_start_here.ipynb); [09](09_measuring.ipynb) for intervals.
#
# **Measured time:** {{time}}

# %% tags=["bootstrap"]

# %% [markdown]
# This page is about both ends of it.

# %%
import adb_core as adb

diagram = adb.plots.diagram("picture")
adb.teaching.show(diagram)

# %% [markdown]
# ## 1. Whom do the pictures show?
#
# `concept.json` beside the photos can answer four questions. Nothing can check the answers; they
# are shown before a training and go into the model's card.

# %%
import numpy as np

base, judge = adb.load_base("tiny"), adb.load_judge()
concept = adb.Concept.bundled("pico")
stated = adb.provenance.Statements.of(concept.info)
for question in ("shows", "given_by", "license", "consent"):
    print(f"{question:9} {stated.shown(question)}")
print("of a folder without them:", adb.provenance.Statements().line())

# %% [markdown]
# ## 2. What a model assumes
#
# A prompt never says everything. What does the model fill in? Here the truth is known: the program
# that drew the pretraining pictures can be asked how often it drew a place.
#
# **Predict.** "A photo of a cat" names no place. Will the places be those of pretraining, or fewer?

# %%
from collections import Counter

drawn = adb.generate(base, "a photo of a cat", seeds=range(48), batch=24).images
seen = Counter(judge.read(drawn)["place"])
rng = np.random.default_rng(0)
scenes = [adb.teaching.world.sample_scene(rng) for _ in range(20_000)]
cats = [s for s in scenes if (s.category, s.style) == ("cat", "photo")]
told = Counter(s.place or "plain" for s in cats)
places = sorted(told)
ours = np.array([seen[p] for p in places]) / len(drawn)
theirs = np.array([told[p] for p in places]) / len(cats)
print("pictures:", len(drawn), "| places that pretraining drew with cats:", len(places))


# %%
def shares(bars):
    """Shares of places, a group of bars for each place."""
    said = "; ".join(f"{n}: " + ", ".join(f"{v:.2f}" for v in values) for n, values in bars.items())
    figure = adb.plots.new_figure(8, 2.8, f"Shares of {', '.join(places)}. {said}.")
    ax = adb.plots.style_axes(figure.subplots(), "a photo of a cat: where?", "", "share")
    at, colours = np.arange(len(places)), ("blue", "yellow", "orange")
    for k, (name, values) in enumerate(bars.items()):
        color = adb.plots.OKABE_ITO[colours[k]]
        ax.bar(
            at + 0.27 * (k - 1), values, 0.27, color=color, hatch=("", "//", "..")[k], label=name
        )
    ax.set_xticks(at, places)
    adb.plots.legend(ax)
    return figure


# %%
bars = {"drawn by the model": ours, "in pretraining": theirs}
adb.teaching.show(shares(bars))


# %%
def apart(one, other):
    return 0.5 * np.abs(one - other).sum()  # total variation: 0 the same, 1 nothing in common


chance = [apart(rng.multinomial(48, theirs) / 48, theirs) for _ in range(2000)]
adb.teaching.fact("model and pretraining, total variation", apart(ours, theirs), between=(0, 0.9))
adb.teaching.fact("by chance, at most", np.quantile(chance, 0.95), between=(0.1, 0.3))

# %% [markdown]
# **Explain.** The second number is what 48 pictures of a faithful model would differ by in 95 of
# 100 cases. The model is far above it, and draws plain backdrops mostly. Has it amplified a bias?
# **Predict** once more: what do *captions* say? A program wrote them, and it can be asked as well.

# %%
silent = Counter(
    s.place or "plain"
    for k, s in enumerate(cats)
    if not set(adb.teaching.world.caption(s, k).split()) & set(places)
)
unsaid = np.array([silent[p] for p in places]) / silent.total()
adb.teaching.show(shares(bars | {"where captions name no place": unsaid}))
adb.teaching.fact("model and silent captions", apart(ours, unsaid), between=(0, 0.5))

# %% [markdown]
# **Explain.** Captions name a place nearly always, so a caption that names none belongs to a
# picture without one, most of the time. The model has learned what is **left unsaid**. In a model
# of photographs the same arithmetic is about people: who is drawn when a prompt says "a doctor",
# and for whom do captions bother to say more?
#
# ## 3. What is copied
#
# **Predict.** Five photos, seen hundreds of times. Will the model hand one of them back?
#
# The scale is how near two **different** photos of Pico come to each other; the world can draw as
# many as we like.

# %%
recipes = ("dreambooth", "attndreambooth")
models = {name: adb.teaching.trained(base, concept, name) for name in recipes}

# %%
photos = concept.squares(base.side).astype(float)


def nearest(images):
    """Distance of each picture to its nearest photo: root mean square over pixels."""
    gaps = (images[:, None].astype(float) - photos[None]) ** 2  # (n, m, h, w, 3)
    return np.sqrt(gaps.mean((2, 3, 4))).min(1)


pictures = {
    name: adb.generate(model, "a photo of a {}", seeds=range(12)).images
    for name, model in models.items()
}
others = adb.teaching.world.more_photos(concept, 12)
scale = {"other true photos": nearest(others)} | {n: nearest(p) for n, p in pictures.items()}
for name, gaps in scale.items():
    adb.teaching.fact(f"{name}, nearest", gaps.min(), between=(15, 60), unit="grey levels")

# %%
rows = []
for images in (others, *pictures.values()):
    gaps = (images[:, None].astype(float) - photos[None]) ** 2
    k, m = np.unravel_index(gaps.mean((2, 3, 4)).argmin(), gaps.shape[:2])
    rows.append([images[k], photos[m].astype(np.uint8)])
adb.teaching.show(
    adb.plots.image_grid(
        rows,
        row_labels=["other true photos", *pictures],
        column_labels=["picture", "nearest photo"],
        alt="For other true photos and for two recipes: the picture that is nearest to one of the "
        "five photos, beside that photo.",
    )
)

# %% [markdown]
# **Explain.** A recipe copies if its pictures are **nearer** to the photos than other true photos
# of Pico are. With so few steps none has to be. The distance is a blunt tool: it sees a copied
# background and misses a copied face in another corner.
#
# ## 4. Where the individual turns up unasked
#
# **Predict.** The prompt says "a photo of a cat", without [V]. Whose cat comes?

# %%
from dataclasses import replace

models["dreambooth_prior"] = adb.teaching.trained(base, concept, "dreambooth_prior")
mean = judge.identity(concept.squares(base.side)).mean(0)


def like_pico(images):
    return judge.identity(images) @ mean / np.linalg.norm(mean)


plain = {"base model": like_pico(drawn[:12])}
for name, model in models.items():
    unnamed = replace(base, unet=model.unet)  # the trained U-Net, and no [V] in the prompt
    plain[name] = like_pico(adb.generate(unnamed, "a photo of a cat", seeds=range(12)).images)
ends = {name: adb.bootstrap(values) for name, values in plain.items()}
rows = {name: (end.mean, end.low, end.high) for name, end in ends.items()}
title = "A photo of a cat, without [V]: how much of Pico is in it?"
zero = ends["base model"].mean
adb.teaching.show(adb.plots.forest(rows, title, "identity with Pico", reference=zero))

# %% [markdown]
# **Explain.** What lies right of the dotted line has leaked: *cats* look like Pico now. Prior
# preservation trains on pictures of other cats as well, and takes half of it back. Of a person this
# means: their face in pictures that nobody asked to show them.
#
# ## 5. Where a picture comes from
#
# Every PNG that this project writes of a generated picture says so. The record is text: whoever has
# the file can read it, and whoever has the file can take it out.

# %%
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())
made = adb.generate(models["attndreambooth"], "a photo of a {} on the beach", seeds=[3])
adb.provenance.save_generated(folder / "pico.png", made.images[0], made.about)
print("\n".join(adb.provenance.inspect_file(folder / "pico.png").lines()[1:]))

# %% [markdown]
# **Predict.** Somebody opens the file and saves it again. What is left?

# %%
from PIL import Image

Image.open(folder / "pico.png").convert("RGB").save(folder / "again.png")
print(adb.provenance.inspect_file(folder / "again.png").lines()[1])

# %% [markdown]
# **Explain.** Nothing, and nobody meant any harm: messengers and image editors do the same. Signed
# metadata (C2PA, `adb generate --sign-test`) add that a change is noticed, not that they stay; and
# a signature is worth what its certificate is worth, ours nothing, so `adb inspect` calls it
# untrusted.
#
# A **watermark** lies in the pixels. Ours turns the signs of some of JPEG's own coefficients, which
# a key chooses; about 40 dB away from the picture, where nobody sees it.

# %%
KEY = "a long secret that only we know"
marked = adb.provenance.marked(made.images, KEY, made.about)[0]
difference = 128 + 20.0 * (marked.astype(float) - made.images[0])
adb.teaching.show(
    adb.plots.image_grid(
        [[made.images[0], marked, difference.clip(0, 255).astype(np.uint8)]],
        column_labels=["drawn", "marked", "difference x 20"],
        alt="A picture, the same with the mark, which looks alike, and their difference twenty "
        "times enlarged: a faint pattern in blocks.",
    )
)

# %%
error = ((marked.astype(float) - made.images[0]) ** 2).mean()
adb.teaching.fact("distance, PSNR", 10 * np.log10(255**2 / error), between=(40, 50), unit="dB")
found = adb.provenance.detect(marked, KEY)
other = adb.provenance.detect(marked, "another key")
print("found with the key:", found.is_found, "| with another one:", other.is_found)

# %% [markdown]
# **Predict.** At which JPEG quality will the mark be lost? Move the slider.

# %%
import io


def as_jpeg(image, quality):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


rows, said = {}, {}
for quality in (95, 75, 50, 40, 30, 20, 10):
    rows[quality] = [as_jpeg(marked, quality)]
    seen = adb.provenance.detect(rows[quality][0], KEY)
    said[quality] = f"quality {quality}: {'found' if seen.is_found else 'not found'}"
title = "Is the mark still there?"
jpeg = adb.widgets.PictureSlider("JPEG quality", rows, said, title, start=75)
jpeg.view

# %%
adb.teaching.show(jpeg.filmstrip(jpeg.at, [75, 40, 10]))
for quality in (75, 10):
    jpeg.at.value = quality
    print(jpeg.text)

# %% [markdown]
# ## 6. Break it
#
# A mark that only honest people leave in is a label, not a lock. Ways to lose it:

# %%
mirrored = np.ascontiguousarray(marked[:, ::-1])
side = base.side
smaller = np.array(Image.fromarray(marked).resize((3 * side // 4, 3 * side // 4)))
redrawn = adb.metrics.round_trip(base, marked[None])[0]
attacks = {"as it is": marked, "mirrored": mirrored, "smaller": smaller, "by the VAE": redrawn}
for name, image in attacks.items():
    print(f"{name:20} found: {adb.provenance.detect(image, KEY).is_found}")
unmarked = [adb.provenance.detect(image, KEY).p_value for image in drawn]
alarms = sum(p < 1e-5 for p in unmarked)
adb.teaching.fact("found in pictures without a mark", alarms, between=(0, 0), unit="of 48")

# %% [markdown]
# **Explain.** So a mark that is found says much (of 10,000 pictures without it, no more than one is
# taken for marked), and a mark that is not found says **nothing**. `benchmarks/RESULTS.md` has the
# whole table. No method known today is different in kind.
#
# ## 7. What this small model cannot show, and why
#
# The model's card says how often a picture has what its prompt asked for; beside it, what guessing
# a word would get.

# %%
card = adb.data_path("tiny-sd", "README.md").read_text(encoding="utf-8")
rows = [line.split("|") for line in card.splitlines() if line.startswith("| generated, held-out")]
asked = {what.split(": ")[1].strip(): value for _, what, value, *_ in rows}
drawn = {label: float(asked[label].split("%")[0]) for label in judge.config.labels}
unnamed = {"none", "plain", "regular"}  # what no caption says
words = {label: len(set(each) - unnamed) for label, each in judge.config.labels.items()}
guessed = {label: 100 / count for label, count in words.items()}
panels = {"drawn as asked, %": drawn, "by guessing a word, %": guessed}
adb.teaching.show(adb.plots.bar_panels(panels, share=True))
for label in ("category", "mark", "pattern"):
    print(f"{label}: {drawn[label]:.1f} % drawn as asked, {guessed[label]:.1f} % by guessing")

# %% [markdown]
# **Explain.** Category, place and style come as asked; marks, second colors and skies every other
# time; **patterns** and **builds** as by guessing. So no recipe can learn what is finest in an
# individual: identity is mostly color and shape, and Pico's star comes late or never. The U-Net has
# a seventy-fifth of Stable Diffusion's parameters, and six hours of two cores behind it.
#
# Three things that the paper reports do not show: that Textual Inversion drops the prompt
# ([03](03_textual_inversion_and_how_it_fails.ipynb): captions name one thing of each kind, and
# words keep to themselves), that DreamBooth loses the concept and not the rest
# ([04](04_dreambooth_and_how_it_fails.ipynb)), that stage 2 is needed
# ([06](06_stage_2_attention_map.ipynb)). And no number carries over to photographs; the mechanism
# does, and how to ask.
#
# ## 8. A checklist, filled in
#
# For Pico; for people, every line needs a better answer.
#
# | question | here |
# |---|---|
# | Who is shown, and did they agree to *this* use? | a drawn cat; nobody |
# | Could they say no later, and what would happen? | delete the model's folder, and what it drew |
# | What could a stranger do with the model? | draw Pico anywhere; of people, lies |
# | What does it leak unasked? | section 4, measured with and without prior preservation |
# | Does it copy? | section 3: compared with other true photos, by a blunt tool |
# | What says that pictures are generated? | metadata, a mark on request; both removable |
# | Who gets it, under which terms? | Apache-2.0; no face should be published under it |
#
# ## Exercises
#
# ### Exercise 1 (easy, 5 minutes): how far apart?
#
# `ours` and `theirs` are counts (k,) of the same k words. Return the total variation of their
# **shares**: half the sum of the absolute differences.


# %% tags=["stub"] exercise="14.1"
def total_variation(ours, theirs):
    return ...


# %% tags=["solution"] exercise="14.1"
def total_variation(ours, theirs):
    return 0.5 * np.abs(ours / ours.sum() - theirs / theirs.sum()).sum()


# %% tags=["check"] exercise="14.1"
adb.teaching.check("14.1", total_variation)

# %% [markdown]
# ### Exercise 2 (medium, 8 minutes): copied, beyond chance
#
# `pictures` (n,) and `others` (m,) are distances to the nearest training photo, of generated
# pictures and of true photos that were not trained on. Return the share of pictures that are nearer
# than the **nearest** of the others.


# %% tags=["stub"] exercise="14.2"
def copied(pictures, others):
    return ...


# %% tags=["solution"] exercise="14.2"
def copied(pictures, others):
    return np.mean(pictures < others.min())


# %% tags=["check"] exercise="14.2"
adb.teaching.check("14.2", copied)

# %% [markdown]
# ### Exercise 3 (medium, 8 minutes): what a finding is worth
#
# Of all pictures a share `marked` carries the mark. The detector finds a share `hits` of those, and
# a share `alarms` of the others. A picture is found to be marked: how probable is it that it is?


# %% tags=["stub"] exercise="14.3"
def worth(marked, hits, alarms):
    return ...


# %% tags=["solution"] exercise="14.3"
def worth(marked, hits, alarms):
    return marked * hits / (marked * hits + (1 - marked) * alarms)


# %% tags=["check"] exercise="14.3"
adb.teaching.check("14.3", worth)

# %% [markdown]
# ### Exercise 4 (HARD, 15 minutes): is the mark there?
#
# A key draws `signs` (n,), each -1 or 1, for `values` (n,), coefficients of a picture. Clip the
# values to -`cut` ... `cut`. Without a mark the signs have nothing to do with them: the sum of
# their products has mean 0, and you can say its standard deviation. Return the probability that
# chance gives such a sum or a larger one ($\frac12\,\mathrm{erfc}(z/\sqrt2)$; `math.erfc`).


# %% tags=["stub"] exercise="14.4"
def by_chance(values, signs, cut):
    return ...


# %% tags=["solution"] exercise="14.4"
def by_chance(values, signs, cut):
    from math import erfc

    clipped = np.clip(values, -cut, cut)
    z = (signs * clipped).sum() / np.sqrt((clipped**2).sum())  # a sign has variance 1
    return erfc(z / 2**0.5) / 2


# %% tags=["check"] exercise="14.4"
adb.teaching.check("14.4", by_chance)

# %% [markdown]
# ## Quiz

# %%
adb.teaching.quiz(*adb.teaching.questions("14"))

# %% [markdown]
# ## Summary
#
# - Assumptions, copies and leaks can be measured, if one says what chance or truth would give.
# - Metadata are a claim, a signature a claim that cannot be changed unnoticed, a mark a claim that
#   the key's owner can check. All three can be removed.
# - Consent is asked for before the training, by a person.
#
# **Read next:** Carlini et al., "Extracting training data from diffusion models"
# ([arXiv 2301.13188](https://arxiv.org/abs/2301.13188)); Cox et al., "Secure spread spectrum
# watermarking for multimedia" (1997); the [C2PA specification](https://c2pa.org/specifications/).
# **Next notebook:** this was the last one. Back to [00 Start here](00_start_here.ipynb).
