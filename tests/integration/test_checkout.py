"""A checkout that is copied, moved, or worked in by two at once; small ones, with the real Makefile."""

import os
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from tests.support.service import ROOT

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "millrace"
version = "0.1.0"
scripts = { millrace = "services.cli:main" }
[tool.setuptools.packages.find]
include = ["services*"]
"""

CLIENT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "millrace-client"
version = "0.1.0"
[tool.setuptools.packages.find]
where = ["src"]
"""

SETUPTOOLS = Path(str(files("setuptools")))

PROGRAM = "def main():\n    print(__file__)\n"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A clone whose lock is empty, made by two at once, where paths are as bad as people make them; what both said."""
    root = tmp_path_factory.mktemp("made") / "two words, größer & 'long'" / ("d" * 120)
    _lay_out(root)
    logs = [root / "first.log", root / "second.log"]
    makes = []
    for log in logs:
        with log.open("wb") as said:
            makes.append(subprocess.Popen(["make", "venv"], cwd=root, env=_variables(root), stdout=said, stderr=said))
    assert [make.wait(120) for make in makes] == [0, 0]
    return root, sorted(log.read_text() for log in logs)


def _lay_out(root: Path) -> None:
    (root / "services").mkdir(parents=True)
    client = root / "clients" / "python"
    (client / "src" / "millrace_client").mkdir(parents=True)
    (client / "src" / "millrace_client" / "__init__.py").touch()
    (client / "pyproject.toml").write_text(CLIENT)
    shutil.copy(ROOT / "Makefile", root)
    (root / "requirements.lock").touch()
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "services" / "__init__.py").touch()
    (root / "services" / "cli.py").write_text(PROGRAM)
    # What the true lock brings: the installation below asks no index.
    tools = root / "tools"
    tools.mkdir()
    (tools / "setuptools").symlink_to(SETUPTOOLS)


def _variables(root: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "COVERAGE", "PYTEST"))}
    return kept | {"PYTHONPATH": str(root / "tools")}


def _make(root: Path, *options: str) -> str:
    command = ["make", "venv", *options]
    return subprocess.run(
        command, cwd=root, env=_variables(root), capture_output=True, text=True, timeout=120, check=True
    ).stdout


def _runs(root: Path) -> str:
    """Return whose code the command of this checkout runs."""
    told = subprocess.run([root / ".venv" / "bin" / "millrace"], capture_output=True, text=True, check=True)
    return told.stdout.strip()


def test_of_two_makes_in_a_fresh_clone_one_waits_and_says_so(clone: tuple[Path, list[str]]) -> None:
    root, (waited, made) = clone
    assert waited == "Another make is making .venv: waiting for it\n"
    assert made.startswith("Making .venv with")
    assert _runs(root) == str(root / "services" / "cli.py")


def test_a_venv_that_fits_is_left_alone_even_by_a_symlink_to_the_folder(
    clone: tuple[Path, list[str]], tmp_path: Path
) -> None:
    root, _ = clone
    (tmp_path / "link").symlink_to(root)
    assert _make(root) == _make(tmp_path / "link") == ""


def test_a_copied_checkout_runs_its_own_code_and_so_does_a_moved_one(
    clone: tuple[Path, list[str]], tmp_path: Path
) -> None:
    root, _ = clone
    copied, moved = tmp_path / "copied", tmp_path / "moved"
    shutil.copytree(root, copied, symlinks=True)
    assert "Making .venv" in _make(copied)
    assert _runs(copied) == str(copied / "services" / "cli.py")
    copied.rename(moved)
    assert "Making .venv" in _make(moved, "--dry-run")


def test_a_venv_whose_python_is_gone_is_made_anew(clone: tuple[Path, list[str]], tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(clone[0], root, symlinks=True)
    for program in root.glob(".venv/bin/python*"):
        program.unlink()
        program.symlink_to("/nowhere/python3")
    assert "Making .venv" in _make(root, "--dry-run")
