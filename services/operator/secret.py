"""`millrace secret`, the Job of the chart that makes a Secret complete before anything else starts.

It draws passwords inside the cluster, so that none is ever in a manifest or in Helm's records, and changes none.
"""

import base64
import re
import secrets
from collections.abc import Mapping
from urllib.parse import quote

from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Secret
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt

from services.platform.kubernetes import connect, missing

__all__ = ["complete", "make_secret"]

RANDOM = "random"
"""As a value: to be drawn where the Secret has none."""

OWNER = {"app.kubernetes.io/managed-by": "millrace"}
ATTEMPTS = 3


def complete(templates: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """Return what the Secret shall hold: `random` stays what it was or is drawn, {key} is another key's value.

    Drawn words are safe in URLs, and 192 bits long; what somebody put in their place is percent-encoded in a URL.

    Raises:
        ValueError: a template names a key that is not there.
    """
    drawn = {key: known.get(key) or secrets.token_urlsafe(24) for key, value in templates.items() if value == RANDOM}

    def filled(key: str, template: str) -> str:
        if unknown := [name for name in re.findall(r"\{([^}]*)\}", template) if name not in drawn]:
            raise ValueError(f"{key} names {{{unknown[0]}}}, which is no key with the value `{RANDOM}`")
        words = {name: quote(word, safe="") for name, word in drawn.items()} if "://" in template else drawn
        return re.sub(r"\{([^}]*)\}", lambda name: words[name[1]], template)

    return {key: drawn.get(key) or filled(key, template) for key, template in templates.items()}


async def make_secret(name: str, templates: Mapping[str, str]) -> str:
    """Make the Secret complete by `complete`; keys that no template names go. Return what was done.

    Raises:
        ValueError: see `complete`.
        ApiError: the API server refuses.
    """
    # Where somebody else was faster, what he drew counts.
    again = AsyncRetrying(retry=retry_if_exception(_conflict), stop=stop_after_attempt(ATTEMPTS), reraise=True)
    client = connect(None)
    try:
        return await again(_make, client, name, templates)
    finally:
        await client.aclose()


def _conflict(error: BaseException) -> bool:
    return isinstance(error, ApiError) and error.response.status_code == 409


async def _make(client: AsyncClient, name: str, templates: Mapping[str, str]) -> str:
    """Read, complete, write: the version that was read goes along, so that two writers do not undo each other."""
    try:
        found = await client.get(Secret, name)
    except ApiError as error:
        if not missing(error):
            raise
        data = _encoded(complete(templates, {}))
        await client.create(Secret(metadata=ObjectMeta(name=name, labels=OWNER), data=data, type="Opaque"))
        return "made"
    known = {key: base64.b64decode(value).decode() for key, value in (found.data or {}).items()}
    data = _encoded(complete(templates, known))
    if data == found.data:
        return "complete"
    version = found.metadata.resourceVersion if found.metadata else None
    gone = dict.fromkeys(set(known) - set(data))
    await client.patch(Secret, name, {"metadata": {"resourceVersion": version}, "data": {**data, **gone}})
    return "brought up to date"


def _encoded(data: Mapping[str, str]) -> dict[str, str]:
    return {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
