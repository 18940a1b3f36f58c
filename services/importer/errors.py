"""What may be wrong with a file, and with an import as a whole."""

__all__ = ["ChangedError", "ReadError", "StoppedError"]


class ReadError(Exception):
    """A file cannot be read, or is not what it should be; the message names it, and the place where it is one."""


class ChangedError(ReadError):
    """What was imported of a file is not what stands there now."""


class StoppedError(Exception):
    """The import cannot go on; what was not sent is left for the next one."""
