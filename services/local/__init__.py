"""The one-machine stack: embedded Valkey and PostgreSQL, and every service, under one command."""

from .demo import run_demo
from .up import run_up

__all__ = ["run_demo", "run_up"]
