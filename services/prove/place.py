"""Where a proof on one machine runs: a folder of its own below the data folder, and ports beside any other stack's."""

import contextlib
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from services.local.guards import sole_user
from services.platform.settings import Settings

__all__ = ["apart", "emptied", "free_ports"]


@contextlib.contextmanager
def emptied(settings: Settings, name: str) -> Iterator[Path]:
    """Yield a folder below the data folder, without what an earlier proof left, and held by this process alone.

    Raises:
        StartError: another proof runs there.
    """
    folder = (settings.local.data_dir / name).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with sole_user(folder):
        for old in folder.iterdir():
            if old.name != "lock":
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        yield folder


def free_ports(count: int) -> list[int]:
    """Return so many ports that nobody listens on."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def apart(settings: Settings, folder: Path) -> Settings:
    """Return settings of a stack beside any other: its own folder and free ports, and two workers."""
    redis, postgres, ingest, admin, query, worker, repair = free_ports(7)
    local = {"data_dir": folder, "redis_port": redis, "postgres_port": postgres, "workers": 2}
    ports = {"ingest": {"port": ingest, "admin_port": admin}, "query": {"port": query}, "repair": {"port": repair}}
    changed = {"local": local, **ports, "worker": {"port": worker}, "log": {"level": "error"}}
    update = {name: getattr(settings, name).model_copy(update=found) for name, found in changed.items()}
    return settings.model_copy(update=update)
