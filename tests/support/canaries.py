"""Secrets that sing where they do not belong: passwords and keys with a core that no text contains by chance."""

import base64
import binascii
import http.server
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import yaml

from services.platform.http.auth import new_key

from .patience import free_port

__all__ = ["Canaries", "Collector", "collecting"]


class Canaries:
    """Makes secrets and finds them again, spelled in whatever way."""

    def __init__(self) -> None:
        self._cores: dict[str, str] = {}

    def password(self, name: str) -> str:
        """Return a new secret that stands unescaped in a URL and yet is spelled otherwise where somebody escapes it."""
        core = self._cores[name] = secrets.token_hex(12)
        return f"canary+{core}=!"

    def caller(self, file: Path, name: str, *scopes: str) -> str:
        """Add a caller to a file of keys and return its key."""
        text, key = new_key()
        self._cores[f"key of {name}"] = text.rpartition(f"{key.id}_")[2]
        held = yaml.safe_load(file.read_text()) if file.exists() else {"callers": []}
        keys = [key.model_dump(mode="json", exclude_none=True)]
        held["callers"].append({"name": name, "scopes": list(scopes), "keys": keys})
        file.write_text(yaml.safe_dump(held))
        return text

    def in_(self, text: str | bytes) -> list[str]:
        """Return the names of the secrets that a text holds: as they are, quoted, or in base64 or hex."""
        raw = text.encode(errors="surrogateescape") if isinstance(text, str) else text
        return [name for name, core in self._cores.items() if any(form in raw for form in _forms(core.encode()))]


def _forms(core: bytes) -> Iterator[bytes]:
    yield core
    yield quote(core, safe="").encode()
    yield binascii.hexlify(core)
    for shift in range(3):
        # What stands before decides how base64 spells it; the first and last signs hold bits of the neighbours.
        padded = b"\0" * shift + core
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(padded).rstrip(b"=")[4 if shift else 0 : -4]


class Collector(http.server.ThreadingHTTPServer):
    """An OTLP/HTTP collector that keeps each request: its path, its headers and its body."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, bytes, bytes]] = []
        super().__init__(("127.0.0.1", free_port()), _Received)

    def bodies(self, path: str) -> bytes:
        """Return all that came to a path."""
        return b"\n".join(body for where, _, body in self.kept if where == path)


class _Received(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.kept.append((self.path, bytes(self.headers), body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's name
        """Say nothing."""


@contextmanager
def collecting() -> Iterator[Collector]:
    """Yield a collector that listens."""
    collector = Collector()
    thread = threading.Thread(target=collector.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        collector.shutdown()
        thread.join()
        collector.server_close()
