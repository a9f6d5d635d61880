"""CONTRIBUTING.md's table "To add X, touch Y", row by row on a copy of the repository.

Each row's addition is made by the edits that the table names and by nothing else, and one process
then uses all of them.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def insert(path: Path, before: str, text: str) -> None:
    """Put a text in front of a marker that occurs once."""
    source = path.read_text(encoding="utf-8")
    assert source.count(before) == 1, f"{path.name} has {source.count(before)} times {before!r}"
    path.write_text(source.replace(before, text + before), encoding="utf-8")


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


# ---------------------------------------------------------------- what is added


def add_recipe(root: Path) -> set[str]:
    """The same row in both tables."""
    for preset in ("tiny", "paper"):
        path = root / f"adb_core/recipes/{preset}.py"
        row = '    Recipe("only_stage_1",        (ALIGNMENT,)),\n'
        insert(path, '    Recipe("without_stage_1"', row)
    return {"adb_core/recipes/tiny.py", "adb_core/recipes/paper.py"}


LOSS = '''def energy(passed: Forward) -> Tensor:
    """Mean square of the prediction."""
    return passed.predicted.float().square().mean()


'''


def add_loss(root: Path) -> set[str]:
    """One function with its line in TERMS, and one field of Stage."""
    losses, stage = root / "adb_core/losses.py", root / "adb_core/recipes/stage.py"
    insert(losses, "# Name of a Stage's weight -> the loss", LOSS)
    text = losses.read_text(encoding="utf-8")
    terms = "TERMS: dict[str, Callable[[Forward], Tensor]] = {"
    assert terms in text
    losses.write_text(text.replace(terms, terms + '"energy_weight": energy, '), encoding="utf-8")
    insert(stage, '    prompts: tuple[str, ...] = ("a photo', "    energy_weight: float = 0.0\n")
    return {"adb_core/losses.py", "adb_core/recipes/stage.py"}


FAMILY = '''"""A model whose pictures are negatives."""

from torch import Tensor

from ..seam import Posterior
from .stable_diffusion import StableDiffusion


class Inverted(StableDiffusion):
    """A model whose pictures are negatives."""

    def encode_pictures(self, pixels: Tensor) -> Posterior:
        return super().encode_pictures(-pixels)
'''


def add_family(root: Path) -> set[str]:
    """One file with one class, and its line in FAMILIES."""
    (root / "adb_core/families/inverted.py").write_text(FAMILY, encoding="utf-8")
    path = root / "adb_core/families/__init__.py"
    insert(path, "from .stable_diffusion import", "from .inverted import Inverted\n")
    insert(path, '    "StableDiffusionPipeline": ', '    "InvertedPipeline": Inverted,\n')
    return {"adb_core/families/inverted.py", "adb_core/families/__init__.py"}


METRIC = '''def brightness(pictures: Pictures) -> np.ndarray:
    """Mean of all pixels, [0, 1]."""
    return pictures.images.mean((1, 2, 3)) / 255


'''


def add_metric(root: Path) -> set[str]:
    """One function, and its line in the registry."""
    path = root / "adb_core/metrics/registry.py"
    insert(path, "PICTURE_METRICS: dict[", METRIC)
    insert(path, '    "identity": identity,\n', '    "brightness": brightness,\n')
    return {"adb_core/metrics/registry.py"}


WIDGET = '''"""A gray square."""

import numpy as np

from .panel import Panel, wide


class GraySquare(Panel):
    """A square whose gray is chosen."""

    def __init__(self):
        self.gray = wide("IntSlider", "gray", min=0, max=255, value=9)
        super().__init__([self.gray], "How gray?")
        self.watch(self._refresh, self.gray)

    def _refresh(self) -> None:
        self.paint(np.full((8, 8, 3), self.gray.value, np.uint8))
        self.say(f"gray {self.gray.value}")
'''


def add_widget(root: Path) -> set[str]:
    """One file."""
    (root / "adb_core/widgets/gray.py").write_text(WIDGET, encoding="utf-8")
    return {"adb_core/widgets/gray.py"}


NOTEBOOK = """# %% [markdown]
# # 11 · One more
#
# {{badge}}

# %% tags=["bootstrap"]

# %%
import adb_core as adb


# %% tags=["stub"] exercise="11.1"
def double(x):
    return ...


# %% tags=["solution"] exercise="11.1"
def double(x):
    return 2 * x


