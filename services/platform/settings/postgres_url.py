"""URLs of PostgreSQL, read once: no driver sees the login or the hosts of one and reads them in its own way."""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from .signs import refuse_ambiguous

__all__ = ["PostgresAddress", "postgres_address"]

_FORM = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, several hosts separated by commas"
_PARTS = re.compile(r"postgres(?:ql)?://(?P<authority>[^/?]*)(?:/(?P<database>[^?]*))?(?:\?(?P<options>.*))?")
_HOST = re.compile(
    r"(?:(?P<folder>/[^:]*)|\[(?P<address>[0-9A-Fa-f:.]+(?:%.+)?)\]|(?P<name>[^:/\[\]]+))(?::(?P<port>[0-9]*))?"
)
_LOGIN = {"user": "user", "password": "password", "dbname": "database", "database": "database"}


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Where a database is and who logs in there; what is None or empty is left to libpq's environment variables.

    Attributes:
        user, password, database: as they are, not encoded.
        hosts: names, addresses or folders of sockets, with the port of each where one is given.
        options: the others, such as sslmode.
    """

    user: str | None
    password: str | None = field(repr=False)
    database: str | None
    hosts: tuple[tuple[str, int | None], ...]
    options: tuple[tuple[str, str], ...] = field(repr=False)

    def arguments(self) -> dict[str, Any]:
        """Return asyncpg's arguments. It gets the options as a URL, for it knows what they mean, and nothing else."""
        found: dict[str, Any] = {"user": self.user, "password": self.password, "database": self.database}
        if self.options:
            found["dsn"] = f"postgresql://?{urlencode(self.options)}"
        if self.hosts:
            found["host"] = [host for host, _ in self.hosts]
        if any(port for _, port in self.hosts):
            found["port"] = [port or 5432 for _, port in self.hosts]
        return found

    @property
    def where(self) -> str:
        """Return the hosts as a URL names them."""
        return ",".join(_host_text(host) + (f":{port}" if port else "") for host, port in self.hosts)

    def url(self) -> str:
        """Return the address as a URL, each part of it encoded."""
        login = ":".join(quote(part, safe="") for part in (self.user, self.password) if part is not None)
        options = f"?{urlencode(self.options, quote_via=quote)}" if self.options else ""
        return f"postgresql://{login}{'@' if login else ''}{self.where}/{quote(self.database or '', safe='')}{options}"


def postgres_address(url: str) -> PostgresAddress:
    """Read a URL.

    Raises:
        ValueError: it is none, or could be read in two ways; the message shows nothing of it.
    """
    refuse_ambiguous(url)
    match = _PARTS.fullmatch(url)
    if match is None:
        raise ValueError("it must begin with postgresql:// or postgres://")
    login, _, hosts = match["authority"].rpartition("@")
    user, _, password = login.partition(":")
    said = {"user": user, "password": password, "database": match["database"] or ""}
    found = {name: unquote(text) for name, text in said.items() if text}
    others: dict[str, str] = {}
    for name, value in _options(match["options"] or ""):
        key = _LOGIN.get(name, name)
        place = found if name in _LOGIN else others
        if key in place or (key == "host" and hosts):
            raise ValueError(f"it says twice what its {key} is")
        place[key] = value
    ports = others.pop("port", "").split(",")
    where = _hosts([unquote(host) for host in hosts.split(",")] if hosts else others.pop("host", "").split(","), ports)
    return PostgresAddress(
        found.get("user"), found.get("password"), found.get("database"), where, tuple(others.items())
    )


def _options(query: str) -> list[tuple[str, str]]:
    if "+" in query:
        raise ValueError("behind the ? some read + as a space; write %2B or %20")
    try:
        return parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ValueError("behind the ? stand options such as sslmode=require, with & between them") from None


def _hosts(texts: list[str], ports: list[str]) -> tuple[tuple[str, int | None], ...]:
    if texts == [""]:
        if ports != [""]:
            raise ValueError(f"it names a port and no host; write {_FORM}")
        return ()
    if len(ports) not in {1, len(texts)}:
        raise ValueError("it names not as many ports as hosts")
    several = ports * (len(texts) if len(ports) == 1 else 1)
    return tuple(_host(text, port) for text, port in zip(texts, several, strict=True))


def _host(text: str, port: str) -> tuple[str, int | None]:
    match = _HOST.fullmatch(text)
    own = (match["port"] if match else None) or ""
    if own and port:
        raise ValueError("it says twice what its port is")
    number = own or port
    if match is None or (number and not (0 < int(number) < 65536)):
        raise ValueError(f"its host and port cannot be read; write {_FORM}, signs in a password as %XX")
    return match["folder"] or match["address"] or match["name"], int(number) if number else None


def _host_text(host: str) -> str:
    return f"[{host}]" if ":" in host else quote(host, safe="")
