"""The references below docs/reference: `make docs` writes them, `make check` compares (`--check`)."""

import sys
from collections.abc import Iterator
from pathlib import Path

from charts.generate import settle
from services.ingest.app import create_app as ingest_app
from services.platform.settings import Settings
from services.query.app import create_app as query_app

from .openapi import routes
from .resources import resources
from .telemetry import log_actions, metrics

ROOT = Path(__file__).parents[1]


def generated() -> Iterator[tuple[Path, str]]:
    """Yield each made file with what it should hold."""
    folder = ROOT / "docs" / "reference"
    # Defaults alone: no variable of this machine may show.
    settings = Settings.model_construct()
    ingest = ingest_app(settings)
    yield folder / "ingest.md", routes("Routes of ingest", ingest.openapi())
    yield folder / "administration.md", routes("Administrative routes", ingest.state.admin.openapi())
    yield folder / "query.md", routes("Routes of query", query_app(settings).openapi())
    yield folder / "resources.md", resources(ROOT / "k8s" / "crds")
    yield folder / "metrics.md", metrics(ROOT / "services", ROOT / "monitoring" / "alarms.yaml")
    yield folder / "log-actions.md", log_actions(ROOT / "services")


if __name__ == "__main__":
    sys.exit(settle(generated(), check="--check" in sys.argv[1:]))
