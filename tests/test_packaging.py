"""The files that say what to install agree, and an installed wheel is complete."""

import os
import re
import runpy
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DIRECT = [
    Requirement(line)
    for line in (*PROJECT["dependencies"], *(r for extra in EXTRAS.values() for r in extra))
]
CONSTRAINT_LINES = [
    line
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line[:1] not in ("", "#")
]
# bitsandbytes serves NVIDIA GPUs alone, and a large download is its price; c2pa-python signs what
# nobody trusts without a real certificate; av is one of 36 MB for MP4 alone, where GIF and WebP
# need nothing
NOT_BY_MAKE = {"c2pa", "gpu", "mp4"}
JUNK = {".DS_Store", "__pycache__", ".ipynb_checkpoints"}

PLATFORMS = [
    {
        "sys_platform": "linux",
        "os_name": "posix",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
    },
    {
        "sys_platform": "darwin",
        "os_name": "posix",
        "platform_system": "Darwin",
        "platform_machine": "arm64",
    },
    {
        "sys_platform": "win32",
        "os_name": "nt",
        "platform_system": "Windows",
        "platform_machine": "AMD64",
    },
]
PYTHONS = ["3.10.13", "3.11.7", "3.12.1", "3.13.0"]
ENVIRONMENTS = [
    {**platform, "python_version": python.rpartition(".")[0], "python_full_version": python}
    for platform in PLATFORMS
    for python in PYTHONS
]


def applies(requirement: Requirement, environment: dict | None = None) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(environment)


def pins(environment: dict | None = None) -> dict[str, str]:
    """Name -> version of the pins of constraints.txt that count in `environment`, or here."""
    active = [r for r in map(Requirement, CONSTRAINT_LINES) if applies(r, environment)]
    names = [canonicalize_name(r.name) for r in active]
    assert len(names) == len(set(names)), "a package is pinned twice"
    return {
        name: str(r.specifier).removeprefix("==") for name, r in zip(names, active, strict=True)
    }


# ---- constraints.txt


@pytest.mark.parametrize("line", CONSTRAINT_LINES)
def test_constraint_is_one_exact_public_version(line):
    requirement = Requirement(line)
    assert requirement.url is None and not requirement.extras
    assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(requirement.specifier)), (
        "an exact version, no local part"
    )


@pytest.mark.parametrize(
    "environment", ENVIRONMENTS, ids=lambda e: f"{e['sys_platform']}-{e['python_version']}"
)
def test_every_direct_dependency_is_pinned_inside_its_range(environment):
    pinned = pins(environment)
    for requirement in DIRECT:
        if applies(requirement, environment):
            name = canonicalize_name(requirement.name)
            assert name in pinned, f"{name} is not in constraints.txt"
            assert pinned[name] in requirement.specifier


