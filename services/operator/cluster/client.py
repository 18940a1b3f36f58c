"""The API client, in a pod by its service account, elsewhere by the kubeconfig."""

import httpx2
from lightkube import AsyncClient, KubeConfig
from lightkube.config.kubeconfig import PROXY_CONF
from lightkube.core.exceptions import ConfigError

__all__ = ["API_ERRORS", "connect", "missing"]

API_ERRORS = (httpx2.HTTPError, ConfigError)
"""What a call raises where the API server is away or refuses."""

TIMEOUT = httpx2.Timeout(10.0)
"""Seconds for a call, so that a silent API server is noticed."""


def connect(namespace: str | None) -> AsyncClient:
    """Return a client for one namespace: the given one, or that of the service account or the kubeconfig's context.

    Raises:
        ConfigError: there is neither a service account nor a kubeconfig.
    """
    return AsyncClient(KubeConfig.from_env().get(default=PROXY_CONF), namespace=namespace, timeout=TIMEOUT)


def missing(error: Exception) -> bool:
    """Tell whether the API server says that there is no such object, or no such kind."""
    return isinstance(error, httpx2.HTTPStatusError) and error.response.status_code == 404
