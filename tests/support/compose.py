"""What `docker compose` makes of the files."""

import json
import shutil
import subprocess
from typing import Any

from .service import ROOT

__all__ = ["compose_services", "has_compose"]


def has_compose() -> bool:
    """Tell whether `docker compose` is here; what it makes of files needs no engine."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


def compose_services(*options: str) -> dict[str, Any]:
    """Return the services of the configuration that options choose, by their names."""
    command = ["docker", "compose", *options, "config", "--format", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    return found
