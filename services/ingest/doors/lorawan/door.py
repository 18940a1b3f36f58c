"""`POST /webhooks/ttn` and `/webhooks/chirpstack`: uplinks as LoRaWAN network servers send them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import FastAPI
from msgspec.structs import replace
from starlette.responses import Response

from services.platform.http.auth import Caller
from services.platform.http.errors import Problem, problem_responses
from services.platform.http.parameters import parameters

from ...accept import REFUSALS, Acceptance, Asked, IngestParameters
from ...dedup import NATURAL
from ...readings import Decoded
from ..header_key import HeaderKeyDoor
from . import chirpstack, ttn
from .uplink import Uplink, nothing, readings_of

__all__ = ["NETWORKS", "Network", "WebhookDoor"]


@dataclass(frozen=True, slots=True)
class Network:
    """A kind of network server.

    Attributes:
        name: what metrics call it.
        path: where its events are POSTed to.
        title: what people call it.
        uplink_of: returns the uplink of a parsed body and the address's parameters, None for other events.
    """

    name: str
    path: str
    title: str
    uplink_of: Callable[[Any, Mapping[str, str]], Uplink | None]


NETWORKS = (
    Network("ttn", "/webhooks/ttn", "The Things Stack", ttn.uplink_of),
    Network("chirpstack", "/webhooks/chirpstack", "ChirpStack", chirpstack.uplink_of),
)


@dataclass(frozen=True, slots=True)
class WebhookDoor(HeaderKeyDoor):
    """Takes a network's uplinks; its other events are counted, and that is all."""

    network: Network

    @property
    def name(self) -> str:
        """What metrics call the protocol."""
        return self.network.name

    @property
    def path(self) -> str:
        """Where events are POSTed to."""
        return self.network.path

    def asked(self, caller: Caller, query: bytes, headers: Mapping[bytes, bytes]) -> Asked:  # noqa: ARG002 -- the door's
        """Return what an event asks for: 204 says that all its readings are safe, 200 names those that are wrong.

        Raises:
            Problem: `invalid_parameter`.
        """
        said = dict(parameters(query))
        natural = caller.dedup == NATURAL

        def decode(body: bytes, _: int) -> Decoded:
            uplink = self.network.uplink_of(_parsed(body), said)
            if uplink is None:
                return nothing("events")
            decoded = readings_of(uplink, caller.name)
            return replace(decoded, slices=()) if natural else decoded

        return Asked(IngestParameters(partial=True, natural=natural), decode, _told)

    def refusal(self, problem: Problem, _: Mapping[bytes, bytes]) -> Response:
        """Return problem+json."""
        return problem.response()

    def document(self, app: FastAPI) -> None:
        """Describe the route."""
        app.router.add_api_route(
            self.path,
            _documented,
            methods=["POST"],
            status_code=204,
            summary=f"Take uplinks as {self.network.title} sends them",
            tags=["LoRaWAN"],
            operation_id=f"webhook_{self.name}",
            responses={
                200: {"description": "Some values are wrong, and named; the others are stored"},
                **problem_responses(*sorted((*REFUSALS, "invalid_parameter"))),
            },
            openapi_extra={
                "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
            },
        )


def _told(accepted: Acceptance) -> Response:
    if not accepted.faults:
        return Response(status_code=204)
    answer = {"accepted": accepted.rows, "rejected": accepted.faults}
    return Response(orjson.dumps(answer), 200, media_type="application/json")


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(
            "malformed_body", f"the body is no JSON: {error}; choose JSON where the webhook is set"
        ) from error


async def _documented() -> None:
    """Take a device's uplink: each number that its codec decoded is a reading, at the time the network heard it.

    An uplink that is sent again is stored once. Events of other kinds are answered 204 and counted.
    """
