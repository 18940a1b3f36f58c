"""A dead letter as it stands in the stream of dead letters: why, where from, and the entry's own fields."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from .errors import DamagedEntryError, NewerVersionError

__all__ = ["LETTER_VERSION", "DeadLetter", "decode_letter", "encode_letter"]

LETTER_VERSION = 1
"""The version of dead letters that this release writes, and the newest that it reads."""

_VERSION = b"letter"
_FIELDS = b"fields"
_OURS = {_VERSION, b"reason", b"detail", b"origin", b"batch_id", _FIELDS}

_MOST_FIELDS = 100
"""Fields that a dead letter keeps apart: a script can pass on no more than a few thousand values."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What could not be stored.

    Attributes:
        code: of the reason, such as "refused".
        detail: what was wrong.
        origin: the id that its entry had in the stream.
        fields: of an entry that can be replayed as it stands, or those that could not be read.
        batch_id: None for a damaged entry.
    """

    code: str
    detail: str
    origin: str
    fields: dict[bytes, bytes]
    batch_id: uuid.UUID | None = None


def encode_letter(letter: DeadLetter) -> dict[bytes, bytes]:
    """Return the stream fields of a dead letter.

    A damaged entry may have fields of any name and number. Those with a name of ours, or all where they are many, are
    packed into one.
    """
    flat = {
        _VERSION: b"%d" % LETTER_VERSION,
        b"reason": letter.code.encode(),
        b"detail": letter.detail.encode(),
        b"origin": letter.origin.encode(),
    }
    if letter.batch_id is not None:
        flat[b"batch_id"] = str(letter.batch_id).encode()
    many = len(letter.fields) > _MOST_FIELDS
    packed = {name: value for name, value in letter.fields.items() if many or name in _OURS}
    if packed:
        flat[_FIELDS] = msgspec.msgpack.encode(packed)
    return flat | {name: value for name, value in letter.fields.items() if name not in packed}


def decode_letter(fields: Mapping[bytes, bytes]) -> DeadLetter:
    """Read the stream fields of a dead letter.

    Those of before there were versions, and what somebody put there by hand, have none; what is missing is empty.

    Raises:
        NewerVersionError: a later release wrote it.
        DamagedEntryError: its version is none, or its packed fields cannot be unpacked.
    """
    version = fields.get(_VERSION, b"1")
    if not (version.isdigit() and len(version) < 10) or int(version) < 1:
        raise DamagedEntryError(f"the version of the dead letter is not a positive number: {version[:20]!r}")
    if int(version) > LETTER_VERSION:
        raise NewerVersionError(int(version))
    return DeadLetter(
        _text(fields, b"reason"),
        _text(fields, b"detail"),
        _text(fields, b"origin"),
        _entry_fields(fields),
        _uuid(_text(fields, b"batch_id")),
    )


def _entry_fields(fields: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    kept = {name: value for name, value in fields.items() if name not in _OURS}
    if _FIELDS not in fields:
        return kept
    try:
        return kept | msgspec.msgpack.decode(fields[_FIELDS], type=dict[bytes, bytes])
    except msgspec.MsgspecError as error:
        raise DamagedEntryError(f"the packed fields of the dead letter cannot be read: {error}") from None


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode(errors="replace")


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
