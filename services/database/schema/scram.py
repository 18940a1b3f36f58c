"""Password verifiers made here, so that no password can reach a server's log (RFC 5802, RFC 7677).

By the standard library and not by `scramp`: PostgreSQL and its clients take a password that SASLprep prohibits (one
with a control sign or an emoji) as it is, and scramp refuses it.
"""

import base64
import hashlib
import hmac
import os
import stringprep
import unicodedata

__all__ = ["scram_verifier"]

_ITERATIONS = 4096
# The one that SASLprep both makes a space and leaves out; libpq does the former, asyncpg the latter.
_ZERO_WIDTH_SPACE = "\u200b"
_PROHIBITED = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def scram_verifier(password: str) -> str:
    """Return what PostgreSQL stores for `password` under SCRAM-SHA-256, with a fresh salt.

    Raises:
        ValueError: not every client could log in by it; the message names the sign.
    """
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password).encode(), salt, _ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    salt_text, stored_text, server_text = (base64.b64encode(part).decode() for part in (salt, stored_key, server_key))
    return f"SCRAM-SHA-256${_ITERATIONS}:{salt_text}${stored_text}:{server_text}"


def _prepared(password: str) -> str:
    """Apply SASLprep (RFC 4013) as PostgreSQL and its clients do: what it prohibits is taken as it is.

    The server and libpq look for what is prohibited before they normalise, asyncpg behind that.
    """
    if password.isascii():
        return password
    kept = (character for character in password if not stringprep.in_table_b1(character))
    mapped = "".join(" " if stringprep.in_table_c12(character) else character for character in kept)
    normal = _normal(mapped)
    if _ZERO_WIDTH_SPACE in password or _taken(mapped) != _taken(normal):
        odd = [each for each in password if each == _ZERO_WIDTH_SPACE or _taken(each) != _taken(_normal(each))]
        named = f"U+{ord(odd[0]):04X}" if odd else "signs of both writing directions"
        raise ValueError(f"it holds {named}, which clients read in different ways; choose another password")
    return normal if _taken(normal) else password


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _taken(text: str) -> bool:
    """Tell whether SASLprep takes a text that is mapped already."""
    if not text or any(in_table(character) for character in text for in_table in _PROHIBITED):
        return False
    if not any(map(stringprep.in_table_d1, text)):
        return True
    ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return ends and not any(map(stringprep.in_table_d2, text))
