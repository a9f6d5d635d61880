"""Questions with folded answers, at the end of a page. Plain HTML: it works without a kernel."""

from __future__ import annotations

import html
from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """One question of a quiz.

    Attributes:
        text: the question. choices: of which ``answer`` is one.
        why: one sentence that is unfolded with the answer.

    Raises:
        ValueError: the answer is none of the choices.
    """

    text: str
    choices: tuple[str, ...]
    answer: str
    why: str

    def __post_init__(self):
        if self.answer not in self.choices:
            raise ValueError(f"{self.answer!r} is no choice of {self.text!r}: {self.choices}")


def quiz(*questions: Question) -> None:
    """Display questions with their choices; each answer unfolds at a click or a key.

    Raises:
        ValueError: there is no question.
    """
    from IPython.display import display

    if not questions:
        raise ValueError("a quiz needs at least one question")
    page = "\n".join(_fold(number, q) for number, q in enumerate(questions, start=1))
    display({"text/html": page, "text/plain": f"<quiz: {len(questions)} questions>"}, raw=True)


def _fold(number: int, question: Question) -> str:
    choices = "".join(f"<li>{html.escape(choice)}</li>" for choice in question.choices)
    return (
        f"<p><b>{number}.</b> {html.escape(question.text)}</p>\n"
        f'<ol type="a">{choices}</ol>\n'
        f"<details><summary>Answer</summary><p><b>{html.escape(question.answer)}.</b> "
        f"{html.escape(question.why)}</p></details>"
    )
