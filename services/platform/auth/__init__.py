"""Callers: who may do what, told by API keys. Where no file of keys is set, everybody may do everything."""

from .guard import caller_of, guard
from .keys import EVERYBODY, Caller, KeyFile, KeyFileError, Keyring, Scope, load_keys, new_key

__all__ = [
    "EVERYBODY",
    "Caller",
    "KeyFile",
    "KeyFileError",
    "Keyring",
    "Scope",
    "caller_of",
    "guard",
    "load_keys",
    "new_key",
]
