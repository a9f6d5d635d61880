"""`import adb_core` is light, and its public names load when they are used."""

import ast
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import adb_core

HEAVY = {
    "accelerate", "diffusers", "ipywidgets", "IPython", "matplotlib", "numpy",
    "PIL", "resvg_py", "safetensors", "torch", "transformers", "typer",
}  # fmt: skip


def test_import_loads_nothing_heavy():
    """Looks at what a fresh interpreter has loaded, before and after, not at the clock."""
    code = (
        "import json, sys; before = set(sys.modules); import adb_core; adb_core.data_dir; "
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "adb_core" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("name", sorted(adb_core._SUBMODULE_OF))
def test_public_name_loads(name):
    value = getattr(adb_core, name)
    assert value.__doc__ or isinstance(value, tuple), f"{name} has no docstring"
    assert adb_core.__dict__[name] is value
    assert name in dir(adb_core)


def test_submodules_are_attributes():
    code = "import adb_core as adb; print(adb.plots.__name__, adb.recipes.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["adb_core.plots", "adb_core.recipes"]
    assert {"metrics", "plots", "teaching", "widgets"} <= set(dir(adb_core))


def test_the_stub_names_what_there_is():
    """Type checkers read ``__init__.pyi``: every public name and submodule, and no other."""
    tree = ast.parse(Path(adb_core.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    names = {a.asname for node in tree.body if isinstance(node, ast.ImportFrom) for a in node.names}
    assert names == set(adb_core._SUBMODULE_OF) | set(adb_core._SUBMODULES)


def test_no_public_name_is_a_submodule_too():
    """Importing a submodule sets an attribute of its name, which would hide the public name."""
    submodules = {module.name for module in pkgutil.iter_modules(adb_core.__path__)}
    assert not submodules & set(adb_core.__all__)


def test_dir_lists_what_is_not_loaded_yet():
    code = "import adb_core; print('data_dir' in vars(adb_core), 'data_dir' in dir(adb_core))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'adb_core' has no attribute 'no_such_name'"):
        adb_core.no_such_name  # noqa: B018
