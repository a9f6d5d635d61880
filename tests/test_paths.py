"""Where the bundled data are found, and what is said when they are not."""

from pathlib import Path

import pytest

from adb_core.system import paths

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def no_override(monkeypatch):
    monkeypatch.delenv("ADB_DATA", raising=False)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder of a package that lies alone, with no data anywhere near."""
    folder = tmp_path / "adb_core"
    folder.mkdir()
    monkeypatch.setattr(paths, "_PACKAGE", folder)
    return folder


def test_checkout():
    assert paths.data_dir() == ROOT / "data"


def test_override(tmp_path, monkeypatch):
    monkeypatch.setenv("ADB_DATA", str(tmp_path))
    assert paths.data_dir() == tmp_path


def test_empty_override_is_no_override(monkeypatch):
    monkeypatch.setenv("ADB_DATA", "")
    assert paths.data_dir() == ROOT / "data"


def test_wrong_override_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("ADB_DATA", str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError, match="ADB_DATA names .*gone"):
        paths.data_dir()


def test_installed_package(package):
    (package / "_data").mkdir()
    assert paths.data_dir() == package / "_data"


def test_a_foreign_data_folder_beside_an_installed_package_is_not_taken(package):
    (package / "_data").mkdir()
    (package.parent / "data").mkdir()
    (package.parent / "data" / "README.md").touch()
    assert paths.data_dir() == package / "_data"


def test_missing_data_say_what_to_do(package):
    with pytest.raises(FileNotFoundError, match="install adb-core again, or .* ADB_DATA"):
        paths.data_dir()


def test_data_path():
    assert paths.data_path("README.md") == ROOT / "data" / "README.md"


def test_data_path_lists_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("ADB_DATA", str(tmp_path))
    (tmp_path / "concepts" / "cat").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"no concepts/dog/1\.png .* holds: cat"):
        paths.data_path("concepts", "dog", "1.png")
