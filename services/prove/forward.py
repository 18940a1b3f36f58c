"""A port of this machine that leads into a cluster, by `kubectl port-forward`, and stays there while pods go."""

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator

from services.local.process import adorned
from services.platform.http.serving import StartError
from services.platform.runtime.tasks import end

__all__ = ["forwarded"]

_PAUSE = 0.5


@contextlib.asynccontextmanager
async def forwarded(namespace: str, service: str, port: int) -> AsyncIterator[int]:
    """Yield a port on 127.0.0.1 that leads to a pod of a Service; when that pod is gone, soon to another one.

    Raises:
        StartError: there is no kubectl.
    """
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise StartError("no kubectl on the PATH; it forwards ports into the cluster")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        local: int = probe.getsockname()[1]
    command = adorned([kubectl, "port-forward", "--namespace", namespace, f"service/{service}", f"{local}:{port}"])
    task = asyncio.create_task(_forward(command))
    try:
        yield local
    finally:
        await end((task,))


async def _forward(command: list[str]) -> None:
    nothing = asyncio.subprocess.DEVNULL
    while True:
        process = await asyncio.create_subprocess_exec(*command, stdin=nothing, stdout=nothing, stderr=nothing)
        try:
            await process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        await asyncio.sleep(_PAUSE)
