"""A study in words and as a table: what is known, how sure it is, and what is still closed."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from .agreement import Share
from .analysis import Care, Comparison, Key, Order, care, careless, compare, order
from .bradley_terry import OrderError
from .exact import votes_needed
from .study import LEFT, QUESTIONS, RIGHT, SAME, Study
from .votes import Vote, Votes

SIMULATED_NOTE = "SIMULATED RATERS: a program voted, nobody looked at these pictures"
COLUMNS = (
    "rater", "simulated", "trial", "kind", "pair", "concept", "prompt", "seed", "question",
    "answer", "left_picture", "right_picture", "milliseconds", "at",
)  # fmt: skip


def progress(study: Study, votes: Votes) -> list[str]:
    """What may be said while the key is closed: who has answered how much."""
    raters = votes.raters()
    lines = [SIMULATED_NOTE] if any(raters.values()) else []
    lines.append(
        f"{len(study.pairs)} pairs of {len(study.photos)} concepts; "
        f"{len(raters)} of {study.design.raters} raters"
    )
    lines += [f"  {name}: {len(votes.done(name))} trials answered" for name in raters]
    lines.append(f"trials still to be answered: {votes.missing()}")
    return lines


def results(study: Study, key: Key, votes: Sequence[Vote]) -> list[str]:
    """All that the votes say, line by line; the key has been opened."""
    lines = [SIMULATED_NOTE, ""] if any(v.simulated for v in votes) else []
    if not votes:
        return [*lines, "no votes: there is nothing to say"]
    comparisons = compare(study, key, votes)
    raters = len({v.rater for v in votes})
    lines += [
        f"{raters} raters, {len(study.photos)} concepts, {len(study.pairs)} pairs. The first "
        "interval and p take every vote as independent; the second",
        "interval allows for other raters and other concepts, and is the one to trust where they "
        "differ.",
        f"Holm's correction is for all {len(comparisons)} comparisons.",
        "",
    ]
    for question, words in QUESTIONS.items():
        lines.append(words)
        lines += [_compared(c) for c in comparisons if c.question == question]
        if len({name for pair in key.values() for name in pair}) > 2:
            try:
                lines += _ordered(order(study, key, votes, question))
            except OrderError as error:
                lines.append(f"  no order: {error}")
    return [*lines, "", *_careful(care(study, votes)), *_missed(votes)]


def percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _compared(c: Comparison) -> str:
    if not c.won.count:
        return f"  {c.one} over {c.other}: all {c.ties} votes see no difference"
    _, low, high = c.wider
    wider = "" if low != low else f"; over raters and concepts {percent(low)} to {percent(high)}"
    return (
        f"  {c.one} over {c.other}: {c.won.hits} of {c.won.count}, {_share(c.won)}"
        f"{wider}; {c.ties} ties; p {c.p:.3g}, {c.adjusted:.3g} after Holm"
    )


def _share(s: Share) -> str:
    return f"{percent(s.value)} ({percent(s.low)} to {percent(s.high)})" if s.count else "none"


def _ordered(o: Order) -> list[str]:
    ends = zip(o.recipes, *o.strengths[:3], strict=True)
    return [
        "  order, as Bradley-Terry strengths in logits:",
        *(f"    {name}: {value:+.2f} ({low:+.2f} to {high:+.2f})"
          for name, value, low, high in ends),
    ]  # fmt: skip


def _careful(c: Care) -> list[str]:
    lines = ["How careful the raters were"]
    for question, (same, every) in c.agreement.items():
        if every:
            alpha = c.alpha[question]
            lines.append(
                f"  {question}: two raters agree in {percent(same / every)} of {every} pairs of "
                f"answers; beyond chance (Krippendorff's alpha) {alpha:.2f}"
            )
    lines.append(f"  the same answer at a second look, sides swapped: {_share(c.consistent)}")
    lines.append(f"  no difference between a picture and itself: {_share(c.caught)}")
    lines.append(f"  the left picture, where one was chosen: {_share(c.left)}")
    return lines


def _missed(votes: Sequence[Vote]) -> list[str]:
    """Who saw differences where there are none; nobody is left out for it, but it is said."""
    return [
        f"  {rater} saw a difference in {missed} of {count} answers on equal pictures"
        for rater, (missed, count) in careless(votes).items()
        if 2 * missed > count
    ]


def planned(share: float, alpha: float = 0.05, wanted: float = 0.8) -> str:
    """How many votes it takes, as a sentence."""
    return (
        f"to see {percent(share)} (exact two-sided test, alpha {alpha:g}, power {wanted:g}): "
        f"{votes_needed(share, alpha, wanted)} decided votes"
    )


def as_csv(study: Study, votes: Sequence[Vote], key: Key | None) -> str:
    """One row a vote; the recipes on the left and right, and the chosen one, with the key alone."""
    stream = io.StringIO()
    more = ("left_recipe", "right_recipe", "chosen_recipe") if key else ()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*COLUMNS, *more])
    for v in votes:
        pair = study.pair(v.pair)
        row = [v.rater, int(v.simulated), v.trial, v.kind, v.pair, pair.concept, pair.prompt,
               pair.seed, v.question, v.answer, v.left, v.right, v.milliseconds,
               f"{v.at:.3f}"]  # fmt: skip
        if key:
            a, b = key[v.pair]
            left, right = (a if pair.a.startswith(side) else b for side in (v.left, v.right))
            row += [left, right, {LEFT: left, RIGHT: right, SAME: ""}[v.answer]]
        writer.writerow(row)
    return stream.getvalue()
