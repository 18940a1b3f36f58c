"""Requests of OTLP to readings, by the form that they are in."""

from collections.abc import Callable, Mapping

import msgspec
from google.protobuf.message import DecodeError

from services.platform.http.errors import Problem

from ...readings import Decoded
from . import as_json, as_protobuf
from .gathering import Gathering, Names

__all__ = ["JSON", "PROTOBUF", "MetricsDecoder"]

PROTOBUF, JSON = "application/x-protobuf", "application/json"
"""Media types."""


class MetricsDecoder:
    """Decodes requests, and remembers what their series are called. One a process."""

    def __init__(self) -> None:
        self._names = {PROTOBUF: Names(as_protobuf.FORM), JSON: Names(as_json.FORM)}

    def decode(self, body: bytes, media_type: str) -> Decoded:
        """Return the readings of a request; positions are of data points, in their order.

        Raises:
            Problem: `malformed_body` or `too_many_rows`.
        """
        names = self._names[media_type]
        names.forget()
        gathering = Gathering(names)
        try:
            _GATHERERS[media_type](body, gathering)
        except DecodeError:
            detail = "the body is no protobuf message ExportMetricsServiceRequest"
            raise Problem("malformed_body", detail) from None
        except RecursionError:
            raise Problem("malformed_body", "the body is nested too deep") from None
        except (msgspec.MsgspecError, ValueError) as error:
            raise Problem("malformed_body", f"the body is no ExportMetricsServiceRequest in JSON: {error}") from None
        return gathering.decoded()


_GATHERERS: Mapping[str, Callable[[bytes, Gathering], None]] = {
    PROTOBUF: as_protobuf.gather,
    JSON: as_json.gather,
}
