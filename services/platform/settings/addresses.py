"""URLs of servers, origins of pages, and a key: which are taken, and what URLs say that name several servers."""

import re
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from pydantic import AfterValidator, SecretStr

from .postgres_url import postgres_address
from .signs import refuse_ambiguous

__all__ = ["ClientKey", "DatabaseUrl", "Discovery", "EndpointUrl", "Origins", "StreamUrl", "discovery"]

_SENTINEL_LOGIN = ("sentinel_username", "sentinel_password")
_SENTINEL_FORM = "redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME/0, NAME being the primary's at the Sentinels"
_CLUSTER_FORM = "redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT, a cluster having database 0 alone"

_ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:\d{1,5})?")


def _origins(text: str) -> str:
    """Return origins as browsers spell them, separated by commas alone."""
    found = [origin.strip() for origin in text.split(",")] if text else []
    if found != ["*"] and not all(map(_ORIGIN.fullmatch, found)):
        raise ValueError("it must be * or origins such as https://app.example.com, separated by commas, without a path")
    return ",".join(found)


Origins = Annotated[str, AfterValidator(_origins)]


@dataclass(frozen=True, slots=True)
class Discovery:
    """Where to ask for the server that has the stream: Sentinels, or nodes of a Redis Cluster.

    Attributes:
        primary: the name by which the Sentinels know the primary; empty where nodes of a cluster are asked.
        seeds: hosts and ports to ask.
        seed_url: URL of one that is asked, and
        server_url: of a server with data, whatever host stands in both: login, database, TLS and other options.
    """

    primary: str
    seeds: tuple[tuple[str, int], ...]
    seed_url: str = field(repr=False)
    server_url: str = field(repr=False)


def discovery(url: str) -> Discovery | None:
    """Read a URL of redis+sentinel:// or redis+cluster://, rediss+ for TLS; None for one server's.

    Raises:
        ValueError: what is wrong, in words that show nothing of the URL.
    """
    scheme, _, kind = url.partition("://")[0].lower().partition("+")
    if kind not in {"sentinel", "cluster"}:
        return None
    authority, behind = _apart(url)
    parts = urlsplit(f"//host{behind}")
    login, _, hosts = authority.rpartition("@")
    path = [unquote(part) for part in parts.path.split("/")[1:]]
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    seed_login = [options.pop(name, "") for name in _SENTINEL_LOGIN]
    if kind == "cluster":
        if path not in ([], [""], ["0"]) or options.get("db", "0") != "0" or any(seed_login):
            raise ValueError(f"it must read {_CLUSTER_FORM}")
        server = _url(scheme, login, "0", options)
        return Discovery("", _seeds(hosts, 6379), server, server)
    primary, database = path[0] if path else "", path[1] if len(path) > 1 else options.get("db", "0")
    if not primary or len(path) > 2 or not (database.isascii() and database.isdigit()):
        raise ValueError(f"it must read {_SENTINEL_FORM}")
    asked = ":".join(quote(part, safe="") for part in seed_login) if any(seed_login) else ""
    common = {name: value for name, value in options.items() if name not in {"db", "username", "password"}}
    seed_url, server_url = _url(scheme, asked, "0", common), _url(scheme, login, database, options | {"db": database})
    return Discovery(primary, _seeds(hosts, 26379), seed_url, server_url)


def _apart(url: str) -> tuple[str, str]:
    """Return what names login and hosts in a URL, and all behind it.

    The standard library of newer Pythons refuses a list of hosts in which one is an IPv6 address.
    """
    rest = url.partition("://")[2]
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    return rest[:end], rest[end:]


def _seeds(hosts: str, port: int) -> tuple[tuple[str, int], ...]:
    found = []
    for host in hosts.split(","):
        parts = urlsplit(f"//{host}")
        if not parts.hostname:
            raise ValueError("a host is missing between the commas")
        found.append((parts.hostname, parts.port or port))
    return tuple(found)


def _url(scheme: str, login: str, database: str, options: dict[str, str]) -> str:
    return f"{scheme}://{login}{'@' if login else ''}host/{database}?{urlencode(options)}"


def _checked(*schemes: str) -> AfterValidator:
    """Refuse what is no URL of `schemes`, before a client library does so with the password in its words."""

    def check(url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        scheme = text.partition("://")[0]
        if scheme not in schemes:
            raise ValueError(f"it must begin with {' or '.join(f'{known}://' for known in schemes)}")
        if scheme in _DATABASES:
            postgres_address(text)
            return url
        refuse_ambiguous(text)
        try:
            authority, behind = _apart(text)
            # Several hosts in one URL have no one port.
            hosts = authority.rpartition("@")[2].split(",") if scheme in _SEVERAL else [authority]
            _ = [urlsplit(f"//{host}").port for host in hosts]
            parts = urlsplit(f"//host{behind}")
        except ValueError:
            raise ValueError("its host and port cannot be read; signs in a password are written %XX") from None
        if scheme in _SEVERAL:
            discovery(text)
        elif scheme in _SERVERS and not re.fullmatch("/?[0-9]*", parts.path):
            raise ValueError("behind the host stands the number of a database, such as /0")
        return url

    return AfterValidator(check)


_SERVERS = ("redis", "rediss")
_SEVERAL = ("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
_DATABASES = ("postgresql", "postgres")

StreamUrl = Annotated[SecretStr, _checked(*_SERVERS, "unix", *_SEVERAL)]
DatabaseUrl = Annotated[SecretStr, _checked(*_DATABASES)]
EndpointUrl = Annotated[SecretStr, _checked("http", "https")]


def _sendable(key: SecretStr) -> SecretStr:
    """Refuse what no header can hold, before a client library does so with the key in its words."""
    text = key.get_secret_value()
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError(
            "an API key has no spaces, line ends or signs beyond ASCII; a file it came from may end in one"
        )
    return key


ClientKey = Annotated[SecretStr, AfterValidator(_sendable)]
