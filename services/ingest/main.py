"""`millrace ingest`."""

from services.platform.serving import serve
from services.platform.settings import Settings

from .app import create_app

__all__ = ["run"]


def run(settings: Settings) -> None:
    """Serve until SIGTERM, then finish the requests under way.

    Raises:
        StartError: the port is taken.
    """
    ingest = settings.ingest
    grace = ingest.body_timeout + ingest.stored_timeout
    serve(create_app(settings), ingest.host, ingest.port, "MILLRACE_INGEST_PORT", grace)
