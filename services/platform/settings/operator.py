"""The section `operator`."""

from pathlib import Path

from pydantic import PositiveFloat

from .section import Section, setting

__all__ = ["OperatorSettings"]


class OperatorSettings(Section):
    """The operator of a cluster."""

    host: str = setting("0.0.0.0", "Address of the health and metrics port.")  # noqa: S104 -- a service in a pod
    port: int = setting(8004, "Port of readiness and metrics.", "", ge=0, le=65535)
    liveness_port: int = setting(8005, "Port of kopf's own probe.", "", ge=1, le=65535)
    namespace: str | None = setting(None, "Namespace to look after; the pod's or the kubeconfig's where it is not set.")
    resources: Path | None = setting(None, "YAML file with resources that are made at the start where they are absent.")
    interval: PositiveFloat = setting(20.0, "Longest time until a change by hand is noticed.", "s", le=60)
