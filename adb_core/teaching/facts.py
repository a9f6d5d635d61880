"""Numbers that a page states, with the band that they lie in on any machine.

A stored number differs in its last digits from processor to processor; a band does not. The strict
check of the notebooks (nbval) therefore masks what stands before "(expected", by the rule in
``notebooks/sanitize.cfg``, and compares the rest of the line.
"""

from __future__ import annotations

import math


class OutsideBand(AssertionError):
    """A number that a page states lies outside of its band; one line that says both."""


def fact(what: str, value: float, *, between: tuple[float, float], unit: str = "") -> None:
    """Print a number beside what was expected: ``what: 1.19 (expected 0.9 to 1.5)``.

    Args:
        what: what was measured, in words.
        value: a number, or something that ``float`` takes, as a tensor of one.
        between: the smallest and the largest value that the page's text is true for.
        unit: written behind the number and the band, as "%".

    Raises:
        OutsideBand: the value is outside of the band, or no number.
        ValueError: the band is upside down.
    """
    low, high = between
    if not low <= high:
        raise ValueError(f"the band of {what!r} is upside down: {low} to {high}")
    number = float(value)
    unit = f" {unit}" if unit else ""
    band = f"expected {low:g} to {high:g}{unit}"
    text = f"{what}: {_rounded(number)}{unit} ({band})"
    if not low <= number <= high:  # also where it is no number
        raise OutsideBand(f"{text}: if nothing above was changed, this page is wrong here")
    print(text)


def _rounded(number: float) -> str:
    """Three digits; whole numbers below a million in full."""
    if math.isfinite(number) and number == round(number) and abs(number) < 1e6:
        return str(int(number))
    return f"{number:.3g}"
