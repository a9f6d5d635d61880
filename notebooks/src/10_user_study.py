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
# # 10 · Would people prefer it?
#
# {{badge}}
#
# Scores stand in for people. This page asks people, and first of all you: you will vote blind on
# pictures of two recipes, and learn to read what votes say. One rule holds throughout: **no human
# answer on this page is made up.** Where a program votes, it says *simulated*.
#
# **You will learn**
# - to set up a comparison in which nobody, you included, knows which recipe drew what;
# - what a share of votes means, and how many votes it takes, exactly and by hand;
# - why four hundred raters can be wrong together, and what mends it.
#
# **Prerequisites:** [00](00_start_here.ipynb); [09](09_measuring.ipynb) for the bootstrap.
#
# **Measured time:** {{time}}

# %% tags=["bootstrap"]

# %% [markdown]
# What you will learn to read: shares of votes that papers report. Hollow: how many votes could not
# be found.

# %%
import adb_core as adb

NOT_FOUND = float("nan")
low, high = adb.preference.exact.exact_interval(194, 300)  # a quarter of 1,200 answers: section 7
published = {
    "AttnDreamBooth over TI + DreamBooth": (68.0, NOT_FOUND, NOT_FOUND),
    "AttnDreamBooth over ViCo": (83.4, NOT_FOUND, NOT_FOUND),
    "CoRe over AttnDreamBooth": (64.7, 100 * low, 100 * high),
}
title = "Published: which picture do people prefer?"
adb.teaching.show(adb.plots.forest(published, title, "% of votes", reference=50))

# %% [markdown]
# In the series' diagram people come last. They see the photos, the prompt and two pictures:

# %%
diagram = adb.plots.diagram("people")
adb.teaching.show(diagram)

# %% [markdown]
# ## 1. A study that hides its key
#
# Two recipes, Textual Inversion with DreamBooth and the three stages, learn two individuals of the
# half on which nothing was tuned.

# %%
base = adb.load_base("tiny")
one, two = adb.bundled_concepts()["held_out"][:2]
concepts = {name: adb.Concept.bundled(name) for name in (one, two)}
recipes = ("ti_dreambooth", "attndreambooth")
models = {(one, r): adb.teaching.trained(base, concepts[one], r) for r in recipes}

# %%
models |= {(two, r): adb.teaching.trained(base, concepts[two], r) for r in recipes}

# %% [markdown]
# Both draw the same prompts from the same noise: the first four of a list that is older than the
# pictures. Whoever picks pictures afterwards has voted already.

# %%
import json

from tqdm.auto import tqdm

listed = json.loads(adb.data_path("prompts", "complexity_4.json").read_text())["prompts"]
prompts, pictures = [entry["prompt"] for entry in listed[:4]], []
for (name, _), model in tqdm(models.items(), desc="drawing"):
    pictures += adb.preference.drawing.pictures_of(model, name, prompts, [0], steps=20)
design = adb.preference.study.Design(raters=1, repeats=2, catches=2)
study = adb.teaching.kept_study("two-recipes", pictures, concepts, design)
public = json.dumps(study.public())
print("pairs:", len(study.pairs), "| asked:", *study.pairs[0].__dataclass_fields__)
print("study.json names a recipe:", any(recipe in public for recipe in recipes))

# %% [markdown]
# The recipes' names are in a second file, the key; `study.json` holds its SHA-256. Order and sides
# come from the study's seed and the rater's name: balanced, and different for every rater. Two
# pairs return later with their sides swapped (is the rater consistent?), and two trials show one
# picture twice (is the rater looking?).

# %%
from collections import Counter

yours, another = (adb.preference.trials.trials_of(study, name) for name in ("you", "a friend"))
print("your trials:", dict(sorted(Counter(t.kind for t in yours).items())))
main = [t for t in yours if t.kind == "main"]
print("pairs whose first picture is on your left:", sum(t.left == t.pair.a for t in main))
print("the same order and sides for a friend:", yours == another)

# %% [markdown]
# ## 2. Vote
#
# Three questions for each pair. Every answer is on the disk at once; you may go on tomorrow. For
# several raters make the study with more of them, and let `adb study serve out/notebooks/study-...`
# show the same ballots in a page on your machine.

