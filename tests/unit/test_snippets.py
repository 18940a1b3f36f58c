"""Every snippet of README and docs is run, read, or says why it is not; every command in one exists.

`make test-docs` runs them (tests/pages), `make test` asks the questions of docs/query.md and docs/time-zones.md.
"""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.core import TyperGroup
from typer.exceptions import Exit, TyperException
from typer.main import get_command

from services.cli.app import app
from services.platform.http.auth import KeyFile
from tests.support.service import ROOT
from tests.support.snippets import PAGES, simple_commands, snippets

RUN = {"console", "python", "sh", "sql"}
"""What tests/pages runs."""
READ = {"csv", "json", "promql", "toml", "yaml"}
"""What is read here, by what reads it elsewhere."""
ASKED = {"docs/query.md", "docs/time-zones.md"}
"""Pages whose questions, `http`, are asked by tests/integration/query."""
SHOWN = {"text"}
"""Drawings."""

PROMTOOL = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here; it comes with Prometheus")


def test_every_snippet_is_of_a_kind_that_a_test_runs_or_reads_or_says_why_it_is_not() -> None:
    for snippet in snippets():
        known = RUN | READ | SHOWN | ({"http"} if snippet.page in ASKED else set())
        assert snippet.kind in known or snippet.reason, (
            f"{snippet}: no test runs `{snippet.kind}`; say why, above it: <!-- not run: needs … -->"
        )
        assert snippet.reason is None or snippet.kind not in READ | SHOWN, f"{snippet}: it is read, so it needs no mark"


def test_every_fence_was_seen() -> None:
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        fences = re.findall(r"^ *(?:```|~~~)", page.read_text(), re.MULTILINE)
        assert len(fences) == 2 * sum(snippet.page == name for snippet in snippets()), f"{name}: a fence is no snippet"
        marks = len(re.findall(r"^ *<!-- not run", page.read_text(), re.MULTILINE))
        assert marks == sum(snippet.page == name and snippet.reason is not None for snippet in snippets()), (
            f"{name}: a mark has the form <!-- not run: REASON -->, an empty line behind it, and then a fence"
        )


def test_every_json_toml_and_yaml_parses_and_a_file_of_keys_is_one() -> None:
    for snippet in snippets():
        if snippet.kind == "json":
            json.loads(snippet.text)
        elif snippet.kind == "toml":
            tomllib.loads(snippet.text)
        elif snippet.kind == "yaml":
            document = yaml.safe_load(snippet.text)
            if "callers" in document:
                KeyFile.model_validate(document)


@PROMTOOL
def test_every_promql_and_every_configuration_of_prometheus_is_one(tmp_path: Path) -> None:
    for number, snippet in enumerate(snippets()):
        file = tmp_path / f"{number}.yaml"
        if snippet.kind == "promql":
            rules = [{"record": "some:value", "expr": line} for line in snippet.text.splitlines()]
            file.write_text(yaml.safe_dump({"groups": [{"name": "docs", "rules": rules}]}))
            checked = ["promtool", "check", "rules", "--lint=none", str(file)]
        elif snippet.kind == "yaml" and re.match(r"scrape_configs|remote_read", snippet.text):
            file.write_text(snippet.text)
            checked = ["promtool", "check", "config", "--syntax-only", str(file)]
        else:
            continue
        done = subprocess.run(checked, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{snippet}: {done.stderr}"


def test_every_command_of_millrace_takes_the_options_that_it_is_shown_with() -> None:
    found = list(simple_commands("millrace"))
    assert len(found) > 30
    for snippet, arguments in found:
        try:
            _parse(get_command(app), arguments)
        except Exit:
            pass  # --help
        except TyperException as error:
            pytest.fail(f"{snippet}: millrace {' '.join(arguments)}: {error}")


def _parse(command: Any, arguments: list[str]) -> None:
    """Read arguments as the command line does, and run nothing."""
    while isinstance(command, TyperGroup) and arguments and not arguments[0].startswith("-"):
        command, arguments = command.commands[arguments[0]], arguments[1:]
    command.make_context("millrace", list(arguments))


def test_every_target_of_make_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    found = [(snippet, word) for snippet, words in simple_commands("make") for word in words if "=" not in word]
    assert len(found) > 10
    assert [f"{snippet}: make {word}" for snippet, word in found if word not in targets] == []
    inline = {(page.name, word) for page in PAGES for word in re.findall(r"`make ([a-z-]+)", page.read_text())}
    assert {(page, word) for page, word in inline if word not in targets} == set()


def test_every_service_of_docker_compose_exists() -> None:
    services = set(yaml.safe_load((ROOT / "compose.yaml").read_text())["services"])
    found = [(snippet, words) for snippet, words in simple_commands("docker") if words[0] == "compose"]
    assert len(found) > 3
    for snippet, words in found:
        if words[1] in {"exec", "logs"}:
            named = [word for word in words[2:] if not word.startswith("-")][:1]
        else:
            named = [word.partition("=")[0] for word in words if re.fullmatch(r"\w+=\d+", word)]
        assert set(named) <= services, f"{snippet}: docker {' '.join(words)}"
