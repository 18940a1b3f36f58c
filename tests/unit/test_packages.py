"""Every package that is imported is asked for by name: what another package brings along today it may drop tomorrow."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"services", "tests", "benchmarks", "charts", "millrace_client"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> set[str]:
    return {normal(re.split(r"[\[<>=~! ]", requirement)[0]) for requirement in requirements}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


EXTRAS = {extra: names(packages) for extra, packages in PROJECT["optional-dependencies"].items()}
ALWAYS = names(PROJECT["dependencies"])


@cache
def owners() -> dict[str, str]:
    """Return which distribution has which module, by the files that each brought."""
    found = {}
    for distribution in distributions():
        # As texts: `files` makes a path of each of some sixty thousand.
        for line in (distribution.read_text("RECORD") or "").splitlines():
            file, _, _ = line.partition(",")
            if file.endswith((".py", ".so")) and not file.startswith(("/", "..")):
                folder, _, name = file.rpartition("/")
                module = f"{folder}/{name.split('.')[0]}".removeprefix("/").replace("/", ".").removesuffix(".__init__")
                found[module] = normal(distribution.name)
    return found


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def owner(module: str) -> str:
    """Return the distribution that has a module, or the module that has a name."""
    while module not in owners():
        module, dot, _ = module.rpartition(".")
        assert dot, f"no installed package has {module}"
    return owners()[module]


def test_the_client_declares_what_it_imports() -> None:
    project = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert names(project["dependencies"]) == {"httpx"}
    declared = names([*project["dependencies"], *(each for extra in extras.values() for each in extra)])
    imported = {module for file in (ROOT / "clients/python/src").rglob("*.py") for module in imports(file)}
    foreign = {module for module in imported if module.split(".")[0] not in sys.stdlib_module_names}
    assert {owner(module) for module in foreign} == declared


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("services", ()),
        ("services/local", ("local",)),
        ("services/prove", ("local",)),
        ("benchmarks", ("local", "bench")),
        ("tests", ("local", "bench", "dev")),
        ("charts", ("dev",)),
    ],
)
def test_every_imported_package_is_declared(folder: str, extras: tuple[str, ...]) -> None:
    declared = ALWAYS.union(*(EXTRAS[extra] for extra in extras))
    missing = {
        (owner(module), str(file.relative_to(ROOT)))
        for file in (ROOT / folder).rglob("*.py")
        if extras or not {"local", "prove"} & set(file.relative_to(ROOT).parts[1:2])
        for module in imports(file)
        if (top := module.split(".")[0]) not in OURS
        and top not in sys.stdlib_module_names
        and owner(module) not in declared
    }
    assert missing == set()
