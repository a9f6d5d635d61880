"""The notebooks' controls: a slider where it says more than a sentence.

Every widget is a class whose ``view`` is an ordinary ``VBox`` of labelled controls, a picture and a
line of text that says in words what the picture shows. Nothing here uses ``interact`` or ``Output``,
so that a notebook can move a control by code, print the line and be checked. Works with ipywidgets
7.7 and 8. Long work runs in a thread, says so, can be stopped, and reports its errors in the widget.
"""

from __future__ import annotations

import html
import io
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from ..plots import CATEGORY_COLOR, FAINT, INK, PAPER, V_COLOR

if TYPE_CHECKING:
    from ..base import Base
    from ..concept import Concept
    from ..generation import Recording
    from ..plots import DriftPoint
    from ..recipes import Recipe

SIDE = 256  # pixels of one picture in a widget


# ---------------------------------------------------------------- pictures, quickly


def png(image: np.ndarray | Image.Image) -> bytes:
    """A uint8 (h, w, 3) picture as PNG bytes; level 1, since a slider waits for it."""
    stream = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def enlarge(image: np.ndarray, side: int = SIDE, smooth: bool = False) -> np.ndarray:
    """A uint8 (h, w, 3) picture scaled to ``side`` pixels in height."""
    h, w = image.shape[:2]
    size = (max(1, round(w * side / h)), side)
    return np.asarray(
        Image.fromarray(image).resize(size, Image.BICUBIC if smooth else Image.NEAREST)
    )


def overlay(
    image: np.ndarray, heat: np.ndarray, top: float | None = None, side: int = SIDE
) -> np.ndarray:
    """A map (y, x) in magma over the grey picture; ``top`` is the value of the brightest colour."""
    from matplotlib import colormaps

    top = float(heat.max()) if top is None else top
    scaled = np.clip(heat / max(top, 1e-12), 0, 1)
    coloured = (colormaps["magma"](scaled)[..., :3] * 255).astype(np.uint8)  # (y, x, 3)
    grey = enlarge(image, side).mean(-1, keepdims=True)
    heated = enlarge(coloured, side, smooth=True)
    heated = (
        np.asarray(Image.fromarray(heated).resize(grey.shape[1::-1]))
        if heated.shape[:2] != grey.shape[:2]
        else heated
    )
    return (0.35 * grey + 0.65 * heated).round().astype(np.uint8)


def side_by_side(*images: np.ndarray, gap: int = 8) -> np.ndarray:
    """Pictures of one height in a row on white."""
    space = np.full((images[0].shape[0], gap, 3), 255, np.uint8)
    parts = [part for image in images for part in (space, image)][1:]
    return np.concatenate(parts, axis=1)


def _font(size: int):
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow before 10.1
        return ImageFont.load_default()


def where(heat: np.ndarray) -> str:
    """The place of a map's maximum, in words."""
    y, x = np.unravel_index(int(np.argmax(heat)), heat.shape)
    vertical = ("top", "middle", "bottom")[3 * int(y) // heat.shape[0]]
    return f"{vertical} {('left', 'centre', 'right')[3 * int(x) // heat.shape[1]]}"


# ---------------------------------------------------------------- parts that all widgets share


def _w():
    import ipywidgets

    return ipywidgets


def wide(kind: str, description: str, **options):
    """A control with a label that is never cut off."""
    layout = options.pop("layout", {"width": "420px"})
    return getattr(_w(), kind)(
        description=description, style={"description_width": "130px"}, layout=layout, **options
    )


def _picture():
    """An image without a broken frame while there is nothing to show (see :func:`put`)."""
    return _w().Image(
        format="png",
        value=b"",
        layout={"max_width": "100%", "align_self": "flex-start", "display": "none"},
    )


def put(widget, data: bytes) -> None:
    """Show PNG bytes in an ``Image`` widget, or hide it if there are none."""
    widget.value = data
    widget.layout.display = "block" if data else "none"


class Panel:
    """Controls above, picture below, a line of text between them.

    Attributes:
        view: the widget to display; picture: its ``Image``; line: the ``HTML`` that says what is shown.
    """

    def __init__(self, controls: Sequence, title: str):
        w = _w()
        self.line = w.HTML(value="")
        self.picture = _picture()
        self.controls = tuple(controls)
        # explicit colours: the same on light and dark pages
        self.view = w.VBox(
            [w.HTML(f"<b>{html.escape(title)}</b>"), *controls, self.line, self.picture]
        )

    @property
    def text(self) -> str:
        """The line as plain text."""
        return html.unescape(self.line.value)

    def say(self, text: str) -> None:
        self.line.value = html.escape(text)

    def paint(self, image: np.ndarray | Image.Image) -> None:
        put(self.picture, png(image))

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.view)

    def watch(self, refresh: Callable[[], None], *controls) -> None:
        """Call ``refresh`` whenever a control's value changes, and once now; errors go to the line."""

        def guarded(_=None) -> None:
            try:
                refresh()
            except Exception as error:
                self.say(f"{type(error).__name__}: {error}")

        for control in controls:
            control.observe(guarded, names="value")
        guarded()