# %%
votes = adb.preference.votes.Votes(study)
ballot = adb.teaching.ballot(study, votes)
ballot.view

# %% [markdown]
# Three of the ballots on paper, unanswered: above the photos, below the two pictures.

# %%
try:
    adb.teaching.show(ballot.ballots(3))
except ValueError as done:
    print(done)

# %% [markdown]
# Have you answered all of them? The key opens after the last vote, not before.

# %%
try:
    key = adb.preference.analysis.reveal(study, votes)
    print("\n".join(adb.preference.report.results(study, key, votes.all())))
except adb.preference.study.StudyError as closed:
    print(closed)

# %% [markdown]
# **Explain.** Whatever you saw there is one person's answer about two individuals.
#
# ## 3. What 13 of 20 means
#
# **Predict.** Twenty votes, thirteen for one recipe.

# %%
guess = adb.teaching.predict(
    "Which true shares are compatible with 13 of 20, at 95 %?",
    ["60 to 70 %", "54 to 76 %", "41 to 85 %"],
)
guess

# %% [markdown]
# By hand: take every share from 0 to 1, and keep those for which 13 votes or more, and 13 or fewer,
# are not rarer than 2.5 % each (Clopper and Pearson 1934).

# %%
from math import comb

import numpy as np


def at_least(hits, count, p):
    return sum(comb(count, k) * p**k * (1 - p) ** (count - k) for k in range(hits, count + 1))


shares = np.linspace(0, 1, 10_001)
rare = np.array([(at_least(13, 20, p), 1 - at_least(14, 20, p)) for p in shares]).min(1)
low, high = shares[rare >= 0.025][[0, -1]]
assert np.allclose((low, high), adb.preference.exact.exact_interval(13, 20), atol=1e-3)

# %%
adb.teaching.fact("13 of 20: from", 100 * low, between=(40.5, 41.5), unit="%")
adb.teaching.fact("to", 100 * high, between=(84.5, 85.5), unit="%")
guess.compare("41 to 85 %")

# %%
counts = {"13 of 20": (13, 20), "65 of 100": (65, 100), "650 of 1000": (650, 1000)}
ends = {name: adb.preference.exact.exact_interval(*count) for name, count in counts.items()}
rows = {name: (65.0, 100 * low, 100 * high) for name, (low, high) in ends.items()}
adb.teaching.show(adb.plots.forest(rows, "The same share", "% of votes", reference=50))
print("intervals without 50 %:", [name for name, (low, _) in ends.items() if low > 0.5])

# %% [markdown]
# **Explain.** Thirteen of twenty is no result: two equal recipes do as much, one way or the other,
# in every fourth study.
#
# ## 4. How many votes it takes
#
# **Predict.** A study should see a true preference of 60 % with a chance of 80 %.

# %%
guess = adb.teaching.predict(
    "How many decided votes does that need?", ["about 50", "about 100", "about 200"]
)
guess

# %%
calculator = adb.widgets.PowerCalculator()
calculator.view

# %%
adb.teaching.show(calculator.filmstrip(calculator.share, [60, 65, 70, 80]))
for share in (0.6, 0.65, 0.7, 0.8):
    print(adb.preference.report.planned(share))
guess.compare("about 200")

# %% [markdown]
# **Explain.** Half the distance from 50 % costs four times the votes. (Votes come one by one: hence
# the teeth.) Plan the number first: who counts until it is significant will get there with equal
# recipes too.
#
# ## 5. A panel whose taste is known
#
# Does the analysis find the truth? That can be tested only where the truth is known, so here a
# program votes: **twenty simulated raters** with the strengths below, in logits, who differ a
# little from one another and from concept to concept. Nobody looked at a picture.

# %%
truth = {"plain": 0.0, "better": 0.7, "best": 1.6}  # made-up recipes
panel = adb.preference.panel.Panel(raters=20, spread=0.3, seed=0)
done = adb.teaching.rehearsal(truth, panel, concept_spread=0.2)
print(adb.preference.report.SIMULATED_NOTE)
print("votes:", len(done.votes), "| all simulated:", all(v.simulated for v in done.votes))

