"""Password verifiers made here, so that no password can reach a server's log (RFC 5802, RFC 7677)."""

import base64
import hashlib
import hmac
import os
import stringprep
import unicodedata

__all__ = ["scram_verifier"]

_ITERATIONS = 4096


def scram_verifier(password: str) -> str:
    """Return what PostgreSQL stores for `password` under SCRAM-SHA-256, with a fresh salt."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password).encode(), salt, _ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    salt_text, stored_text, server_text = (base64.b64encode(part).decode() for part in (salt, stored_key, server_key))
    return f"SCRAM-SHA-256${_ITERATIONS}:{salt_text}${stored_text}:{server_text}"


def _prepared(password: str) -> str:
    """Apply SASLprep's mapping (RFC 4013), as the clients do before they answer."""
    mapped = (
        " " if stringprep.in_table_c12(character) else character
        for character in password
        if not stringprep.in_table_b1(character)
    )
    return unicodedata.normalize("NFKC", "".join(mapped))