class _Worker:
    """One piece of long work in a thread, so that the kernel stays free; it can be asked to stop."""

    def __init__(self, panel: Panel, start, stop):
        self.panel, self.start_button, self.stop_button = panel, start, stop
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

        def guarded() -> None:
            try:
                work()
            except Exception as error:
                self.panel.say(f"{type(error).__name__}: {error}")
            finally:
                self.start_button.disabled, self.stop_button.disabled = False, True

        self.thread = threading.Thread(target=guarded, daemon=True)
        self.thread.start()

    def wait(self, seconds: float | None = None) -> None:
        """Wait for the work, for scripts and tests."""
        if self.thread is not None:
            self.thread.join(seconds)


# ---------------------------------------------------------------- attention


class AttentionExplorer(Panel):
    """Every map of a recorded picture: word x layer x sampling step x head.

    Example::

        explorer = AttentionExplorer(adb.record(base, "a photo of a red cat wearing a hat"))
        explorer.word.value = "hat"
        print(explorer.text)
    """

    def __init__(self, recording: Recording):
        self.recording = recording
        layers = [
            ("all layers, mean", ""),
            *((_layer_name(name, maps), name) for name, maps in recording.layers.items()),
        ]
        heads = min(maps.shape[1] for maps in recording.layers.values())
        self.word = wide(
            "Dropdown", "word", options=list(recording.words), value=recording.words[-1]
        )
        self.layer = wide("Dropdown", "layer", options=layers, value="")
        self.step = wide("IntSlider", "step (0 = mean)", min=0, max=recording.steps, value=0)
        self.head = wide("IntSlider", "head (0 = mean)", min=0, max=heads, value=0)
        super().__init__(
            [self.word, self.layer, self.step, self.head],
            f"Who looks at which word? {recording.prompt}",
        )
        self._plain = enlarge(recording.image)
        self.watch(self._refresh, self.word, self.layer, self.step, self.head)

    def _refresh(self) -> None:
        heat = self.recording.map(
            self.word.value,
            layer=self.layer.value or None,
            step=self.step.value - 1 if self.step.value else None,
            head=self.head.value - 1 if self.head.value else None,
        )
        self.heat = heat
        self.paint(side_by_side(self._plain, overlay(self.recording.image, heat)))
        self.say(
            f"'{self.word.value}': largest probability {heat.max():.2f} at the {where(heat)}, mean {heat.mean():.3f}"
        )


def _layer_name(name: str, maps: np.ndarray) -> str:
    """A short name of a layer: its block and its map's size."""
    parts = name.split(".")
    block = {"down_blocks": "down", "up_blocks": "up", "mid_block": "middle"}[parts[0]]
    number = f" {parts[1]}" if parts[1].isdigit() else ""
    which = next((p for before, p in zip(parts, parts[1:]) if before == "attentions"), "0")
    return f"{block}{number}.{which}, {maps.shape[2]} x {maps.shape[3]}"


# ---------------------------------------------------------------- drift


