"""The section `repair`."""

from pydantic import PositiveFloat

from .section import Section, setting

__all__ = ["RepairSettings"]


class RepairSettings(Section):
    """The loops that refresh the buckets that late rows touched, carry out deletions, and fill the catalogue."""

    host: str = setting("0.0.0.0", "Address of the health and metrics port.")  # noqa: S104 -- a service in a pod
    port: int = setting(8003, "Port of health and metrics.", "", ge=0, le=65535)
    interval: PositiveFloat = setting(2.0, "Time between looks for late ranges and deletions.", "s")
    refresh_timeout: PositiveFloat = setting(
        600.0, "Longest single refresh, and longest step of filling the catalogue.", "s"
    )
