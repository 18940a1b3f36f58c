"""Why a process cannot start."""

__all__ = ["StartError"]


class StartError(Exception):
    """A process cannot start; the message names the setting to change."""
