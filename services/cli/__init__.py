"""The command `millrace`: every service, the one-machine stack, and the tools beside them."""

from .app import main

__all__ = ["main"]
