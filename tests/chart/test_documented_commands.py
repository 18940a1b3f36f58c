"""Commands for a cluster that README and docs show: options, values, files and names are those there are."""

import functools
import itertools
import re
import shutil
import subprocess

import pytest

from tests.support.chart import helm, render
from tests.support.service import ROOT
from tests.support.snippets import Snippet, simple_commands

HELM = pytest.mark.usefixtures("helm")
KUBECTL = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not here")
MADE_BY_JOBS = {"millrace-database", "millrace-redis"}
"""Secrets that the chart's Job makes."""
EVERYTHING = {"timescaledb": {"replicas": {"count": 1}, "backup": {"enabled": True, "drill": {"enabled": True}}}}
MADE_BY_COMMANDS = {"secrets.yaml"}
"""Files that a command before makes."""


def installations() -> list[tuple[Snippet, list[str]]]:
    return [(snippet, words) for snippet, words in simple_commands("helm") if words[0] in {"install", "upgrade"}]


@HELM
def test_the_chart_takes_the_values_of_every_helm_command() -> None:
    found = installations()
    assert len(found) > 8
    for snippet, words in found:
        # What a release had is not there to be reused: an archive, where one restores from it.
        options = [word for word in words[3:] if word not in {"--reuse-values", "--create-namespace"}]
        if "--reuse-values" in words:
            options += ["--set", "timescaledb.backup.enabled=true"]
        done = helm("template", words[1], str(ROOT / words[2]), *options, "--kube-version", "1.34.0")
        assert done.returncode == 0, f"{snippet}: helm {' '.join(words)}: {done.stderr}"


@HELM
def test_every_option_of_helm_is_one() -> None:
    for snippet, words in simple_commands("helm"):
        known = helm(words[0], "--help").stdout
        for option in options_of(words):
            assert re.search(rf"{option}\b", known), f"{snippet}: helm {words[0]} {option}"


@KUBECTL
def test_every_option_of_kubectl_is_one() -> None:
    found = list(simple_commands("kubectl"))
    assert len(found) > 20
    shared = _said("options")
    for snippet, words in found:
        # `create secret generic` is three words; objects are none of the command's.
        verb = tuple(words[: {"create": 3, "rollout": 2}.get(words[0], 1)])
        known = _said(*verb, "--help") + shared
        for option in options_of(words):
            assert re.search(rf"(?<![\w-]){option}\b", known), f"{snippet}: kubectl {' '.join(verb)} {option}"


@HELM
def test_every_file_and_every_object_that_kubectl_is_told_exists() -> None:
    names = {one["metadata"]["name"] for one in render(EVERYTHING)} | MADE_BY_JOBS
    for snippet, words in simple_commands("kubectl"):
        for flag, value in itertools.pairwise(words):
            assert flag != "-f" or value in MADE_BY_COMMANDS or (ROOT / value).exists(), f"{snippet}: {value}"
        named = [re.fullmatch(r"(?:\w+/)?(millrace-[a-z-]+?)(?:-\d+)?", word) for word in words]
        missing = [found[1] for found in named if found and found[1] not in names]
        assert missing == [], f"{snippet}: kubectl {' '.join(words)}"


def options_of(words: list[str]) -> list[str]:
    """Return the options before a lone `--`, without their values."""
    own = words[: words.index("--")] if "--" in words else words
    return [word.partition("=")[0] for word in own if re.match(r"-{1,2}[a-z]", word)]


@functools.cache
def _said(*arguments: str) -> str:
    return subprocess.run(["kubectl", *arguments], capture_output=True, text=True, check=True).stdout
