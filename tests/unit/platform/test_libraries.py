"""The versions of the libraries whose private parts are known somewhere, and where."""

from importlib.metadata import version

import pytest

from services.platform.http.app import DOCS_PATHS

KNOWN = {
    "uvicorn": "0.54.0",  # http/http11.py and http/protocol.py replace methods of its protocol and rely on their order
    "httptools": "0.9.0",  # http/http11.py relies on how an upgrade is reported
    "fastapi": "0.165.0",  # http/errors.py finds the routes inside of routers that were included
    "fastapi-swagger": "0.4.64",  # http/app.py names its files
    "redis": "8.1.0",  # stream/discovery.py replaces how a connection finds its server, writes and reads
}
"""With another version, read both against it, run tests/integration/platform and tests/faults/test_failovers.py, and
write the version down here."""


@pytest.mark.parametrize("library", KNOWN)
def test_a_library_whose_insides_are_known_has_the_version_that_was_read(library: str) -> None:
    assert version(library) == KNOWN[library]


def test_the_page_of_the_documentation_finds_all_its_files() -> None:
    assert len(DOCS_PATHS) == 5
