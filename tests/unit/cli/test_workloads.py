"""What the files of a deployment let the image run is what the command line knows."""

from typing import Any

import pytest
import typer
import yaml
from click import Command, Context

from services.cli.app import app
from tests.support.service import ROOT

WORKLOADS = {"ingest", "query", "worker", "repair", "operator"}


def resolved(arguments: list[str]) -> str:
    """Return the command that arguments lead to.

    Raises:
        AssertionError: there is none.
    """
    command: Any = typer.main.get_command(app)
    for argument in arguments:
        found: Command | None = command.get_command(Context(command), argument)
        assert found, f"millrace {' '.join(arguments)}: {argument} is no command"
        command = found
    assert not hasattr(command, "commands"), f"millrace {' '.join(arguments)} is not the whole command"
    return str(command.name)


def containers(path: str) -> dict[str, list[str]]:
    """Return the arguments of Millrace's own containers in a file for Kubernetes, by container."""
    objects = list(yaml.safe_load_all((ROOT / path).read_text()))
    specs = [one["spec"]["template"]["spec"] for one in objects if one["kind"] == "Deployment"]
    return {each["name"]: each["args"] for spec in specs for each in spec["containers"] if "millrace:" in each["image"]}


@pytest.mark.parametrize("path", ["k8s/operator.yaml", "tests/cluster/workloads.yaml"])
def test_deployments_run_what_they_are_named_after(path: str) -> None:
    found = containers(path)
    assert found
    assert {name: resolved(arguments) for name, arguments in found.items()} == {name: name for name in found}


def test_compose_runs_what_its_services_are_named_after() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    found = {name: resolved(one["command"]) for name, one in services.items() if name in WORKLOADS}
    assert found == {name: name for name in WORKLOADS - {"operator"}}
    assert resolved(services["schema"]["command"]) == "apply"


@pytest.mark.parametrize("workload", sorted(WORKLOADS))
def test_a_workload_runs_by_one_command_alone(workload: str) -> None:
    assert resolved(["run", workload]) == workload
    alone: Any = typer.main.get_command(app)
    assert alone.commands.get(workload) is None or workload == "query"
