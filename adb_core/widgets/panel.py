"""What all widgets share: controls, a picture, a line of text, long work in a thread.

Nothing here uses ``interact`` or ``Output``, so that a notebook can move a control by code, print
the line and be checked. Works with ipywidgets 7.7 and 8.
"""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np
from PIL import Image

from .. import pictures, plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def wide(kind: str, description: str, **options) -> Any:
    """A control of ipywidgets with a label that is never cut off."""
    layout = options.pop("layout", {"width": "420px"})
    return getattr(ipywidgets, kind)(
        description=description, style={"description_width": "130px"}, layout=layout, **options
    )


def picture_box() -> ipywidgets.Image:
    """An image without a broken frame while there is nothing to show (see :func:`put`)."""
    layout = {"max_width": "100%", "align_self": "flex-start", "display": "none"}
    return ipywidgets.Image(format="png", value=b"", layout=layout)


def put(box: ipywidgets.Image, data: bytes) -> None:
    """Show PNG bytes in an ``Image`` widget, or hide it if there are none."""
    box.value = data
    box.layout.display = "block" if data else "none"


def quick_png(picture: np.ndarray | Image.Image) -> bytes:
    """PNG bytes at compression level 1, since a slider waits for them."""
    return pictures.png(picture, level=1)


def guarded(work: Callable[[], None], say: Callable[[str], None]) -> None:
    """Do ``work``; an error becomes a line of text, since nobody sees a callback's traceback."""
    try:
        work()
    except Exception as error:
        say(f"{type(error).__name__}: {error}")


class Panel:
    """Controls above, picture below, a line of text between them.

    Attributes:
        view: the widget to display; picture: its ``Image``; line: the ``HTML`` that says what is
            shown; titled: its pictures are figures that say in words where the controls stand, so
            that a filmstrip's need no labels, and stand two in a row, large enough to be read.
    """

    titled = False

    def __init__(self, controls: Sequence, title: str):
        self.line = ipywidgets.HTML(value="")
        self.picture = picture_box()
        self.controls = tuple(controls)
        heading = ipywidgets.HTML(f"<b>{html.escape(title)}</b>")
        self.view = ipywidgets.VBox([heading, *controls, self.line, self.picture])

    @property
    def text(self) -> str:
        """The line as plain text."""
        return html.unescape(self.line.value)

    def say(self, text: str) -> None:
        self.line.value = html.escape(text)

    def paint(self, picture: np.ndarray | Image.Image) -> None:
        put(self.picture, quick_png(picture))

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.view)

    def watch(self, refresh: Callable[[], None], *controls) -> None:
        """Call ``refresh`` whenever a control changes, and once now; errors go to the line."""

        def follow(_=None) -> None:
            guarded(refresh, self.say)

        for control in controls:
            control.observe(follow, names="value")
        follow()

    def filmstrip(self, control, values: Sequence) -> Figure:
        """The picture at several positions of a control, which then goes back to where it was.

        It shows on paper, and on pages without a kernel, what moving the control would.

        Args:
            control: one of this panel's; values: 3 to 5 of its positions.
        """
        before, frames, lines = control.value, [], []
        for value in values:
            control.value = value
            frames.append(pictures.opened(self.picture.value))
            lines.append(self.text)
        control.value = before
        labels = [f"{control.description}: {value}" for value in values]
        aspect = frames[0].shape[1] / frames[0].shape[0]
        said = "; ".join(lines)
        if self.titled:
            rows = [frames[k : k + 2] for k in range(0, len(frames), 2)]
            return plots.image_grid(rows, alt=said, size=4.4, height=4.4 / aspect)
        size = min(2.4, 9 / (aspect * len(frames)))
        return plots.image_grid([frames], column_labels=labels, alt=said, size=size)


class Worker:
    """One piece of long work in a thread, so that the kernel stays free; it can be asked to stop.

    Args:
        say: where its errors go. start, stop: buttons that are dead while there is nothing to
            start or to stop.
    """

    def __init__(self, say: Callable[[str], None], start, stop):
        self.say, self.start_button, self.stop_button = say, start, stop
        self.stopping = threading.Event()
        self.thread: threading.Thread | None = None
        stop.disabled = True
        stop.on_click(lambda _: self.stopping.set())

    @property
    def busy(self) -> bool:
        return self.thread is not None and self.thread.is_alive()

    def run(self, work: Callable[[], None]) -> None:
        """Start ``work`` unless something runs already."""
        if self.busy:
            return
        self.stopping.clear()
        self.start_button.disabled, self.stop_button.disabled = True, False

        def finish() -> None:
            try:
                guarded(work, self.say)
            finally:
                self.start_button.disabled, self.stop_button.disabled = False, True

        self.thread = threading.Thread(target=finish, daemon=True)
        self.thread.start()

    def wait(self, seconds: float | None = None) -> None:
        """Wait for the work, for scripts and tests."""
        if self.thread is not None:
            self.thread.join(seconds)
