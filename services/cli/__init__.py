"""The command `millrace`: a file for each command, or for those that belong together.

A command reads what was typed, runs what stands in its part (a workload, the local stack, sender, prove, database,
operator) and says how it ended. `process` is how all of them start and end, `admin` how some ask ingest's
administrative port.
"""

from .app import main

__all__ = ["main"]
