"""The first cell of a notebook on Colab, simulated.

A fresh environment, a stand-in for ``google.colab``, ipywidgets 7.7.1.

The source comes from a local git address. The environment sees the packages that are installed
here, as Colab has its own, except the project itself; none of them may be replaced.
"""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import notebooks as builder  # noqa: E402

pytestmark = [
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this copy is not a git repository"),
    pytest.mark.skipif(
        (ROOT / ".git/shallow").exists(),
        reason="pip fetches a shallow clone file by file, which takes very long",
    ),
]

AFTER = """
import ipywidgets, adb_core, numpy as np
from pathlib import Path
from adb_core.widgets import AttentionExplorer, BeforeAfter, FrontierExplorer
from adb_core.recording import Recording
print("ipywidgets", ipywidgets.__version__)
print("installed", "site-packages" in adb_core.__file__, adb_core.data_path("tiny-sd").is_dir())
name = "mid_block.attentions.0.transformer_blocks.0.attn2.processor"
layers = {name: np.random.rand(2, 1, 4, 4, 1).astype("float16")}
explorer = AttentionExplorer(Recording(np.zeros((64, 64, 3), "uint8"), "cat", ("cat",), layers))
explorer.step.value = 2
print("slider", "largest probability" in explorer.text, len(explorer.picture.value) > 500)
pair = BeforeAfter(np.zeros((4, 4, 3), "uint8"), np.ones((4, 4, 3), "uint8"))
pair.edge.value = 10
frontier = FrontierExplorer(adb_core.teaching.load_tracks())
frontier.at.value = 2
print("frontier", "joint" in frontier.text, len(frontier.picture.value) > 500)
from google.colab import output
print("manager", output.asked)
"""


@pytest.fixture(scope="module")
def colab(tmp_path_factory):
    """(python, folder): an environment with everything but the project, and Colab's ipywidgets."""
    folder = tmp_path_factory.mktemp("colab")
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    python = folder / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    packages = Path(
        subprocess.run(
            [python, "-c", "import site; print(site.getsitepackages()[0])"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )
    here = Path(next(p for p in site.getsitepackages() if Path(p, "torch").is_dir()))
    shared = (
        folder / "shared"
    )  # what is installed here, without the project, whose editable install would hide the test
    shared.mkdir()
    for entry in here.iterdir():
        if not entry.name.startswith(
            ("adb_core", "_adb_core", "ipywidgets", "pip", "__editable__")
        ):
            (shared / entry.name).symlink_to(entry)
    (packages / "shared.pth").write_text(f"{shared}\n")
    stub = folder / "stub" / "google" / "colab"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("from . import output\n")
    (stub / "output.py").write_text(
        "asked = False\ndef enable_custom_widget_manager():\n    global asked\n    asked = True\n"
    )
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "ipywidgets==7.7.1"],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    # a fresh environment's own setuptools is older than what is installed here, and would hide it
    subprocess.run(
        [python, "-m", "pip", "uninstall", "-q", "-y", "setuptools"],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return python, folder


def installed(python) -> dict[str, str]:
    code = (
        "import importlib.metadata as m\n"
        "for d in m.distributions(): print(d.metadata['Name'], d.version)"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())


def test_first_cell_installs_the_project_and_replaces_nothing(colab, monkeypatch, tmp_path):
    python, folder = colab
    if not (Path(sys.prefix) / "pyvenv.cfg").exists():
        pytest.skip("not run from a virtual environment")
    before = installed(python)
    assert before["ipywidgets"] == "7.7.1" and not {"adb-core", "adb_core"} & set(before)
    monkeypatch.setattr(builder, "ADDRESS", tmp_path / "address.txt")
    builder.ADDRESS.write_text(f"file://{ROOT}\n")
    cell = tmp_path / "cell.py"
    cell.write_text("import google.colab\n" + builder.bootstrap() + "\n" + AFTER)
    run = dict(
        cwd=tmp_path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={
            **os.environ,
            "PYTHONPATH": str(folder / "stub"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        },
    )
    for _ in range(2):  # the first cell may be run twice
        done = subprocess.run([python, cell], timeout=600, **run)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "ipywidgets 7.7.1" in done.stdout
        assert "installed True True" in done.stdout
        assert "slider True True" in done.stdout and "manager True" in done.stdout
        assert "frontier True True" in done.stdout
    after = installed(python)
    assert {name: version for name, version in after.items() if name in before} == before
    assert "adb-core" in after or "adb_core" in after


def test_first_cell_without_an_address_says_what_to_do(colab, tmp_path, monkeypatch):
    python, folder = colab
    monkeypatch.setattr(builder, "ADDRESS", tmp_path / "none.txt")
    hidden = "import importlib.util\nimportlib.util.find_spec = lambda name: None\n"
    done = subprocess.run(
        [python, "-c", hidden + builder.bootstrap()],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 1 and "does not know where its repository is" in done.stderr