def test_everything_they_bring_in_is_pinned():
    """Follows the metadata of what is installed here, from the direct dependencies on."""
    pinned, seen = pins(), set()
    absent = {Requirement(line).name for extra in NOT_BY_MAKE for line in EXTRAS[extra]}
    queue = [r for r in DIRECT if applies(r) and r.name not in absent]
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        key = (name, frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        assert name in pinned, f"{name} is not in constraints.txt"
        for line in metadata.requires(requirement.name) or ():
            needed = Requirement(line)
            if any(applies(needed, {"extra": extra}) for extra in ("", *requirement.extras)):
                queue.append(needed)


def test_torch_is_the_expected_release():
    assert {pins(environment)["torch"] for environment in ENVIRONMENTS} == {"2.13.0"}


def test_the_oldest_versions_that_are_promised_are_those_that_are_tried():
    tried = runpy.run_path(str(ROOT / "tools" / "oldest.py"))["bounds"]()
    ranges = {r.name: str(r.specifier) for r in DIRECT}
    assert set(tried) == {"torch", "diffusers", "transformers", "accelerate"}
    assert all(ranges[name] == f">={version}" for name, version in tried.items())
    assert f"torch {tried['torch']} or newer" in (ROOT / "README.md").read_text(encoding="utf-8")


# ---- environment.yml


def test_conda_environment_agrees_with_pyproject():
    *conda, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    ranges = {canonicalize_name(r.name): r.specifier for r in DIRECT}
    ranges |= {"python": SpecifierSet(PROJECT["requires-python"]), "pip": SpecifierSet()}
    for requirement in map(Requirement, conda):
        assert requirement.specifier == ranges[canonicalize_name(requirement.name)]
    constraint, editable = pip["pip"]
    assert constraint == "-c constraints.txt"
    extras = re.fullmatch(r"-e \.\[([\w,]+)\]", editable).group(1).split(",")
    assert set(extras) == set(EXTRAS) - NOT_BY_MAKE


def test_set_up_script_installs_every_extra():
    script = (ROOT / "tools" / "setup_venv.py").read_text()
    extras = re.search(r'REQUIREMENT = "\.\[([\w,]+)\]"', script).group(1).split(",")
    assert set(extras) == set(EXTRAS) - NOT_BY_MAKE


# ---- the built distributions


def files_below(folder: Path) -> dict[str, bytes]:
    """Relative path -> content of every file that belongs to `folder`."""
    paths = (p for p in folder.rglob("*") if p.is_file() and not JUNK & set(p.parts))
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder of a freshly built sdist, and of the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    # -I: nothing of the current folder is imported, so that a `build` folder here can't be
    command = [
        sys.executable,
        "-I",
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        str(out),
        str(ROOT),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """The Python of an environment that holds the wheel, and sees this one's other packages."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ask = [python, "-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site_packages = Path(
        subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    )
    # .pth files count only in a site folder itself, so an editable install in the folders
    # named here (a .pth file that leads to the checkout) stays unseen.
    others = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site_packages / "others.pth").write_text("\n".join(others) + "\n")
    (wheel,) = built.glob("*.whl")
    pip = [
        sys.executable,
        "-I",
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        wheel,
    ]
    done = subprocess.run(pip, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return python


def test_wheel_holds_the_package_and_the_data_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {
            name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name
        }
    wanted = {
        f"adb_core/{name}": content for name, content in files_below(ROOT / "adb_core").items()
    }
    wanted |= {
        f"adb_core/_data/{name}": content for name, content in files_below(ROOT / "data").items()
    }
    assert sorted(held) == sorted(wanted)
    assert [name for name in wanted if held[name] != wanted[name]] == []


def test_sdist_holds_what_a_checkout_needs(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        "pyproject.toml",
        "constraints.txt",
        "environment.yml",
        "Makefile",
        "LICENSE",
        "README.md",
    }
    wanted |= {
        "tools/setup_venv.py",
        "tests/test_packaging.py",
        "data/README.md",
        "adb_core/__init__.py",
    }
    assert wanted <= held
    assert not any(name.startswith((".venv", "out/", ".git/")) for name in held)


IN_THE_INSTALLED_ENVIRONMENT = """
import sys
from pathlib import Path
import adb_core
root, names, prefix = sys.argv[1], sys.argv[2:], Path(sys.prefix).resolve()
assert root not in sys.path, sys.path
assert prefix in Path(adb_core.__file__).resolve().parents, adb_core.__file__
data = adb_core.data_dir()
assert prefix in data.resolve().parents, data
for name in names:
    assert adb_core.data_path(name).is_file(), name
print(adb_core.__version__, data.name)
"""


def test_installed_wheel_finds_its_own_data(installed, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(IN_THE_INSTALLED_ENVIRONMENT)
    environment = {name: value for name, value in os.environ.items() if name != "ADB_DATA"}
    command = [installed, "-I", script, ROOT, *files_below(ROOT / "data")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [metadata.version("adb-core"), "_data"]


def test_installed_wheel_sees_the_other_packages(installed, tmp_path):
    """The environment above would prove little if it could not import what the core needs."""
    code = (
        "from importlib.util import find_spec; "
        "print(all(map(find_spec, ('torch', 'diffusers', 'numpy'))))"
    )
    done = subprocess.run(
        [installed, "-I", "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.strip() == "True"
