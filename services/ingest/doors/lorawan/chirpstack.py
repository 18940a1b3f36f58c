"""ChirpStack v4: the events of its HTTP integration, in JSON; `event` in the address says of what kind one is."""

from collections.abc import Mapping
from typing import Any

from services.platform.http.parameters import wrong

from .uplink import Uplink, required

__all__ = ["uplink_of"]

_NAMES = {"tenant": "tenantName", "application": "applicationName", "device": "deviceName", "dev_eui": "devEui"}


def uplink_of(event: Any, parameters: Mapping[str, str]) -> Uplink | None:
    """Return the uplink of an event, None where it is of another kind.

    Raises:
        Problem: `invalid_parameter`, or `malformed_body`: it is no event of ChirpStack.
    """
    if "event" not in parameters:
        raise wrong(event="is missing; ChirpStack adds it to the address, such as ?event=up")
    if parameters["event"] != "up":
        return None
    eui = required(event, "deviceInfo", "devEui")
    instant, unique = required(event, "time"), required(event, "deduplicationId")
    device = event["deviceInfo"]
    labels = {label: str(device[name]) for label, name in _NAMES.items() if device.get(name)}
    tags = device.get("tags")
    for name, value in tags.items() if isinstance(tags, dict) else ():
        if value:
            # Where sensors are chosen, names in double underscores mean something else.
            labels[f"tag.{name}" if name in _NAMES or name.startswith("__") else name] = str(value)
    return Uplink(f"{eui}\0{unique}", instant, labels, event.get("object"))