# %% [markdown]
# **Bradley-Terry** (1952) gives each recipe one strength $s$, so that $i$ beats $j$ with the
# probability $1/(1+e^{s_j-s_i})$. First the table of who beat whom, then the strengths: wins,
# divided by what the meetings would have paid at the present strengths, until nothing moves.

# %%
names = sorted(truth)
wins = np.zeros((3, 3))  # [i, j]: how often i beat j
for vote in done.votes:
    if vote.kind == "main" and vote.question == "overall":
        a, b = (names.index(name) for name in done.key[vote.pair])
        chosen = adb.preference.analysis.picked(done.study, vote)
        wins[(a, b) if chosen == "a" else (b, a)] += 1
s, met = np.ones(3), wins + wins.T
for _ in range(200):
    s = wins.sum(1) / (met / (s[:, None] + s)).sum(1)
    s /= np.exp(np.log(s).mean())  # only ratios count
by_hand = np.log(s)
assert np.allclose(by_hand, adb.preference.bradley_terry.bradley_terry(wins), atol=1e-6)
print("equal to the core's: True | order:", *(names[k] for k in np.argsort(-by_hand)))

# %%
found = adb.preference.analysis.order(done.study, done.key, done.votes, "overall")
rows = dict(zip(found.recipes, zip(*found.strengths[:3])))
centered = {name: value - np.mean(list(truth.values())) for name, value in truth.items()}
title = "Simulated panel: strengths with 95 % intervals"
adb.teaching.show(adb.plots.forest(rows, title, "logits", reference=0, truth=centered))
off = max(abs(rows[name][0] - centered[name]) for name in truth)
adb.teaching.fact("simulated: farthest from the truth, logits", off, between=(0, 0.3))

# %% [markdown]
# **Explain.** The order and the strengths come back. Two cautions belong beside every such table.
#
# *Many comparisons.* Three pairs of recipes by three questions are nine tests; of equal recipes one
# would "win" somewhere in up to 37 % of all studies. **Holm** (1979) multiplies the smallest p by
# 9, the next by 8, and so on.

# %%
compared = adb.preference.analysis.compare(done.study, done.key, done.votes)
p = np.array([c.p for c in compared])
first = np.argsort(p)
holm = np.minimum(1, np.maximum.accumulate(p[first] * np.arange(len(p), 0, -1)))
assert np.allclose(holm, [compared[k].adjusted for k in first])
print("comparisons:", len(p), "| equal to the core's: True")
adb.teaching.fact("one false alarm in nine tests", 100 * (1 - 0.95**9), between=(36, 38), unit="%")

# %% [markdown]
# *Careful raters.* If 80 % prefer one picture, two raters agree about it in $0.8^2+0.2^2$ = 68 %:
# agreement is low even where the preference is clear. Attention is what equal pictures measure.

# %%
careless = adb.teaching.rehearsal(truth, adb.preference.panel.Panel(20, lapses=0.4))
for name, one, band in (("careful", done, (99, 100)), ("careless", careless, (50, 70))):
    care = adb.preference.analysis.care(one.study, one.votes)
    agreed, every = care.agreement["overall"]
    print(f"simulated, {name}:")
    adb.teaching.fact("  two raters agree", 100 * agreed / every, between=(48, 72), unit="%")
    adb.teaching.fact("  consistent", 100 * care.consistent.value, between=(45, 80), unit="%")
    adb.teaching.fact("  saw equal pictures", 100 * care.caught.value, between=band, unit="%")

# %% [markdown]
# ## 6. Break it: more raters, the same three concepts
#
# Two recipes that are **equally good over all concepts**: one suits this individual better, the
# other that one. Three concepts, and raters who vote alike but for chance (simulated). Here is an
# interval that draws whole raters *and* whole concepts anew: their variances added, less that of
# single votes, which is in both (Cameron, Gelbach and Miller 2011).


# %%
def variance(groups, rng, resamples=400):  # of the mean of (g, n), drawing whole groups anew
    drawn = rng.integers(len(groups), size=(resamples, len(groups)))
    return groups.mean(1)[drawn].mean(1).var(ddof=1) * len(groups) / (len(groups) - 1)


