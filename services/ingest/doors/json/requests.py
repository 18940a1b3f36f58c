"""What a request asks for: query parameters and headers, checked before the body is read."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from services.platform.http.errors import Problem
from services.platform.http.parameters import parameters, wrong

__all__ = ["Ack", "Asked", "asked", "idempotency_key"]

_MAX_KEY = 255
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


class Ack(enum.StrEnum):
    """How far the answer promises: in the stream, on disk there, or committed in the database."""

    QUEUED = "queued"
    DURABLE = "durable"
    STORED = "stored"


@dataclass(frozen=True, slots=True)
class Asked:
    """Parameters of `POST /ingest`."""

    ack: Ack = Ack.DURABLE
    partial: bool = False
    key: str | None = None


_PLAIN = Asked()


def asked(query: bytes, headers: Mapping[bytes, bytes]) -> Asked:
    """Read query string and headers.

    Raises:
        Problem: `invalid_parameter` or `unsupported_media_type`, naming the parameter and the fix.
    """
    media = headers.get(b"content-type", b"application/json").split(b";", 1)[0].strip().lower()
    if media != b"application/json":
        shown = media.decode("latin-1")[:60]
        raise Problem("unsupported_media_type", f"{shown!r} is not taken; send Content-Type: application/json")
    key = idempotency_key(headers)
    if not query and key is None:
        return _PLAIN
    values = _parameters(query)
    ack, partial = values.get("ack", Ack.DURABLE), values.get("partial", "false")
    if ack not in set(Ack):
        raise wrong(ack="must be queued, durable or stored")
    if partial not in _BOOLEANS:
        raise wrong(partial="must be true or false")
    return Asked(Ack(ack), _BOOLEANS[partial], key)


def _parameters(query: bytes) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in parameters(query):
        if name not in {"ack", "partial"}:
            raise wrong(**{name[:40]: "is not known here; there are ack and partial"})
        if name in values:
            raise wrong(**{name: "is given more than once"})
        values[name] = value
    return values


def idempotency_key(headers: Mapping[bytes, bytes]) -> str | None:
    """Return a request's Idempotency-Key, None where it has none.

    Raises:
        Problem: `invalid_parameter`.
    """
    raw = headers.get(b"idempotency-key")
    if raw is None:
        return None
    key = raw.decode("latin-1").strip(" \t")
    if not 0 < len(key) <= _MAX_KEY or not key.isascii() or not key.isprintable():
        raise wrong(**{"Idempotency-Key": f"must be 1 to {_MAX_KEY} printable ASCII characters"})
    return key
