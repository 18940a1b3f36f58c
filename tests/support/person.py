"""Somebody who types the commands of a page of docs/ against a cluster."""

import re
import subprocess
from pathlib import Path

from .cluster import kubectl
from .service import ROOT

__all__ = ["Person", "commands"]


def commands(page: str, part: str) -> list[str]:
    """Return the console blocks of a page's paragraphs from **part** to the next bold word, as scripts."""
    text = (ROOT / "docs" / page).read_text().partition(f"**{part}**")[2].partition("\n**")[0]
    return [
        re.sub(r"^\$ ", "", block, flags=re.MULTILINE) for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    ]


class Person:
    """Somebody who types commands in a folder of their own, in a namespace."""

    def __init__(self, namespace: str, folder: Path) -> None:
        self._folder = folder
        self._config = folder / namespace
        self._config.write_text(kubectl("config", "view", "--raw", "--minify", "--flatten").stdout)
        self.types(f"kubectl config set-context --current --namespace={namespace}")

    def types(self, script: str) -> None:
        """Run a script, each command of which must go well."""
        shell = ["env", f"KUBECONFIG={self._config}", "bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(shell, cwd=self._folder, capture_output=True, text=True, timeout=700, check=False)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
