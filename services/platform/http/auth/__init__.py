"""Callers: who may do what, told by API keys. Where no file of keys is set, everybody may do everything."""

from .guard import Check, caller, guard
from .keys import EVERYBODY, Caller, KeyFile, KeyFileError, Keyring, Scope, load_keys, new_key

__all__ = [
    "EVERYBODY",
    "Caller",
    "Check",
    "KeyFile",
    "KeyFileError",
    "Keyring",
    "Scope",
    "caller",
    "guard",
    "load_keys",
    "new_key",
]