class DriftExplorer(Panel):
    """Where [V] was among the words, step by step.

    Args:
        points: in order; vocabulary: (n, 2) projected words; words: word -> its place, to be named.
    """

    def __init__(
        self,
        points: Sequence[DriftPoint],
        vocabulary: np.ndarray,
        words: Mapping[str, tuple[float, float]],
    ):
        self.points = list(points)
        self.at = wide(
            "IntSlider", "moment", min=0, max=len(self.points) - 1, value=len(self.points) - 1
        )
        super().__init__([self.at], "Where is [V] among the words?")
        path = np.array([p.at for p in self.points])
        everything = np.concatenate([np.asarray(vocabulary, float), path])
        low, high = everything.min(0), everything.max(0)
        self._to_pixels = lambda xy: (
            20 + (np.asarray(xy, float) - low) / np.maximum(high - low, 1e-9) * np.array([480, 280])
        )
        self._back = self._background(vocabulary, words)
        self.watch(self._refresh, self.at)

    def _background(self, vocabulary, words) -> Image.Image:
        picture = Image.new("RGB", (600, 320), PAPER)
        pen = ImageDraw.Draw(picture)
        for x, y in self._to_pixels(vocabulary):
            pen.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=FAINT)
        for word, place in words.items():
            x, y = self._to_pixels(place)
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=CATEGORY_COLOR)
            pen.text((x + 5, y - 7), word, fill=INK, font=_font(12))
        return picture

    def _refresh(self) -> None:
        picture, now = self._back.copy(), self.points[self.at.value]
        pen = ImageDraw.Draw(picture)
        path = [tuple(self._to_pixels(p.at)) for p in self.points[: self.at.value + 1]]
        if len(path) > 1:
            pen.line(path, fill=V_COLOR, width=2)
        x, y = path[-1]
        pen.ellipse((x - 6, y - 6, x + 6, y + 6), fill=V_COLOR, outline=INK)
        pen.text((x + 8, y - 8), "[V]", fill=INK, font=_font(14))
        self.paint(picture)
        near = ", ".join(f"{word} {cosine:.2f}" for word, cosine in now.drift.nearest[:3])
        self.say(
            f"step {now.step}: {now.drift.distance:.2f} from its start, cosine to the category {now.drift.cosine_to_category:.2f}; nearest: {near}"
        )


# ---------------------------------------------------------------- before and after


class BeforeAfter(Panel):
    """Two pictures of one size and a slider that wipes from one to the other."""

    def __init__(
        self, before: np.ndarray, after: np.ndarray, labels: tuple[str, str] = ("before", "after")
    ):
        if before.shape != after.shape:
            raise ValueError(
                f"the two pictures must have one size, got {before.shape} and {after.shape}"
            )
        self._pair, self.labels = (enlarge(before), enlarge(after)), labels
        self.edge = wide("IntSlider", f"{labels[0]} | {labels[1]}", min=0, max=100, value=50)
        super().__init__([self.edge], f"{labels[0]} and {labels[1]}")
        self.watch(self._refresh, self.edge)

    def _refresh(self) -> None:
        before, after = self._pair
        column = round(before.shape[1] * self.edge.value / 100)
        mixed = np.concatenate([before[:, :column], after[:, column:]], axis=1)
        if 0 < column < before.shape[1]:
            mixed[:, max(0, column - 1) : column + 1] = 255
        self.paint(mixed)
        self.say(f"left {self.edge.value} %: {self.labels[0]}; the rest: {self.labels[1]}")


# ---------------------------------------------------------------- prompts


class PromptBench(Panel):
    """Write a prompt, choose a seed and a guidance scale, see the picture of each model.

    Args:
        models: name -> Result, SavedResult or Base; prompts for results carry ``{}``.
        category: what ``{}`` becomes in a prompt for a base model, which knows no concept.
    """

    def __init__(
        self,
        models: Mapping[str, object],
        prompt: str = "a photo of a {} on the beach",
        steps: int = 25,
        guidance: float = 3.0,
        category: str = "{}",
    ):
        w = _w()
        self.models, self.steps, self.category = dict(models), steps, category
        self.prompt = wide("Text", "prompt", value=prompt, layout={"width": "640px"})
        self.seed = wide("IntSlider", "seed", min=0, max=99, value=0)
        self.guidance = wide("FloatSlider", "guidance", min=1.0, max=10.0, step=0.5, value=guidance)
        self.draw, self.stop = w.Button(description="Draw"), w.Button(description="Stop")
        super().__init__(
            [self.prompt, self.seed, self.guidance, w.HBox([self.draw, self.stop])],
            f"Prompt bench: {', '.join(self.models)}",
        )
        self.worker = _Worker(self, self.draw, self.stop)
        self.draw.on_click(lambda _: self.worker.run(self.work))
        self.say("press Draw")

    def work(self) -> None:
        """Draw one picture with every model, in the calling thread."""
        from ..generation import generate

        made = []
        for name, model in self.models.items():
            if self.worker.stopping.is_set():
                return self.say("stopped")
            self.say(f"drawing with {name} ...")
            prompt = (
                self.prompt.value
                if model.subject is not None
                else self.prompt.value.replace("{}", self.category)
            )
            made.append(
                enlarge(
                    generate(
                        model,
                        prompt,
                        [self.seed.value],
                        steps=self.steps,
                        guidance=self.guidance.value,
                    ).images[0]
                )
            )
            self.paint(side_by_side(*made))
        self.say(
            f"from left to right: {', '.join(self.models)}; seed {self.seed.value}, guidance {self.guidance.value:g}"
        )


