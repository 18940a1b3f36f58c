"""Prometheus as a process that reads from a query service or scrapes what it is told to, and answers PromQL."""

import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from services.local.process import adorned

from .patience import eventually, free_port

__all__ = ["PROMETHEUS", "Prometheus", "reading_from", "running"]

PROMETHEUS = shutil.which("prometheus")


class Prometheus:
    """A client of a Prometheus' own API."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def ask(self, path: str, **parameters: Any) -> Any:
        """Return the data of an answer.

        Raises:
            AssertionError: it is an error.
        """
        answer = await self.answer(path, **parameters)
        assert answer["status"] == "success", answer
        assert not answer.get("warnings"), answer
        return answer["data"]

    async def answer(self, path: str, **parameters: Any) -> Any:
        """Return an answer as it came, be it an error."""
        return (await self._client.get(f"/api/v1/{path}", params=parameters)).json()

    async def instant(self, promql: str, at: float) -> list[tuple[dict[str, str], float]]:
        """Return labels and value of each series at an instant, in seconds."""
        data = await self.ask("query", query=promql, time=at)
        assert data["resultType"] == "vector"
        return [(one["metric"], float(one["value"][1])) for one in data["result"]]

    async def matrix(self, promql: str, start: float, end: float, step: float) -> list[dict[float, float]]:
        """Return the values of each series by their instants, in seconds."""
        data = await self.ask("query_range", query=promql, start=start, end=end, step=step)
        return [{at: float(value) for at, value in one["values"]} for one in data["result"]]


@contextlib.asynccontextmanager
async def reading_from(url: str, folder: Path, **options: Any) -> AsyncIterator[Prometheus]:
    """Run a Prometheus that has nothing of its own and reads from a URL, and yield it once it is ready."""
    remote = {"url": url, "read_recent": True, "filter_external_labels": False, **options}
    async with running({"global": {"external_labels": {"a": "b"}}, "remote_read": [remote]}, folder) as prometheus:
        yield prometheus


@contextlib.asynccontextmanager
async def running(configuration: Any, folder: Path) -> AsyncIterator[Prometheus]:
    """Run a Prometheus with a configuration in a folder that is made, and yield it once it is ready."""
    address = f"127.0.0.1:{free_port()}"
    log = folder / "log"
    process = _started(folder, address, configuration, log)
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=30) as client:

            async def ready() -> bool:
                assert process.poll() is None, log.read_text()
                with contextlib.suppress(httpx.TransportError):
                    return (await client.get("/-/ready")).status_code == 200
                return False

            await eventually(ready, 30)
            yield Prometheus(client)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _started(folder: Path, address: str, configuration: Any, log: Path) -> "subprocess.Popen[bytes]":
    assert PROMETHEUS
    folder.mkdir()
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration))
    words = [PROMETHEUS, f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"]
    with log.open("wb") as written:
        return subprocess.Popen(
            adorned([*words, f"--web.listen-address={address}"]),
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
        )
