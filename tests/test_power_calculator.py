"""The power calculator: the exact test's numbers, by moving its controls."""

from __future__ import annotations

import numpy as np
import pytest

from adb_core import plots
from adb_core.pictures import opened
from adb_core.widgets import PowerCalculator


@pytest.mark.parametrize(("share", "votes"), [(60, 199), (65, 90), (70, 49), (80, 20)])
def test_it_says_how_many_votes_a_share_needs(share, votes):
    calculator = PowerCalculator()
    calculator.share.value = share
    assert calculator.text.startswith(f"{share} % needs {votes} decided votes; 20 votes see it")


def test_every_control_changes_what_it_says():
    calculator = PowerCalculator(votes=50)
    said, pictures = [calculator.text], [calculator.picture.value]
    for control, value in (("wanted", 90), ("alpha", 0.01), ("share", 80), ("votes", 5)):
        getattr(calculator, control).value = value
        said.append(calculator.text)
        pictures.append(calculator.picture.value)
    assert len(set(said)) == len(said)
    assert len(set(pictures)) == 4  # the curve does not depend on the votes at hand
    assert calculator.text.endswith("5 votes see it with a chance of 0 %")


def test_its_filmstrip_has_one_curve_a_share():
    calculator = PowerCalculator()
    figure = calculator.filmstrip(calculator.share, [60, 70, 80])
    alt = plots.alt_text(figure)
    assert alt.index("199") < alt.index("49 decided") < alt.index("80 % needs 20")
    shown = opened(plots.to_png(figure))
    assert shown.shape[1] > 800 and np.ptp(shown) > 100  # two in a row, large enough to be read
    paper = (shown == shown[0, 0]).all(-1)  # and hardly a row of it is empty
    assert paper.all(1).mean() < 0.25
    assert calculator.share.value == 65
