"""Skips tests whose machine this is not (markers: pyproject.toml), and keeps tests apart."""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test asks the real hub for anything
# Side by side (pytest -n) each process takes its share of the cores, and so do those it starts:
# threads of two processes on one core wait for one another. Before torch is imported.
if (workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))) > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

ROOT = Path(__file__).resolve().parent.parent


def _no_gpu() -> bool:
    import torch

    return not torch.cuda.is_available()


def _no_browser() -> bool:
    return not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))


@pytest.fixture(autouse=True)
def own_accelerator():
    """Accelerate keeps one precision for a whole process; here every test may choose its own."""
    yield
    if "accelerate" in sys.modules:
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def random_base(monkeypatch, tmp_path):
    """The bundled model is a random one; others load as always. Returns the loads' list.

    The test runs in a folder of its own.
    """
    from models import tiny_base

    import adb_core.base

    loads, real = [], adb_core.base.load_base

    def load(name="tiny", **kwargs):
        loads.append(name)
        if name != "tiny":
            return real(name, **kwargs)
        kwargs.get("check", bool)(base := tiny_base())
        return base

    monkeypatch.setattr(adb_core.base, "load_base", load)
    monkeypatch.chdir(tmp_path)
    return loads


def _needs_peft(item) -> bool:
    """Whether a test is given a recipe with LoRA by its name."""
    from adb_core.recipes import RECIPES, recipe

    given = (
        item.callspec.params.values()
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        else ()
    )
    names = [value for value in given if isinstance(value, str) and value in RECIPES]
    return any(recipe(name).lora is not None for name in names)


def pytest_collection_modifyitems(items):
    """Mark as skipped what needs a device, a program or a package that is not here."""
    if find_spec("peft") is None:
        for item in items:
            if _needs_peft(item):
                item.add_marker(pytest.mark.skip(reason="needs the package peft"))
    for marker, is_missing, reason in (
        ("gpu", _no_gpu, "needs CUDA"),
        ("browser", _no_browser, "needs Chromium"),
    ):
        marked = [item for item in items if item.get_closest_marker(marker)]
        if marked and is_missing():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=reason))
