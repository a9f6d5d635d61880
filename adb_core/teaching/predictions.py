"""A question that the reader can be wrong about, asked before the result is there."""

from __future__ import annotations

import html
from collections.abc import Sequence

import ipywidgets


class Prediction:
    """What was asked, and what the reader chose.

    Attributes:
        choice: the chosen answer, or None.
        view: the widget.
    """

    def __init__(self, question: str, choices: Sequence[str]):
        if len(choices) < 2 or len(set(choices)) < len(choices):
            raise ValueError(f"a prediction needs two different choices at least: {choices}")
        self.question, self.choices = question, tuple(choices)
        self._buttons = ipywidgets.RadioButtons(
            options=self.choices, value=None, layout={"width": "max-content"}
        )
        label = ipywidgets.HTML(f"<b>Predict.</b> {html.escape(question)}")
        self.view = ipywidgets.VBox([label, self._buttons])

    @property
    def choice(self) -> str | None:
        return self._buttons.value

    @choice.setter
    def choice(self, choice: str | None) -> None:
        self._buttons.value = choice

    def compare(self, answer: str) -> None:
        """Print what came out beside what was predicted.

        Args:
            answer: the choice that has turned out to be right.

        Raises:
            ValueError: it is none of the choices.
        """
        if answer not in self.choices:
            raise ValueError(f"{answer!r} was no choice: {', '.join(self.choices)}")
        if self.choice is None:
            comment = "You made no prediction: scroll up, choose, and run this cell again."
        elif self.choice == answer:
            comment = "You predicted it."
        else:
            comment = f"You predicted: {self.choice}. What made you think so?"
        print(f"It turned out: {answer}. {comment}")

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.view)


def predict(question: str, choices: Sequence[str]) -> Prediction:
    """Ask a question with choices, none of them chosen yet.

    Example, in two cells::

        guess = adb.teaching.predict("Which token gets most attention?", ["cat", "the start token"])
        guess
        ...
        guess.compare("the start token")

    Raises:
        ValueError: fewer than two choices, or one of them twice.
    """
    return Prediction(question, choices)
