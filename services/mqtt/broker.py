"""The connection to the broker: a session that outlives it, and acknowledgements that are given by hand.

paho's network loop runs in a thread of its own and connects again by itself; what it hears goes to the event loop. An
acknowledgement counts only on the connection that brought the message: behind it, the broker may have given the
message's number to another.
"""

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from services.platform.runtime.health import Health
from services.platform.runtime.starting import StartError
from services.platform.settings import MqttSettings

__all__ = ["Broker", "Message"]

_PARTS = {"mqtt": 1883, "mqtts": 8883}
_KEEPALIVE = 30
_LONGEST_PAUSE = 15
"""Seconds between attempts to connect, at most."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it came.

    Attributes:
        connection: the number of the connection that brought it.
        mid: the broker's number for it there.
        qos: 0 where it needs no acknowledgement.
        topic: where it was published to.
        payload: what was.
        retained: whether the broker had kept it from before somebody subscribed.
    """

    connection: int
    mid: int
    qos: int
    topic: str
    payload: bytes
    retained: bool


class Broker:
    """The bridge's end of it. Callbacks come in the event loop that makes this."""

    def __init__(
        self,
        settings: MqttSettings,
        filters: Sequence[str],
        health: Health,
        *,
        heard: Callable[[Message], None],
        resumed: Callable[[int], None],
    ) -> None:
        """Prepare it; nothing connects.

        Args:
            settings: which broker, and how.
            filters: what is subscribed to, with quality of service 1.
            health: its part `broker` tells whether that is so.
            heard: takes each message.
            resumed: hears the number of a new connection on which the broker sends again what was not acknowledged.

        Raises:
            StartError: a file of the certificates cannot be used.
        """
        self._settings = settings
        self._five = settings.version == "5"
        self._filters = filters
        self._health = health
        self._heard, self._resumed = heard, resumed
        self._loop = asyncio.get_running_loop()
        self._turn = threading.Lock()
        self._number = 0
        self._live: int | None = None
        self._client = self._made()

    def start(self) -> None:
        """Connect, for as long as it takes, and subscribe."""
        url = urlsplit(self._settings.broker)
        options: dict[str, Any] = {}
        if self._five:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = self._settings.session_expiry
            properties.ReceiveMaximum = self._settings.max_inflight
            options = {"clean_start": False, "properties": properties}
        self._client.connect_async(url.hostname or "", url.port or _PARTS[url.scheme], _KEEPALIVE, **options)
        self._client.loop_start()

    def acknowledge(self, message: Message) -> None:
        """Tell the broker that a message is safe, if it may still be told."""
        with self._turn:
            if message.connection == self._live:
                self._client.ack(message.mid, message.qos)

    def stop(self) -> None:
        """Disconnect; the broker keeps the session. This waits for paho's thread."""
        with self._turn:
            self._live = None
        self._client.disconnect()
        self._client.loop_stop()

    def _made(self) -> Client:
        own = self._settings
        client = Client(
            CallbackAPIVersion.VERSION2,
            own.client_id,
            protocol=MQTTv5 if self._five else MQTTv311,
            manual_ack=True,
            clean_session=None if self._five else False,
        )
        if own.user is not None:
            client.username_pw_set(own.user, own.password.get_secret_value() if own.password else None)
        if own.broker.startswith("mqtts"):
            ca, certificate, key = (
                None if one is None else str(one) for one in (own.ca_file, own.cert_file, own.key_file)
            )
            try:
                client.tls_set(ca, certificate, key)
            except (OSError, ValueError) as error:
                raise StartError(f"MILLRACE_MQTT_CA_FILE, _CERT_FILE or _KEY_FILE cannot be used: {error}") from error
        client.reconnect_delay_set(1, _LONGEST_PAUSE)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    # What follows runs in paho's thread.

    def _on_connect(
        self, client: Client, _: Any, flags: ConnectFlags, reason: ReasonCode, __: Properties | None
    ) -> None:
        if reason.is_failure:
            self._tell(self._health.lacks, "broker", f"the broker refuses the connection: {reason}")
            return
        with self._turn:
            self._number += 1
            self._live = self._number
        if flags.session_present:
            self._tell(self._resumed, self._number)
        once = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
        client.subscribe([(one, once) for one in self._filters] if self._five else [(one, 1) for one in self._filters])

    def _on_connect_fail(self, *_: Any) -> None:
        # paho calls this where it has just caught what went wrong.
        self._tell(self._health.lacks, "broker", f"cannot connect: {sys.exc_info()[1]}")

    def _on_disconnect(
        self, _: Client, __: Any, ___: DisconnectFlags, reason: ReasonCode, ____: Properties | None
    ) -> None:
        with self._turn:
            was_there, self._live = self._live is not None, None
        if was_there:
            self._tell(self._health.lacks, "broker", f"the connection is lost: {reason}")

    def _on_subscribe(self, _: Client, __: Any, ___: int, reasons: list[ReasonCode], ____: Properties | None) -> None:
        refused = [f"{one} ({why})" for one, why in zip(self._filters, reasons, strict=True) if why.is_failure]
        if refused:
            self._tell(self._health.lacks, "broker", f"the broker refuses to subscribe to {', '.join(refused)}")
        else:
            self._tell(self._health.has, "broker")

    def _on_message(self, _: Client, __: Any, message: MQTTMessage) -> None:
        found = Message(
            self._number, message.mid, message.qos, message.topic, bytes(message.payload), bool(message.retain)
        )
        self._tell(self._heard, found)

    def _tell(self, what: Callable[..., None], *arguments: Any) -> None:
        # The event loop may have ended before this thread; nobody listens then.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(what, *arguments)
