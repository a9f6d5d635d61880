"""From votes to answers: who is preferred, how sure that is, and how careful the raters were.

Only first views of a pair count for a recipe; second views and catch trials say how careful a
rater was. Ties are left out of exact counts, as a sign test does, and are half a win for each side
in Bradley-Terry. Votes of programs and of people are never counted together.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..metrics.significance import holm
from .agreement import Share, krippendorff_alpha, pairwise_agreement, share
from .bradley_terry import bradley_terry, check_order, smoothed
from .exact import exact_test
from .resampling import Estimates, two_way_bootstrap
from .study import LEFT, QUESTIONS, SAME, Study, StudyError, read_key
from .trials import CATCH, MAIN, REPEAT
from .votes import Vote, Votes

Key = Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Comparison:
    """One recipe against another, by one question.

    Attributes:
        won: votes for ``one`` of all that were decided, with the exact interval; the votes are
            taken as independent, which they are not quite: see ``wider``.
        ties: votes of no difference, which ``won`` leaves out.
        p: exact and two-sided; adjusted: for all comparisons of all questions (Holm).
        wider: (share, low, high) by resampling raters and concepts, a tie half a vote; the ends
            are not numbers if there is only one rater and one concept.
    """

    question: str
    one: str
    other: str
    won: Share
    ties: int
    p: float
    adjusted: float
    wider: tuple[float, float, float]


@dataclass(frozen=True)
class Order:
    """Strengths by one question (Bradley-Terry, logs with mean 0), strongest first."""

    question: str
    recipes: tuple[str, ...]
    strengths: Estimates


@dataclass(frozen=True)
class Care:
    """How careful the raters were, over all questions.

    Attributes:
        agreement: (pairs of raters with the same answer, all pairs); alpha: beyond chance.
        consistent: second views answered as the first; caught: catch trials answered "no
            difference"; left: decided votes for the picture on the left.
    """

    agreement: dict[str, tuple[int, int]]
    alpha: dict[str, float]
    consistent: Share
    caught: Share
    left: Share


def reveal(study: Study, votes: Votes) -> Key:
    """The key, once there are no votes to come.

    Raises:
        StudyError: there are, or the key is missing or was changed.
    """
    if missing := votes.missing():
        raise StudyError(
            f"{missing} trials are still to be answered, and the key stays closed until the "
            "last: wait, or end the study with --close"
        )
    return read_key(study)


def picked(study: Study, vote: Vote) -> str:
    """Which of the pair's pictures a vote is for: "a", "b" or "same"."""
    if vote.answer == SAME:
        return SAME
    chosen = vote.left if vote.answer == LEFT else vote.right
    return "a" if study.pair(vote.pair).a.startswith(chosen) else "b"


# ---------------------------------------------------------------- recipes


