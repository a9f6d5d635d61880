"""How many votes a study needs, for the preference that one hopes to see."""

from __future__ import annotations

from ..pictures import opened
from ..plots import power_curve, to_png
from ..preference.exact import power, votes_needed
from .panel import Panel, wide


class PowerCalculator(Panel):
    """Votes that it takes to see a true share, by the exact two-sided test.

    Attributes:
        share: the true share in percent, 55 to 95; wanted: the chance to see it, in percent; alpha:
            how often two equal recipes may be told apart by mistake; votes: how many there are,
            for the last part of the line.
    """

    titled = True

    def __init__(self, votes: int = 20):
        self.share = wide("IntSlider", "true share, %", min=55, max=95, value=65)
        self.wanted = wide("IntSlider", "power, %", min=50, max=95, step=5, value=80)
        self.alpha = wide("Dropdown", "alpha", options=[0.1, 0.05, 0.01], value=0.05)
        self.votes = wide("IntSlider", "your votes", min=5, max=500, step=5, value=votes)
        controls = [self.share, self.wanted, self.alpha, self.votes]
        super().__init__(controls, "How many votes does it take?")
        self.watch(self._refresh, *controls)

    def _refresh(self) -> None:
        share, wanted, alpha = self.share.value / 100, self.wanted.value / 100, self.alpha.value
        self.paint(opened(to_png(power_curve(share, alpha, wanted))))
        chance = power(self.votes.value, share, alpha)
        self.say(
            f"{self.share.value} % needs {votes_needed(share, alpha, wanted)} decided votes; "
            f"{self.votes.value} votes see it with a chance of {100 * chance:.0f} %"
        )
