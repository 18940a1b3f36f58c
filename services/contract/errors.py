"""Why an entry, a dead letter or a settlement event cannot be read; the class decides where an entry goes.

EntryError
├── DamagedEntryError   never readable: becomes a dead letter
└── NewerVersionError   readable by a later release: stays pending
"""

__all__ = ["DamagedEntryError", "EntryError", "NewerVersionError"]


class EntryError(ValueError):
    """An entry cannot be read."""


class DamagedEntryError(EntryError):
    """No release can read the entry: it breaks the schema of its own version."""


class NewerVersionError(EntryError):
    """The entry was written by a newer release, which can read it."""

    def __init__(self, version: int) -> None:
        super().__init__(f"contract version {version} is newer than this release understands")
        self.version = version
