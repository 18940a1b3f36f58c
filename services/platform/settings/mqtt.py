"""The section `mqtt`: which broker, which topics, and how many messages are in hand."""

from pathlib import Path
from typing import Literal

from pydantic import PositiveInt, SecretStr

from .section import Section, setting

__all__ = ["MqttSettings"]


class MqttSettings(Section):
    """The bridge that subscribes to an MQTT broker, and posts what comes to ingest."""

    host: str = setting("0.0.0.0", "Address of the health and metrics port.")  # noqa: S104 -- a service in a pod
    port: int = setting(8007, "Port of health and metrics.", "", ge=0, le=65535)
    broker: str = setting(
        "mqtt://127.0.0.1:1883",
        "The broker: mqtt://HOST:PORT, or mqtts://HOST:PORT for TLS.",
        pattern=r"^mqtts?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$",
    )
    topics: str = setting(
        "",
        "Templates of the topics to subscribe to, separated by commas, such as site/{site}/device/{device}/{name}.",
    )
    time_fields: str = setting(
        "timestamp,time,ts", "Names in an object of JSON that may say its time, the first that is there."
    )
    client_id: str = setting(
        "millrace",
        "Client id, by which the broker knows the session; no two clients may have one.",
        min_length=1,
        max_length=128,
    )
    user: str | None = setting(None, "User name at the broker.")
    password: SecretStr | None = setting(None, "Password at the broker.")
    ca_file: Path | None = setting(
        None, "Certificates by which the broker's is checked; where it is not set, those that the system trusts."
    )
    cert_file: Path | None = setting(None, "Certificate that the broker is shown, with its chain.")
    key_file: Path | None = setting(None, "Private key of that certificate.")
    version: Literal["5", "3.1.1"] = setting("5", "Version of MQTT.")
    session_expiry: PositiveInt = setting(
        259_200,
        "How long the broker keeps the session, and what comes meanwhile, while the bridge is away; "
        "with version 3.1.1 the broker decides.",
        "s",
        le=4_294_967_295,
    )
    max_inflight: PositiveInt = setting(
        10_000,
        "Most messages that the broker may have sent and the bridge not acknowledged; the broker has a limit, too.",
        "messages",
        le=65_535,
    )
    batch_messages: PositiveInt = setting(2_000, "Most messages in a request to ingest.", "messages", le=50_000)
    connections: PositiveInt = setting(2, "Most requests to ingest under way at once.", "requests", le=64)
    ingest_url: str = setting(
        "http://127.0.0.1:8000",
        "Where ingest is; `MILLRACE_CLIENT_KEY` is the key that is sent there.",
        pattern=r"^https?://[^/@]+(/[A-Za-z0-9._~/-]*)?$",
    )
