"""Programs and suites of others that the tests of clients need: on the path, or brought or built into a cache."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

__all__ = ["built", "cloned", "collector", "downloaded", "found", "with_packages"]

CACHE = Path(os.environ.get("MILLRACE_TEST_PROGRAMS", Path.home() / ".cache" / "millrace" / "programs"))
"""Where built programs and cloned repositories are kept, by name and version."""

_PATIENCE = 3600
"""Seconds for a build: Telegraf takes ten minutes on two cores."""


def found(name: str) -> Path:
    """Return a program of the path; the test is skipped where there is none."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        pytest.skip(f"{name} is not here")
    return Path(path)


def built(name: str, package: str, module: str, version: str, tags: str = "") -> Path:
    """Return a Go program, built if it never was; the test is skipped where it cannot be.

    Args:
        name: of the program.
        package: its main package.
        module: the module that holds the package.
        version: of the module.
        tags: build tags, by commas.
    """
    get, build = ["go", "get", f"{module}@{version}"], ["go", "build", "-mod=mod", "-tags", tags, "-o", name, package]
    return _made(name, version, {}, ["go", "mod", "init", f"built.test/{name}"], get, build)


def collector(version: str, modules: Mapping[str, Sequence[str]]) -> Path:
    """Return an OpenTelemetry Collector, built by its own builder if it never was; skipped where it cannot be.

    Args:
        version: of the Collector and of its modules.
        modules: the Go modules of its receivers, processors, exporters and extensions.
    """
    dist = {"dist": {"name": "otelcol", "output_path": ".", "module": "built.test/otelcol"}}
    components = {kind: [{"gomod": f"{module} {version}"} for module in found] for kind, found in modules.items()}
    builder = f"go.opentelemetry.io/collector/cmd/builder@{version}"
    manifest = yaml.safe_dump(dist | components)
    # One of other modules is another program.
    kind = hashlib.blake2b(manifest.encode(), digest_size=4).hexdigest()
    command = ["go", "run", builder, "--config", "builder.yaml"]
    return _made("otelcol", f"{version}-{kind}", {"builder.yaml": manifest}, command)


def cloned(repository: str, commit: str) -> Path:
    """Return the folder of a repository on GitHub, as of a commit; the test is skipped where it cannot be had."""
    name = repository.rpartition("/")[2]
    fetch = ["fetch", "--quiet", "--depth", "1", f"https://github.com/{repository}", commit]
    steps = (["init", "--quiet"], fetch, ["checkout", "--quiet", "FETCH_HEAD"])
    return _made(name, commit[:12], {}, ["mkdir", name], *(["git", "-C", name, *step] for step in steps))


def _made(name: str, version: str, files: Mapping[str, str], *commands: Sequence[str]) -> Path:
    """Return what the cache has of a name; where it is not there, commands make it in a folder with these files."""
    target = CACHE / f"{name}-{version}"
    if target.exists():
        return target
    if missing := next((command[0] for command in commands if shutil.which(command[0]) is None), None):
        pytest.skip(f"{name} is not here, and {missing} is not either")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        for file, text in files.items():
            Path(folder, file).write_text(text)
        for command in commands:
            ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_PATIENCE, check=False)
            if ran.returncode:
                pytest.skip(f"{name} {version} cannot be had: {ran.stderr[-500:]}")
        Path(folder, name).rename(target)
    return target


def downloaded(module: str, version: str) -> Path:
    """Return the folder of a Go module; the test is skipped where it cannot be had."""
    if shutil.which("go") is None:
        pytest.skip(f"{module} is not here, and Go is not either")
    command = ["go", "mod", "download", "-json", f"{module}@{version}"]
    ran = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=_PATIENCE, check=False)
    if ran.returncode:
        pytest.skip(f"{module} {version} cannot be had: {ran.stdout[-500:]}")
    return Path(json.loads(ran.stdout)["Dir"])


def with_packages(name: str, *requirements: str) -> Path:
    """Return a Python that has packages, installed if they never were; the test is skipped where they cannot be.

    Args:
        name: of the environment.
        requirements: what pip installs, each of one version.
    """
    python = (
        CACHE / f"{name}-{'-'.join(requirement.partition('==')[2] for requirement in requirements)}" / "bin" / "python"
    )
    if python.exists():
        return python
    environment = python.parent.parent
    for command in (
        [sys.executable, "-m", "venv", str(environment)],
        [str(python), "-m", "pip", "install", "--quiet", *requirements],
    ):
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        if ran.returncode:
            shutil.rmtree(environment, ignore_errors=True)
            pytest.skip(f"{', '.join(requirements)} cannot be installed: {ran.stderr[-500:]}")
    return python
