"""The notebooks' controls: a slider where it says more than a sentence.

Every widget is a class whose ``view`` is an ordinary ``VBox`` of labeled controls, a picture and a
line of text that says in words what the picture shows. Long work runs in a thread, says so, can be
stopped, and reports its errors in the widget.
"""

from .attention import AttentionExplorer
from .before_after import BeforeAfter
from .canvas import Canvas
from .drift import DriftExplorer
from .forming import FormingMaps
from .frontier import FrontierExplorer
from .panel import Panel, Worker, wide
from .picture_slider import PictureSlider
from .playground import RegularizerPlayground
from .power import PowerCalculator
from .preference import PreferencePanel
from .prompt_bench import PromptBench
from .threshold import ThresholdPanel

__all__ = [
    "AttentionExplorer",
    "BeforeAfter",
    "Canvas",
    "DriftExplorer",
    "FormingMaps",
    "FrontierExplorer",
    "Panel",
    "PictureSlider",
    "PowerCalculator",
    "PreferencePanel",
    "PromptBench",
    "RegularizerPlayground",
    "ThresholdPanel",
    "Worker",
    "wide",
]
