"""Checks of notebook 10, and the questions at its end."""

from __future__ import annotations

import numpy as np

from ...preference.exact import exact_test, power, probabilities
from ..quizzes import Question
from . import differs

QUIZ = (
    Question(
        "A study reports 65 % of 20 votes. What is known?",
        ("One recipe is better", "The true share lies between 41 and 85 %", "Nothing at all"),
        "The true share lies between 41 and 85 %",
        "The exact interval of 13 of 20 at 95 %; it contains 50 %.",
    ),
    Question(
        "Why is each pair's first picture on the left for half of the pairs?",
        ("It looks better", "Some people press left more often", "The key needs it"),
        "Some people press left more often",
        "A habit then helps both recipes alike.",
    ),
    Question(
        "Two raters agree about a picture in 68 % of pairs. What does that say of their care?",
        ("They are careless", "Nothing: 80 % for one picture gives as much", "They are careful"),
        "Nothing: 80 % for one picture gives as much",
        "0.8 x 0.8 + 0.2 x 0.2 = 0.68; care is measured by repeats and equal pictures.",
    ),
    Question(
        "400 raters judged 3 concepts. What narrows the honest interval most?",
        ("400 more raters", "More votes of each rater", "More concepts"),
        "More concepts",
        "The concepts are the smaller sample, and their variance is not divided by the raters.",
    ),
    Question(
        "You count votes after every rater and stop when p is below 0.05. What is wrong?",
        ("Nothing", "Equal recipes get there as well, in time", "The interval gets too wide"),
        "Equal recipes get there as well, in time",
        "Every look is another chance of a false alarm; the number is planned before.",
    ),
)


def check_1(consistent) -> str | None:
    first = ["left", "right", "same", "left", "right", "left", "same", "left"]
    second = ["right", "left", "same", "left", "left", "right", "left", "right"]
    got = consistent(first, second)
    for sentence, value in {
        "sides are swapped at the second look: the same picture is then on the other side": 2 / 8,
        "that is a count: divide by how many pairs there are": 6,
        "a pair that is the same twice is consistent, too": 5 / 8,
        "those are the pairs that changed: count the others": 2 / 8,
    }.items():
        if got is not None and differs(got, value) is None:
            return sentence
    return differs(got, 6 / 8, "the share")


def check_2(chance_to_see) -> str | None:
    for count, share in ((20, 0.8), (49, 0.7), (30, 0.5), (5, 0.9)):
        chances = probabilities(count, share)
        p = np.array([exact_test(k, count) for k in range(count + 1)])
        many = np.arange(count + 1) > count / 2
        got = chance_to_see(count, share)
        wanted = power(count, share)
        if differs(got, wanted) is None:
            continue
        for sentence, value in {
            "that is the one-sided test: double the tail": chances[many & (p <= 0.1)].sum(),
            "a result against the recipe is significant, too: both ends count": chances[
                many & (p <= 0.05)
            ].sum(),
            "that is how often it is missed: take the others": 1 - wanted,
        }.items():
            if got is not None and differs(got, value) is None:
                return sentence
        return differs(got, wanted, f"the chance with {count} votes at a share of {share}")
    return None


def check_3(schedule) -> str | None:
    rng, count, rounds = np.random.default_rng(0), 8, 400
    made = [schedule(count, rng) for _ in range(rounds)]
    if made[0] is ... or made[0] is None:
        return differs(made[0], 0, "the schedule")
    try:
        table = np.array([[(int(p), bool(left)) for p, left in one] for one in made])
    except (TypeError, ValueError):
        return "it should return one (pair, first_left) for each pair"
    if table.shape != (rounds, count, 2):
        return f"it gave {table.shape[1]} trials, and there are {count} pairs"
    if not (np.sort(table[..., 0]) == np.arange(count)).all():
        return "a pair comes twice or not at all: shuffle the numbers from 0"
    if (table[..., 1].sum(1) != count // 2).any():
        return (
            "the sides are not balanced: in some schedules the first picture is on the left in "
            "more than half of the pairs. Shuffle as many of one side as of the other"
        )
    if (table[:, 0, 0] == table[0, 0, 0]).all():
        return "every schedule begins with the same pair: draw the order at random"
    pairs = [np.mean(table[table[..., 0] == k][:, 1]) for k in range(count)]
    places = table[..., 1].mean(0)
    if max(abs(np.array([*pairs, *places]) - 0.5)) > 0.15:
        return "the side can be guessed from the pair or the place: shuffle the sides on their own"
    return None


def check_4(coverage) -> str | None:
    rng, seen = np.random.default_rng(0), []

    def always(votes):
        seen.append(np.asarray(votes, dtype=float))
        return 0.0, 1.0

    got = coverage(always, 300, rng)
    if wrong := differs(got, 1.0, "the coverage of an interval from 0 to 1"):
        return wrong
    if wrong := differs(coverage(lambda votes: (0.6, 1.0), 20, rng), 0.0, "of one above the truth"):
        return wrong
    if len(seen) != 300 or seen[0].shape != (30, 4):
        shape = seen[0].shape if seen else "nothing"
        return f"interval should get one table (30, 4) a study; it got {len(seen)}, {shape}"
    tables = np.array(seen)  # (n, 30, 4)
    if not np.isin(tables, (0, 1)).all():
        return "a vote is 0 or 1: draw it with the probability, do not hand the probability on"
    liking = tables.mean(1)  # (n, 4): spread about 0.21, with the votes' own 0.08
    if not 0.15 < liking.std() < 0.28:
        return (
            f"the concepts' shares scatter by {liking.std():.2f}, expected about 0.22: draw one "
            "leaning a concept from a normal of spread 1, for all raters of a study"
        )
    if abs(liking.mean() - 0.5) > 0.05:
        return f"the mean share over all studies is {liking.mean():.2f}: the two should be equal"
    if np.abs(np.corrcoef(liking.T)[np.triu_indices(4, 1)]).max() > 0.3:
        return "all concepts of a study lean the same way: draw a leaning for each"
    return None
