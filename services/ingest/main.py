"""`millrace run ingest`."""

from services.platform.http.middleware import with_cors_and_prefix
from services.platform.http.serving import Port, serve
from services.platform.settings import Settings

from .app import create_app

__all__ = ["run"]


def run(settings: Settings) -> None:
    """Serve until SIGTERM, then finish the requests under way.

    Raises:
        StartError: a port is taken.
    """
    ingest = settings.ingest
    grace = ingest.body_timeout + ingest.stored_timeout
    app = create_app(settings)
    public = Port(
        with_cors_and_prefix(app, settings.http, ingest.root_path),
        ingest.host,
        ingest.port,
        "MILLRACE_INGEST_PORT",
        app.state.direct,
    )
    admin = Port(app.state.admin, ingest.admin_host, ingest.admin_port, "MILLRACE_INGEST_ADMIN_PORT")
    serve([public, admin], grace, settings.http.header_timeout)
