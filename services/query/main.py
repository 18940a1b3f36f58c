"""`millrace run query`."""

from services.platform.http.middleware import with_cors_and_prefix
from services.platform.http.serving import Port, serve
from services.platform.settings import Settings

from .app import create_app

__all__ = ["run"]


def run(settings: Settings) -> None:
    """Serve until SIGTERM, then finish the answers under way.

    Raises:
        StartError: the port is taken.
    """
    query = settings.query
    port = Port(
        with_cors_and_prefix(create_app(settings), settings.http, query.root_path),
        query.host,
        query.port,
        "MILLRACE_QUERY_PORT",
    )
    serve([port], query.statement_timeout, settings.http.header_timeout)
