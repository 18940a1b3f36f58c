"""Millrace: readings over HTTP, through a Redis stream, exactly once into TimescaleDB.

A folder is a part, and its name is its import path. Who may import whom, from the ground up:

* ``contract`` is what crosses the stream: entry schema, version, codec, ids, names, instants. It knows nothing of ours.
* ``platform`` is what every process stands on: settings, logs, telemetry, the stream, PostgreSQL, errors.
* ``ingest``, ``worker``, ``query`` and ``operator`` are the workloads. They do not know each other.
* ``local`` runs all of them on one machine, with servers of its own.
* ``cli`` is the command ``millrace``.

The rules are checked by import-linter (``make check``). This folder itself must never stand on ``sys.path``:
``services/operator`` would hide the standard library's ``operator``.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