def win_table(
    study: Study, key: Key, votes: Sequence[Vote], question: str
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """The first views of one question, counted.

    Returns:
        recipes (k,); wins (r, c, k, k) by rater, concept, winner and loser; ties, the same shape,
        with each tie on both sides of the diagonal.
    """
    main = [v for v in votes if v.kind == MAIN and v.question == question]
    recipes = tuple(sorted({name for pair in key.values() for name in pair}))
    raters = {name: k for k, name in enumerate(dict.fromkeys(v.rater for v in main))}
    names = {name: k for k, name in enumerate(sorted({pair.concept for pair in study.pairs}))}
    shape = (len(raters), len(names), len(recipes), len(recipes))
    wins, ties = np.zeros(shape), np.zeros(shape)
    for vote in main:
        at = raters[vote.rater], names[study.pair(vote.pair).concept]
        a, b = (recipes.index(name) for name in key[vote.pair])
        choice = picked(study, vote)
        if choice == SAME:
            ties[at][a, b] += 1
            ties[at][b, a] += 1
        else:
            wins[at][(a, b) if choice == "a" else (b, a)] += 1
    return recipes, wins, ties


def compare(study: Study, key: Key, votes: Sequence[Vote]) -> list[Comparison]:
    """Every two recipes by every question, with one correction for all of them."""
    counted = {question: win_table(study, key, votes, question) for question in QUESTIONS}
    found = []
    for question, (recipes, wins, ties) in counted.items():
        for i, j in itertools.combinations(range(len(recipes)), 2):
            total = wins.sum((0, 1))
            decided = int(total[i, j] + total[j, i])
            tied = int(ties[..., i, j].sum())
            if decided + tied:
                won = share(int(total[i, j]), decided)
                wider = _wider(wins + ties / 2, i, j)
                found.append((question, recipes[i], recipes[j], won, tied, wider))
    p = {f[:3]: exact_test(f[3].hits, f[3].count) for f in found}
    adjusted = dict(zip(p, holm(list(p.values())).tolist(), strict=True))
    return [Comparison(*f[:5], p[f[:3]], adjusted[f[:3]], f[5]) for f in found]


def _wider(table: np.ndarray, i: int, j: int) -> tuple[float, float, float]:
    """The share of i against j, and its interval over raters and concepts."""
    two = table[:, :, [i, j]][..., [i, j]]  # (r, c, 2, 2)
    two = two[two.any((1, 2, 3))][:, two.any((0, 2, 3))]  # those who met this pair

    def logit(tables: np.ndarray) -> np.ndarray:
        """Of the first's share; half a vote for each side, since a draw may hold none."""
        return np.log((tables[..., 0, 1] + 0.5) / (tables[..., 1, 0] + 0.5))[..., None]

    got = two_way_bootstrap(two, logit)
    first, second = two[..., 0, 1].sum(), two[..., 1, 0].sum()
    low, high = (1 / (1 + np.exp(-float(end[0]))) for end in (got.low, got.high))
    ends = (low, high) if got.freedom else (np.nan, np.nan)
    return float(first / (first + second)), *ends


def order(study: Study, key: Key, votes: Sequence[Vote], question: str) -> Order:
    """Bradley-Terry strengths of all recipes by one question, with intervals.

    Raises:
        OrderError: recipes that no votes connect.
    """
    recipes, wins, ties = win_table(study, key, votes, question)
    table = wins + ties / 2
    check_order(table.sum((0, 1)), recipes)
    got = two_way_bootstrap(table, lambda tables: bradley_terry(smoothed(tables)))
    first = np.argsort(-got.values)
    strengths = Estimates(got.values[first], got.low[first], got.high[first], got.freedom)
    return Order(question, tuple(recipes[k] for k in first), strengths)


# ---------------------------------------------------------------- raters


def care(study: Study, votes: Sequence[Vote]) -> Care:
    """How careful the raters were; needs no key."""
    agreement, alpha = {}, {}
    first = {(v.rater, v.pair, v.question): picked(study, v) for v in votes if v.kind == MAIN}
    for question in QUESTIONS:
        items: dict[str, list[str]] = {}
        for (_, pair, asked), choice in first.items():
            if asked == question:
                items.setdefault(pair, []).append(choice)
        agreement[question] = pairwise_agreement(items)
        alpha[question] = krippendorff_alpha(items)
    again = [
        first[v.rater, v.pair, v.question] == picked(study, v)
        for v in votes
        if v.kind == REPEAT and (v.rater, v.pair, v.question) in first
    ]
    caught = [v.answer == SAME for v in votes if v.kind == CATCH]
    left = [v.answer == LEFT for v in votes if v.answer != SAME]
    shares = (share(sum(hits), len(hits)) for hits in (again, caught, left))
    return Care(agreement, alpha, *shares)


def careless(votes: Sequence[Vote]) -> dict[str, tuple[int, int]]:
    """Rater -> (catch answers that saw a difference where there is none, catch answers)."""
    tally: dict[str, list[bool]] = {}
    for vote in votes:
        if vote.kind == CATCH:
            tally.setdefault(vote.rater, []).append(vote.answer != SAME)
    return {rater: (sum(missed), len(missed)) for rater, missed in tally.items()}
