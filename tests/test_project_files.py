"""The files around the code: workflow, hooks, citation, changes, and what make runs first."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import adb_core

ROOT = Path(__file__).resolve().parent.parent
WORKFLOW = ROOT / ".github" / "workflows" / "tests.yml"


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "schema, file",
    [
        ("vendor.github-workflows", ".github/workflows/tests.yml"),
        ("custom.github-workflows-require-timeout", ".github/workflows/tests.yml"),
        ("vendor.github-workflows", ".github/workflows/site.yml"),
        ("custom.github-workflows-require-timeout", ".github/workflows/site.yml"),
        ("vendor.citation-file-format", "CITATION.cff"),
    ],
)
def test_schemas(schema, file):
    """The schemas come with the checker: nothing is downloaded."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, file]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_workflow_runs_the_two_commands_on_three_systems():
    jobs = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
    systems = {*jobs["make"]["strategy"]["matrix"]["os"], jobs["windows"]["runs-on"]}
    assert systems == {"ubuntu-latest", "macos-latest", "windows-latest"}
    runs = {name: [s["run"] for s in job["steps"] if "run" in s] for name, job in jobs.items()}
    assert runs["make"] == ["make demo", "make test"]
    # Windows has no make: the README's lines for it, and all that `make test` runs.
    readme, words = text("README.md"), [run.replace("\\", "/") for run in runs["windows"]]
    assert words[0] == "python tools/setup_venv.py" and r"py -3 tools\setup_venv.py" in readme
    assert runs["windows"][1] in readme
    ours = [line for line in text(".ci/run").splitlines() if ".venv/bin/python" in line]
    assert [w.replace(".venv/Scripts/", "") for w in words[2:]] == [
        line.strip().replace(".venv/bin/", "") for line in ours
    ]


def test_make_test_begins_with_the_checks():
    recipe = re.search(r"^test: setup\n((?:.+\n)+)", text("Makefile"), re.M).group(1)
    commands = [line.strip("\t@") for line in recipe.splitlines() if line.startswith("\t")]
    assert commands[0] == "$(VENV_PYTHON) tools/check.py"
    ours = [line for line in text(".ci/run").splitlines() if ".venv/bin/python" in line]
    parallel = "$(or $(ARGS),-n auto --dist loadfile)"  # as many processes as cores
    assert parallel in commands[1]
    assert [c.replace("$(VENV_PYTHON)", "").replace(f" {parallel}", "") for c in commands] == [
        line.strip().removeprefix(".venv/bin/python") for line in ours
    ]


def test_hooks_use_what_is_installed():
    command = [sys.executable, "-m", "pre_commit", "validate-config", ".pre-commit-config.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    repos = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    hooks = {hook["id"]: hook for hook in repos[0]["hooks"]}
    assert all(hook["language"] == "system" for hook in hooks.values())
    assert list(hooks) == ["ruff-check", "ruff-format", "mypy", "house"]


def test_versions_agree():
    citation = yaml.safe_load(text("CITATION.cff"))
    assert citation["version"] == adb_core.__version__
    newest = re.search(r"^## (\S+)", text("CHANGELOG.md"), re.M).group(1)
    assert newest == adb_core.__version__


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "adb_core" / "py.typed").read_text() == ""
