"""The panel that asks where to draw the line: what it accepts, and what it says."""

from __future__ import annotations

import numpy as np
import pytest

from adb_core.pictures import opened
from adb_core.widgets import ThresholdPanel
from adb_core.widgets.threshold import place


@pytest.mark.parametrize(("at", "shares"), [(-0.5, (1, 1)), (0.5, (0.75, 0.25)), (1.0, (0, 0))])
def test_it_says_what_a_threshold_accepts(at, shares):
    panel = ThresholdPanel([0.9, 0.8, 0.7, 0.4], [0.6, 0.1, 0.0, -0.2])
    panel.at.value = at
    assert panel.shares() == pytest.approx(shares)
    same, different = (f"{100 * share:.0f} %" for share in shares)
    assert panel.text.endswith(f"accepts {same} of the same and {different} of the different")


def test_its_line_moves_with_the_slider():
    panel = ThresholdPanel([0.9], [0.0])
    dark = []
    for at in (0.2, 0.6):
        panel.at.value = at
        row = opened(panel.picture.value)[12].astype(int).sum(-1)
        dark.append(int(np.argmin(row)))
    assert np.allclose(dark, [place(0.2), place(0.6)], atol=2)
