"""SQL statements in a file of their own: blocks that begin with `-- name: x`, each with a sentence."""

import re
from collections.abc import Mapping
from importlib import resources

__all__ = ["statements"]

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def statements(package: str, file: str) -> Mapping[str, str]:
    """Return the statements of a file that lies in `package`, by their names."""
    _, *blocks = _NAME.split(resources.files(package).joinpath(file).read_text())
    return {name: _uncommented(block) for name, block in zip(blocks[::2], blocks[1::2], strict=True)}


def _uncommented(block: str) -> str:
    return "\n".join(line for line in block.splitlines() if not line.startswith("--")).strip()
