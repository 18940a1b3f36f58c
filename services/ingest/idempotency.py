"""Idempotency keys: how a request says one, and how two bodies of one key are told apart."""

import hashlib
from collections.abc import Mapping
from typing import Any

from services.contract import Columns
from services.platform.http.errors import Problem
from services.platform.http.parameters import wrong

__all__ = ["KEY_SCHEMA", "digest", "idempotency_key", "key_reused"]

_MAX_KEY = 255

KEY_SCHEMA: dict[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": _MAX_KEY,
    "pattern": r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$",
}
"""JSON schema of the header Idempotency-Key, for the documents of routes that take it."""


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


def digest(columns: Columns) -> bytes:
    """Hash the readings, in their order; spelling and compression of the body do not matter.

    The columns must be of one batch alone, for the order of their dictionary counts. Digests stand in the stream and
    the ledger: another hash would take every repeat across an upgrade for another body.
    """
    hashed = hashlib.blake2b(digest_size=16)
    hashed.update("\0".join(columns.sensor_ids).encode())
    for column in (columns.index, columns.timestamps, columns.values):
        hashed.update(column.tobytes())
    return hashed.digest()


def key_reused() -> Problem:
    """Return the problem of a key that came with another body."""
    return Problem(
        "key_reused",
        "this Idempotency-Key was sent with other readings before; use a new key for new readings",
    )
