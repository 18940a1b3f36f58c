"""The section `http`."""

from pydantic import PositiveFloat

from .addresses import Origins
from .section import Section, setting

__all__ = ["HttpSettings"]


class HttpSettings(Section):
    """What every HTTP port asks of connections."""

    header_timeout: PositiveFloat = setting(
        10.0, "How long a connection may be open before a request's headers have arrived; then it is closed.", "s"
    )
    cors_origins: Origins = setting(
        "",
        "Origins whose pages may send readings and ask questions from a browser, separated by commas, "
        "such as https://app.example.com; `*` is all. Where it is not set, browsers let none.",
    )