# ---------------------------------------------------------------- the regularizer, retrained


class RegularizerPlayground(Panel):
    """Choose lambda_mu and lambda_sigma of each stage; see a precomputed point at once, or train the chosen one.

    Args:
        base, concept: what is trained; recipe: whose stages' weights are replaced by the sliders'.
        grid: of :func:`adb_core.widgets.playground.load_grid`, whose points have the same weights in every
            stage after the first; None leaves only the button.
        prompts: two or three, with ``{}``; drawn after training.
        values: what the sliders can be set to.
    """

    VALUES = (0.0, 0.1, 0.5, 2.0, 5.0, 20.0, 100.0)
    WEIGHTS = ("lambda_mu", "lambda_sigma")

    def __init__(
        self,
        base: Base,
        concept: Concept,
        recipe: Recipe,
        grid=None,
        prompts: Sequence[str] = ("a photo of a {} wearing a hat on the beach",),
        seed: int = 0,
        steps: int = 20,
        guidance: float = 3.0,
    ):
        w = _w()
        self.base, self.concept, self.recipe, self.grid = base, concept, recipe, grid
        self.prompts, self.seed, self.steps, self.guidance = list(prompts), seed, steps, guidance
        self.tried: list[tuple[str, np.ndarray]] = []
        self.sliders: dict[tuple[str, str], object] = {}
        rows = []
        for stage in recipe.stages:
            pair = []
            for name in self.WEIGHTS:
                values = sorted({*self.VALUES, getattr(stage, name)})
                slider = wide(
                    "SelectionSlider",
                    f"{stage.name}: {name}",
                    options=[(f"{v:g}", v) for v in values],
                    value=getattr(stage, name),
                    layout={"width": "360px"},
                    continuous_update=True,
                )
                slider.style.description_width = "170px"
                self.sliders[stage.name, name] = slider
                pair.append(slider)
            rows.append(w.HBox(pair, layout={"flex_flow": "row wrap"}))
        later = recipe.stages[1:]
        self.together = w.Checkbox(
            value=len(later) > 1,
            description="the same in all stages after the first",
            indent=False,
            disabled=len(later) < 2,
            layout={"width": "360px"},
        )
        for stage in later:
            for name in self.WEIGHTS:
                self.sliders[stage.name, name].observe(
                    lambda change, name=name: self._follow(name, change["new"]), names="value"
                )
        rows.append(self.together)
        self.train, self.stop = w.Button(description="Train this"), w.Button(description="Stop")
        self.progress = w.IntProgress(
            min=0, max=1, value=0, description="steps", layout={"width": "420px"}
        )
        self.curve, self.gallery = _picture(), _picture()
        self.status = w.HTML(value="")
        super().__init__(rows, f"The regularizer, on {concept.name}")
        self.view.children = (
            *self.view.children,
            w.HBox([self.train, self.stop, self.progress]),
            self.status,
            self.curve,
            self.gallery,
        )
        self.worker = _Worker(self, self.train, self.stop)
        self.worker.panel = _StatusOf(self)
        self.train.on_click(lambda _: self.worker.run(self.work))
        self.watch(self._look_up, *self.sliders.values())

    # ---- what the sliders say

    @property
    def chosen(self) -> Recipe:
        """The recipe with the sliders' weights."""
        stages = tuple(
            replace(s, **{name: self.sliders[s.name, name].value for name in self.WEIGHTS})
            for s in self.recipe.stages
        )
        return replace(self.recipe, name=f"{self.recipe.name} (playground)", stages=stages)

    def _label(self) -> str:
        return "; ".join(f"{s.name} {s.lambda_mu:g}/{s.lambda_sigma:g}" for s in self.chosen.stages)

    def _follow(self, name: str, value: float) -> None:
        """Move the same weight of the other later stages along, as long as the box is ticked."""
        if self.together.value:
            for stage in self.recipe.stages[1:]:
                self.sliders[stage.name, name].value = value

    def _look_up(self) -> None:
        """Show the precomputed point, or say that this one has to be trained."""
        point = self.grid.find(self.chosen) if self.grid is not None else None
        if point is None:
            put(self.picture, b"")
            there = f" (precomputed: {self.grid.axes})" if self.grid is not None else ""
            return self.say(
                f"{self._label()} (lambda_mu/lambda_sigma): not precomputed; press 'Train this'{there}"
            )
        put(self.picture, point.png)
        self.say(f"{self._label()} (lambda_mu/lambda_sigma), precomputed: {point.text}")

    # ---- training

    def work(self) -> None:
        """Train the chosen point in the calling thread, drawing the curve as it goes."""
        from ..generation import generate
        from ..personalization import Run

        plan, label, began = self.chosen, self._label(), time.monotonic()
        self._status("preparing ...")
        self.progress.max, self.progress.value = sum(s.steps for s in plan.stages), 0
        put(
            self.curve, png(live_curve([], self.progress.max))
        )  # at once: the photos' views take half a second
        run, drawn = Run(self.base, self.concept, plan, seed=self.seed), 0.0
        for record in run:
            history = run.result.history
            self.progress.value = len(history)
            if time.monotonic() - drawn > 0.5:
                drawn = time.monotonic()
                put(self.curve, png(live_curve(history, self.progress.max)))
                self._status(
                    f"training {label}: stage {record.stage}, step {record.step} of "
                    f"{record.steps}, loss {record.loss:.3f}"
                )
            if self.worker.stopping.is_set():
                return self._status(f"stopped after {len(history)} steps; nothing else has changed")
        put(self.curve, png(live_curve(run.result.history, self.progress.max)))
        self._status("drawing ...")

        made = generate(
            run.result,
            self.prompts,
            [self.seed],
            steps=self.steps,
            guidance=self.guidance,
        )
        self.tried.append((label, side_by_side(*(enlarge(image, 160) for image in made.images))))
        put(self.gallery, png(gallery(self.tried)))
        self._status(
            f"trained {label} in {time.monotonic() - began:.0f} s; the newest is at the bottom"
        )

    def _status(self, text: str) -> None:
        self.status.value = html.escape(text)