# %% tags=["check"] exercise="11.1"
adb.teaching.check("11.1", double)
"""
CHECKS = '''"""Checks of notebook 11."""

from . import differs


def check_1(double) -> str | None:
    return differs(double(3), 6, "the double of 3")
'''


def add_notebook(root: Path) -> set[str]:
    """One source file, and its exercises' checks."""
    (root / "notebooks/src/11_one_more.py").write_text(NOTEBOOK, encoding="utf-8")
    (root / "adb_core/teaching/exercises/nb11.py").write_text(CHECKS, encoding="utf-8")
    return {"notebooks/src/11_one_more.py", "adb_core/teaching/exercises/nb11.py"}


ADDITIONS = {
    "recipe": add_recipe,
    "loss": add_loss,
    "base model family": add_family,
    "metric": add_metric,
    "widget": add_widget,
    "notebook": add_notebook,
}

# ---------------------------------------------------------------- and used

USE = """
import contextlib, io, json, sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from models import folder_of, short, tiny_base, tiny_concept
from typer.testing import CliRunner

import adb_core as adb
from adb_core.app.cli import app

root, used = Path(adb.__file__).parent.parent, {}
plan = short(adb.recipe("only_stage_1"))
shown = CliRunner().invoke(app, ["train", "--help"]).stdout
used["recipe"] = [
    [r.stage for r in adb.personalize(tiny_base(), tiny_concept(), plan, view_count=2).history],
    adb.recipe("only_stage_1", "paper").steps > 0,
    "only_stage_1" in "".join(shown.split()),
]

weighted = replace(plan, stages=(replace(plan.stages[0], energy_weight=0.5, lambda_mu=0.0),))
first = adb.personalize(tiny_base(), tiny_concept(), weighted, view_count=2).history[0]
used["loss"] = [
    sorted(first.further),
    abs(first.loss - first.diffusion - 0.5 * first.further["energy_weight"]) < 1e-5,
]

folder = folder_of(tiny_base(), Path(sys.argv[1]))
index = folder / "model_index.json"
index.write_text(index.read_text().replace('"StableDiffusionPipeline"', '"InvertedPipeline"'))
base = adb.load_base(str(folder), device="cpu")
history = adb.personalize(base, tiny_concept(), plan, view_count=2).history
used["base model family"] = [type(base).__name__, len(history)]

images = np.full((2, 4, 4, 3), 51, np.uint8)
values, _ = adb.metrics.score_pictures(images, [{}, {}], tiny_concept())
used["metric"] = [round(float(x), 6) for x in values["brightness"]]

from adb_core.widgets.gray import GraySquare
square = GraySquare()
square.gray.value = 200
used["widget"] = square.text

sys.path.insert(0, str(root / "tools"))
import notebooks
said = []
for solved in (False, True):
    cells = notebooks.build("11_one_more", solved=solved).cells
    code = [c.source for c in cells if c.cell_type == "code" and "start()" not in c.source]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec("\\n".join(code), {})
    said.append(out.getvalue().split(". ")[0].strip())
used["notebook"] = ["11_one_more" in notebooks.names(), *said]
print(json.dumps(used))
"""
EXPECTED = {
    "recipe": [["alignment", "alignment"], True, True],
    "loss": [["energy_weight"], True],
    "base model family": ["Inverted", 2],
    "metric": [0.2, 0.2],
    "widget": "gray 200",
    "notebook": [True, "Exercise 11.1: not yet", "Exercise 11.1: solved."],
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the sources with every addition, and the files that each of them touched."""
    root = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("adb_core", "tools", "notebooks/src"):
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    before = contents(root)
    touched = {}
    for name, add in ADDITIONS.items():
        named = add(root)
        after = contents(root)
        touched[name] = ({p for p in after if after[p] != before.get(p)}, named)
        before = after
    return root, touched


def contents(root: Path) -> dict[str, bytes]:
    paths = (p for p in root.rglob("*") if p.is_file())
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in paths}


@pytest.fixture(scope="module")
def used(copy, tmp_path_factory) -> dict:
    """What a process that uses all additions says of each."""
    root, _ = copy
    path = os.pathsep.join((str(root), str(ROOT / "tests")))
    env = os.environ | {"PYTHONPATH": path, "ADB_DATA": str(ROOT / "data")}
    model = tmp_path_factory.mktemp("model") / "inverted"
    command = [sys.executable, "-c", USE, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=root)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ADDITIONS)
def test_an_addition_works(used, name):
    assert used[name] == EXPECTED[name]


@pytest.mark.parametrize("name", ADDITIONS)
def test_an_addition_touches_what_the_table_names(copy, name):
    changed, named = copy[1][name]
    assert changed == named
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| an? {name} \|(.*)\|$", text, re.M)
    for file in named:  # the table names a new file by its folder
        assert f"`{file}`" in row or f"`{Path(file).parent.as_posix()}/" in row, file


def test_the_table_has_no_other_rows():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| an? ([\w ]+) \|", text, re.M)) == set(ADDITIONS)
