"""Where the CPU time goes: py-spy's flame graphs of the services while a case runs once more, uncounted."""

import asyncio
import contextlib
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from services.platform.runtime.starting import StartError

from .stack import Bench

__all__ = ["profiled"]

SAMPLES = "200"
SERVICES = ("ingest", "worker", "query")


@contextlib.asynccontextmanager
async def profiled(bench: Bench, folder: Path, case: str) -> AsyncIterator[None]:
    """Record the services, their native code too, until the block ends, as <case>-<service>.svg in `folder`.

    Raises:
        StartError: py-spy is not installed.
    """
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if program is None:
        raise StartError("py-spy is not installed; make venv brings it")
    recorders = []
    for service in SERVICES:
        process = bench.stack.child(service)
        command = [program, "record", "--native", "--rate", SAMPLES, "--pid", str(process.pid)]
        command += ["--output", str(folder / f"{case}-{service}.svg")]
        log = (folder / f"{case}-{service}.log").open("wb")
        with log:
            recorders.append(await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log))
    try:
        yield
    finally:
        for recorder in recorders:
            with contextlib.suppress(ProcessLookupError):
                recorder.send_signal(signal.SIGINT)
        await asyncio.gather(*(recorder.wait() for recorder in recorders))
