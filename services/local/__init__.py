"""The one-machine stack: embedded Valkey and PostgreSQL, and every service, under one command."""

from .demo import Demo
from .up import run_up

__all__ = ["Demo", "run_up"]
