"""The resources of the operator's configuration, made where they are absent and from then on their owners'."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
import yaml
from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError

from services.platform.runtime.starting import StartError

from .kinds import GROUP, KINDS, VERSION

__all__ = ["make_defaults", "read_defaults"]

log = structlog.get_logger(__name__)


def read_defaults(path: Path) -> list[dict[str, Any]]:
    """Return the resources that stand in a YAML file.

    Raises:
        StartError: the file cannot be read, or something else stands in it.
    """
    try:
        documents = [one for one in yaml.safe_load_all(path.read_text()) if one is not None]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StartError(f"MILLRACE_OPERATOR_RESOURCES: {path} cannot be read: {error}") from None
    for number, one in enumerate(documents, 1):
        known = isinstance(one, dict) and one.get("apiVersion") == f"{GROUP}/{VERSION}" and one.get("kind") in KINDS
        if not known or not isinstance(one.get("metadata"), dict) or not one["metadata"].get("name"):
            raise StartError(
                f"MILLRACE_OPERATOR_RESOURCES: document {number} of {path} is no named resource of {GROUP}/{VERSION} "
                f"({', '.join(KINDS)})"
            )
    return documents


async def make_defaults(client: AsyncClient, resources: Sequence[dict[str, Any]]) -> None:
    """Make those that are absent.

    Raises:
        API_ERRORS: the API server is away, or refuses one of them.
    """
    for one in resources:
        kind, name = one["kind"], one["metadata"]["name"]
        try:
            await client.create(KINDS[kind].from_dict(one))
        except ApiError as error:
            if error.response.status_code != 409:
                raise
        else:
            log.info("a default resource was made", action="make_defaults", kind=kind, name=name)