def by_both(table, rng):  # (raters, concepts), 1 where the first recipe was preferred
    raters, concepts = variance(table, rng), variance(table.T, rng)
    both = raters + concepts - variance(table.reshape(-1, 1), rng)
    t = adb.preference.resampling.student_quantile(0.975, min(table.shape) - 1)
    half = t * max(both, raters, concepts) ** 0.5
    return table.mean() - half, table.mean() + half


# %%
def poll(raters, seed=1):
    rng = np.random.default_rng(seed)
    leaning = rng.normal(0, 1, 3)  # of each concept, in logits; 0 over all concepts
    return (rng.random((raters, 3)) < 1 / (1 + np.exp(-leaning))).astype(float)


# %%
table = poll(400)
both = np.stack([table, 1 - table], -1)  # (r, c, 2): votes for the one, for the other
wins = np.zeros((400, 3, 2, 2))
wins[..., 0, 1], wins[..., 1, 0] = both[..., 0], both[..., 1]
core = adb.preference.resampling.two_way_bootstrap(
    wins, lambda w: w[..., 0, 1, None] / w.sum((-1, -2))[..., None]
)
ours = by_both(table, np.random.default_rng(0))
near = np.allclose(ours, (core.low[0], core.high[0]), atol=0.1)
print("the ends agree with the core's two_way_bootstrap, but for chance:", near)
assert near

# %% [markdown]
# **Predict.** The true share is 50 %. An interval "at 95 %" should contain it in 95 % of studies.

# %%
guess = adb.teaching.predict(
    "With 400 raters in the place of 10, the interval of the votes contains the truth ...",
    ["more often", "as often", "less often"],
)
guess

# %%
rows = {}
for raters in (10, 50, 400):
    table = poll(raters)
    low, high = adb.preference.exact.exact_interval(int(table.sum()), table.size)
    wide = by_both(table, np.random.default_rng(0))
    for name, ends in (("votes", (low, high)), ("both", wide)):
        rows[f"{raters} raters, {name}"] = tuple(100 * x for x in (table.mean(), *ends))
title = "Simulated: two recipes that are equal over all concepts"
adb.teaching.show(adb.plots.forest(rows, title, "% of votes", reference=50))


# %%
def covers(interval, raters, studies, rng):
    """Share of studies of two equal recipes whose interval contains 0.5."""
    hits = 0
    for _ in range(studies):
        low, high = interval(poll(raters, rng.integers(2**31)))
        hits += low <= 0.5 <= high
    return hits / studies


def of_votes(table):
    return adb.preference.exact.exact_interval(int(table.sum()), table.size)


# %%
rng = np.random.default_rng(7)
for raters in (10, 50, 400):
    share = 100 * covers(of_votes, raters, 200, rng)
    print(f"{raters} raters, interval of votes: contains the truth in {share:.0f} % of 200 studies")
adb.teaching.fact("votes, 400 raters", share, between=(2, 25), unit="%")
both = 100 * covers(lambda t: by_both(t, rng), 50, 100, rng)
adb.teaching.fact("raters and concepts, 50 raters", both, between=(85, 100), unit="%")
guess.compare("less often")

# %% [markdown]
# **Explain.** With more raters the interval of votes gets narrower and **surer of the wrong
# thing**: it says ever better what people think of these three individuals; the question was about
# individuals in general. The honest interval stays wide; more concepts would narrow it.
#
# ## 7. What published studies say, and what they leave out
#
# Of AttnDreamBooth's study we know a summary: 68.0 % over Textual Inversion with DreamBooth, 83.4 %
# over ViCo. CoRe reports 64.7 % over AttnDreamBooth: 60 people, 1,200 answers about four methods,
# which makes about 300 for this one. A survey of 37 papers found most such studies impossible to
# repeat (Otani et al. 2023). Ask of every line, and of your own study:
#
# - **How many** people, votes, concepts, prompts? Only the last line allows an interval, and that
#   is of votes, not of raters and concepts.
# - **What was asked?** One choice mixes the individual with the prompt; without "no difference",
#   chance answers for the undecided.
# - **Who chose the pictures,** before or after seeing them?
# - **Did raters look, and agree?** We found neither repeats, nor equal pictures, nor agreement.
#
# ## Exercises
#
# ### Exercise 1 (easy, 5 minutes): consistent with oneself
#
# Answers to the same pairs at the first and at the second look: lists of `"left"`, `"right"` and
# `"same"`. At the second look the sides were **swapped**. Return the share of pairs about which the
# rater kept to one opinion.


