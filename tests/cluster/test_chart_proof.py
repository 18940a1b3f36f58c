"""`millrace prove-cluster` against a release with a replica."""

import os
import re
import subprocess
import sys

from tests.support.release import released


def prove(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.cli", "prove-cluster", *options]
    # The tests' own word for the image is no setting.
    variables = {name: value for name, value in os.environ.items() if name != "MILLRACE_IMAGE"}
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=700, check=False)


def test_the_proof_asks_whose_pods_it_may_delete() -> None:
    found = prove("--minutes", "0.05")
    assert found.returncode == 2
    assert "--namespace" in found.stderr


def test_the_proof_deletes_pods_of_all_workloads_and_finds_every_row() -> None:
    with released({"ingest": {"replicas": 2}, "timescaledb": {"replicas": {"count": 1}}}) as release:
        options = ["--namespace", release.namespace.name, "--minutes", "1.5", "--seed", "7"]
        found = prove(*options)
        assert found.returncode == 0, found.stdout + found.stderr
        figures = dict(re.findall(r"│ ([\w-]+(?: \w+)?) +│ (.*?) +│", found.stdout))
        assert (figures["lost"], figures["doubled"], figures["verdict"]) == ("0", "0", "kept")
        for component in ("ingest", "query", "worker", "operator", "redis", "timescaledb", "timescaledb-replica"):
            assert re.search(r"[1-9]", figures[component]), found.stdout
        stored = int(figures["stored"].replace(",", ""))
        assert release.psql("select count(*) from sensor_data") == str(stored)
        again = prove(*options)
        assert again.returncode == 2
        assert f"sensor_data holds {stored:,} rows" in " ".join(again.stderr.split())