class _StatusOf:
    """Lets a worker report its errors in the playground's status line instead of the sliders' own."""

    def __init__(self, playground: RegularizerPlayground):
        self.say = playground._status


def live_curve(history: Sequence, total: int, size: tuple[int, int] = (640, 180)) -> Image.Image:
    """[V]'s and the category's mean attention over the steps so far; cheap enough to draw twice a second."""
    picture = Image.new("RGB", size, PAPER)
    pen, font = ImageDraw.Draw(picture), _font(12)
    left, right, top, bottom = 50, size[0] - 10, 24, size[1] - 24
    series = {"[V]": ("v_mean", V_COLOR), "category": ("category_mean", CATEGORY_COLOR)}
    values = {
        who: [(k, float(np.mean(v))) for k, r in enumerate(history) if (v := getattr(r, name))]
        for who, (name, _) in series.items()
    }
    highest = max([y for points in values.values() for _, y in points], default=1.0) * 1.05 or 1.0
    pen.rectangle((left, top, right, bottom), outline=INK)
    for share in (0, 0.5, 1):
        pen.text(
            (4, bottom - share * (bottom - top) - 7), f"{share * highest:.3f}", fill=INK, font=font
        )
    pen.text((left, bottom + 4), f"step {len(history)} of {total}", fill=INK, font=font)
    x_text = left
    for who, points in values.items():
        colour = series[who][1]
        scaled = [
            (left + k / max(total - 1, 1) * (right - left), bottom - y / highest * (bottom - top))
            for k, y in points
        ]
        if len(scaled) > 1:
            pen.line(scaled, fill=colour, width=2)
        pen.text((x_text, 4), f"mean attention of {who}", fill=colour, font=font)
        x_text += 190
    return picture


def gallery(tried: Sequence[tuple[str, np.ndarray]]) -> Image.Image:
    """What was tried, one labelled row each."""
    height = sum(image.shape[0] + 22 for _, image in tried)
    picture = Image.new("RGB", (max(max(image.shape[1] for _, image in tried), 520), height), PAPER)
    pen, y = ImageDraw.Draw(picture), 0
    for label, image in tried:
        pen.text((2, y + 3), label, fill=INK, font=_font(13))
        picture.paste(Image.fromarray(image), (0, y + 20))
        y += image.shape[0] + 22
    return picture
