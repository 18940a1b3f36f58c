"""The scripts that run inside the stream's server."""

from importlib import resources
from typing import Any

from redis.asyncio import Redis

__all__ = ["script"]


def script(client: Redis, name: str) -> Any:
    """Return the script of `name`.lua, with what all begin with behind its first line, which names its flags."""
    folder = resources.files(__package__)
    flags, _, body = (folder / f"{name}.lua").read_text().partition("\n")
    return client.register_script("\n".join((flags, (folder / "common.lua").read_text(), body)))
