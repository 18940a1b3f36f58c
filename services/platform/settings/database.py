"""The section `database`: where the database is, for each role."""

from pydantic import PositiveFloat, PositiveInt, SecretStr

from .addresses import DatabaseUrl
from .section import Section, setting

__all__ = ["DatabaseSettings"]


class DatabaseSettings(Section):
    """PostgreSQL 16 to 18, best with TimescaleDB 2.24 or later."""

    owner_url: DatabaseUrl = setting(
        SecretStr("postgresql://millrace_owner@127.0.0.1:5432/sensors"),
        "Connection of the role that owns the schema: the operator and the repair loop. "
        "A pooler on its way must keep sessions.",
    )
    writer_url: DatabaseUrl = setting(
        SecretStr("postgresql://millrace_writer@127.0.0.1:5432/sensors"),
        "Connection of the writing role: workers, and ingest where deletions are asked for. "
        "Like the reader's it may lead through a pooler that keeps transactions.",
    )
    reader_url: DatabaseUrl = setting(
        SecretStr("postgresql://millrace_reader@127.0.0.1:5432/sensors"),
        "Connection of the reading role: query, and the receipts of ingest.",
    )
    replica_url: DatabaseUrl | None = setting(
        None,
        "The reading role's connection to read replicas, several hosts separated by commas; "
        "query asks them first while they are fresh.",
    )
    connect_timeout: PositiveFloat = setting(5.0, "How long connecting may take.", "s")
    pool_size: PositiveInt = setting(8, "Most connections a process holds.", "connections")
