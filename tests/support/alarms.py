"""What in a log would make a person look: our own lines by their level, those of others by their words."""

import json
import re
from collections.abc import Iterable

__all__ = ["alarms"]

WORDS = re.compile(
    r"\b(warning|error|fatal|panic|critical|exception|traceback|deprecat\w+|refused|denied|failed|unexpected)\b"
    r"|reset by peer|broken pipe",
    re.IGNORECASE,
)

TRUE_OF_THE_MACHINE = re.compile(r"Memory overcommit must be enabled")
"""What a server says of a setting of the whole machine, which no container and no ordinary user can change."""


def alarms(lines: Iterable[str]) -> list[str]:
    """Return the lines of alarm among `lines` of a log."""
    return [line for line in lines if _alarms(line) and not TRUE_OF_THE_MACHINE.search(line)]


def _alarms(line: str) -> bool:
    if line.startswith("{"):
        said = json.loads(line)
        return said.get("level", "info") not in {"debug", "info"} or "exception" in said
    return WORDS.search(line) is not None
