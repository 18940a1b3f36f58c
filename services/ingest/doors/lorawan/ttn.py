"""The Things Stack v3, on which The Things Network runs: its uplink messages, by webhook in JSON.

Its webhooks tell kinds of messages apart by what they hold. An uplink is this one by device, session, frame counter
and the instant at which the network server took it; correlation ids would not do, for the application server adds a
new one whenever it handles an uplink.
"""

from collections.abc import Mapping
from typing import Any

from .uplink import Uplink, required

__all__ = ["uplink_of"]


def uplink_of(event: Any, _: Mapping[str, str]) -> Uplink | None:
    """Return the uplink of a message, None where it is of another kind.

    Raises:
        Problem: `malformed_body`: it is no message of The Things Stack.
    """
    device = required(event, "end_device_ids", "device_id")
    application = required(event, "end_device_ids", "application_ids", "application_id")
    message = event.get("uplink_message")
    if not isinstance(message, dict):
        return None
    instant = required(message if "received_at" in message else event, "received_at")
    labels = {"application": application, "device": device}
    if eui := event["end_device_ids"].get("dev_eui"):
        labels["dev_eui"] = str(eui)
    # A frame counter of 0 is left out, as all that is empty.
    parts = (application, device, message.get("session_key_id", ""), message.get("f_cnt", 0), instant)
    return Uplink("\0".join(map(str, parts)), instant, labels, message.get("decoded_payload"))
