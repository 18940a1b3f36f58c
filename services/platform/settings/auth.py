"""The section `auth`."""

from pathlib import Path

from .section import Section, setting

__all__ = ["AuthSettings"]


class AuthSettings(Section):
    """Who may do what."""

    keys_file: Path | None = setting(
        None, "YAML file of callers and their hashed keys; where it is not set, whoever reaches a port may use it."
    )
