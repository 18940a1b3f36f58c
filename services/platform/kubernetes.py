"""The API client, in a pod by its service account, elsewhere by the kubeconfig."""

import ssl

import httpx2
from lightkube import AsyncClient, KubeConfig
from lightkube.config.client_adapter import verify_cluster
from lightkube.config.kubeconfig import PROXY_CONF
from lightkube.core.exceptions import ConfigError

__all__ = ["API_ERRORS", "connect", "lenient", "missing"]

API_ERRORS = (httpx2.HTTPError, ConfigError)
"""What a call raises where the API server is away or refuses."""

TIMEOUT = httpx2.Timeout(10.0)
"""Seconds for a call, so that a silent API server is noticed."""


def connect(namespace: str | None) -> AsyncClient:
    """Return a client for one namespace: the given one, or that of the service account or the kubeconfig's context.

    Raises:
        ConfigError: there is neither a service account nor a kubeconfig.
    """
    config = KubeConfig.from_env().get(default=PROXY_CONF)
    if config is None or config.user is None:
        raise ConfigError("it names no user")
    verify = lenient(verify_cluster(config.cluster, config.user, config.abs_file))
    transport = httpx2.AsyncHTTPTransport(verify=verify)
    return AsyncClient(config, namespace=namespace, timeout=TIMEOUT, transport=transport)


def lenient(context: ssl.SSLContext) -> ssl.SSLContext:
    """Let `context` take a cluster's own authority although its certificate lacks extensions; signatures still count.

    From Python 3.13 on such certificates are refused, and many clusters have them
    (https://github.com/canonical/microk8s/pull/5537).
    """
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def missing(error: Exception) -> bool:
    """Tell whether the API server says that there is no such object, or no such kind."""
    return isinstance(error, httpx2.HTTPStatusError) and error.response.status_code == 404