# %% tags=["stub"] exercise="10.1"
def consistent(first, second):
    return ...


# %% tags=["solution"] exercise="10.1"
def consistent(first, second):
    swapped = {"left": "right", "right": "left", "same": "same"}
    return np.mean([swapped[a] == b for a, b in zip(first, second)])


# %% tags=["check"] exercise="10.1"
adb.teaching.check("10.1", consistent)

# %% [markdown]
# ### Exercise 2 (medium, 10 minutes): the chance to see it
#
# A recipe is preferred with the probability `share`, and `count` votes are cast. Return the chance
# that the exact two-sided test says p <= 0.05, whichever recipe it finds better. You may use
# `adb.preference.exact.exact_test(hits, count)`, which returns p, and `comb`.

# %% tags=["stub"] exercise="10.2"
from math import comb


def chance_to_see(count, share):
    return ...


# %% tags=["solution"] exercise="10.2"
from math import comb


def chance_to_see(count, share):
    return sum(
        comb(count, k) * share**k * (1 - share) ** (count - k)
        for k in range(count + 1)
        if adb.preference.exact.exact_test(k, count) <= 0.05
    )


# %% tags=["check"] exercise="10.2"
adb.teaching.check("10.2", chance_to_see)

# %% [markdown]
# ### Exercise 3 (medium, 10 minutes): a fair order
#
# Return a list of `(pair, first_left)`: every pair from 0 to `count - 1` once, in random order, and
# whether its first picture stands on the left, which shall be so for exactly half of them
# (`count` is even), at random. Draw with `rng`, a `numpy.random.Generator`.


# %% tags=["stub"] exercise="10.3"
def schedule(count, rng):
    return ...


# %% tags=["solution"] exercise="10.3"
def schedule(count, rng):
    sides = rng.permutation([True, False] * (count // 2))
    return list(zip(rng.permutation(count), sides))


# %% tags=["check"] exercise="10.3"
adb.teaching.check("10.3", schedule)

# %% [markdown]
# ### Exercise 4 (HARD, 15 minutes): does an interval keep its word?
#
# Two recipes are equally good over all concepts. Simulate `studies` studies of 30 raters and 4
# concepts: for each concept a leaning (normal, spread 1, in logits), for each vote 1 with the
# probability $1/(1+e^{-\text{leaning}})$, else 0. `interval` takes the table (30, 4) and returns
# (low, high). Return the share of studies in which it contains 0.5.


# %% tags=["stub"] exercise="10.4"
def coverage(interval, studies, rng):
    return ...


# %% tags=["solution"] exercise="10.4"
def coverage(interval, studies, rng):
    hits = 0
    for _ in range(studies):
        chance = 1 / (1 + np.exp(-rng.normal(0, 1, 4)))
        low, high = interval((rng.random((30, 4)) < chance).astype(float))
        hits += low <= 0.5 <= high
    return hits / studies


# %% tags=["check"] exercise="10.4"
adb.teaching.check("10.4", coverage)

# %% [markdown]
# ## Quiz

# %%
adb.teaching.quiz(*adb.teaching.questions("10"))

# %% [markdown]
# ## Summary
#
# - Blind, in random order and sides, with repeats and equal pictures: a study is designed before
#   anybody votes.
# - A share without its number of votes says nothing; 60 % takes about 200 votes to be seen.
# - Draw raters **and** concepts; many comparisons are corrected together.
#
# **Read next:** Clopper and Pearson, *Biometrika* 26 (1934); Bradley and Terry, *Biometrika* 39
# (1952); Otani et al., "Toward verifiable and reproducible human evaluation for text-to-image
# generation" ([arXiv 2304.01816](https://arxiv.org/abs/2304.01816)). **Next notebook:**
# [11 Where the time goes](11_faster.ipynb).
