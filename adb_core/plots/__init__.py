"""Figures: pure functions from data to a ``matplotlib.figure.Figure``, no pyplot behind them.

Every color is explicit, so a figure reads the same on a light and on a dark page, and every
figure carries a text that says what it shows (:func:`alt_text`). Hues are those of Okabe and Ito,
which people with any of the common color blindnesses can tell apart.
"""

from .bars import beside_controls
from .curves import curves_alt, ratio_curves, training_curves
from .diagram import diagram
from .drift import DriftPoint, drift_alt, embedding_drift
from .figures import (
    CATEGORY_COLOR,
    FAINT,
    INK,
    OKABE_ITO,
    PAPER,
    V_COLOR,
    alt_text,
    legend,
    new_figure,
    set_alt_text,
    style_axes,
    to_png,
)
from .frontiers import by_complexity, complexity_alt, frontier, frontier_alt
from .grids import attention_grid, image_grid, image_rows, word_maps
from .panels import bar_panels, dot_panels
from .shares import attention_stack
from .snapshots import Snapshot, snapshot_figures
from .votes import forest, power_curve

__all__ = [
    "CATEGORY_COLOR",
    "DriftPoint",
    "FAINT",
    "INK",
    "OKABE_ITO",
    "PAPER",
    "Snapshot",
    "V_COLOR",
    "alt_text",
    "attention_grid",
    "attention_stack",
    "beside_controls",
    "bar_panels",
    "by_complexity",
    "complexity_alt",
    "curves_alt",
    "diagram",
    "dot_panels",
    "drift_alt",
    "embedding_drift",
    "forest",
    "frontier",
    "frontier_alt",
    "image_grid",
    "image_rows",
    "legend",
    "new_figure",
    "power_curve",
    "ratio_curves",
    "set_alt_text",
    "snapshot_figures",
    "style_axes",
    "to_png",
    "training_curves",
    "word_maps",
]
