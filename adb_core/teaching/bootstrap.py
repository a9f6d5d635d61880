"""What the first cell of every notebook calls. Light: it may have to say what is missing."""

from __future__ import annotations

import importlib
import importlib.util
import sys

OLDEST = (3, 10)  # Python; nothing keeps a Jupyter of one version from a kernel of another
NEEDED = ("torch", "diffusers", "transformers", "ipywidgets", "matplotlib")


def start() -> None:
    """Make this kernel ready, in JupyterLab, Colab and CI alike; twice does no harm.

    Raises:
        SystemExit: the kernel's Python is too old, or packages are missing; one line that says
            what to do.
    """
    if sys.version_info < OLDEST:
        raise SystemExit(
            "These notebooks need Python 3.10 or newer, and this kernel runs "
            f"{sys.version.split()[0]}: choose another kernel (README)."
        )
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SystemExit(
            f"This kernel lacks {', '.join(missing)}: "
            "run make setup, and choose the kernel of .venv (README)."
        )
    if "google.colab" in sys.modules:
        importlib.import_module("google.colab.output").enable_custom_widget_manager()


def problems() -> list[str]:
    """What is amiss with this machine or the data, each with its cure; empty if nothing is."""
    from ..app.doctor import examine

    return examine().problems
