"""A Python that has imported what services need from others, and waits for a line to become one of them.

``python -P warm.py run WORKLOAD``: `make dev` keeps one ready for each service, so that a restart only reads our code.
"""

import importlib
import os
import sys
from pathlib import Path

__all__ = ["main"]

OTHERS = (
    "asyncpg",
    "fastapi",
    "msgspec",
    "numpy",
    "opentelemetry.exporter.prometheus",
    "opentelemetry.sdk.metrics",
    "opentelemetry.sdk.trace",
    "orjson",
    "pydantic_settings",
    "redis.asyncio",
    "structlog",
    "tenacity",
    "typer",
    "uvicorn",
    "uvloop",
    "zstandard",
)


def main() -> None:
    """Import, wait, become `millrace run WORKLOAD`; without a line, because the starter has gone, end."""
    for name in OTHERS:
        importlib.import_module(name)
    if not sys.stdin.readline():
        return
    os.close(0)
    os.open(os.devnull, os.O_RDONLY)
    sys.path.insert(0, str(Path(__file__).parents[2]))
    importlib.import_module("services.cli").main()


if __name__ == "__main__":
    main()
