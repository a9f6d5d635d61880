"""A slider through rows of pictures."""

from __future__ import annotations

import numpy as np
import pytest

from adb_core.pictures import opened
from adb_core.widgets import PictureSlider

ROWS = {1.0: [np.full((8, 8, 3), 10, np.uint8)] * 2, 3.0: [np.full((8, 8, 3), 200, np.uint8)] * 2}
SAID = {1.0: "dark", 3.0: "bright"}


def test_it_shows_the_row_and_the_sentence_of_a_position():
    panel = PictureSlider("guidance", ROWS, SAID, start=3.0)
    assert panel.text == "bright" and np.median(opened(panel.picture.value)) == 200
    panel.at.value = 1.0
    assert panel.text == "dark" and np.median(opened(panel.picture.value)) == 10


@pytest.mark.parametrize("rows, said", [({}, {}), (ROWS, {1.0: "dark"})])
def test_it_refuses_what_it_cannot_show(rows, said):
    with pytest.raises(ValueError, match="every position"):
        PictureSlider("guidance", rows, said)
