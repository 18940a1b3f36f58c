"""Millrace: readings over HTTP, through a Redis stream, exactly once into TimescaleDB.

A folder is a part, and its name is its import path. Who may import whom, from the ground up:

* ``contract`` is all that crosses between processes: entries, settlement events, dead letters, ids, names, instants.
* ``platform`` is what every process stands on: runtime, HTTP, the stream, PostgreSQL, settings.
* ``database`` is what is done to the database without Kubernetes: schema, repair, aggregates, partitions, the tier.
* ``dead_letters`` is what the ports of ingest and query do with dead letters.
* ``ingest``, ``worker``, ``query`` and ``operator`` are the workloads; ``local`` runs them on one machine, with servers
  of its own; ``sender`` sends readings. None of these knows another.
* ``prove`` stands on ``local`` and ``sender``: a load, faults, and a verdict.
* ``mqtt`` is a workload that stands on ``sender``: it brings the messages of a broker.
* ``cli`` is the command ``millrace``.

The rules are checked by import-linter (``make check``). This folder itself must never stand on ``sys.path``:
``services/operator`` would hide the standard library's ``operator``.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
