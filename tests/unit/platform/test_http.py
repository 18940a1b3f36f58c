"""The head of a request, and the headers that are set."""

import pytest
from pydantic import ValidationError

from services.platform.http.errors import Problem
from services.platform.http.http11 import target_of, without_upgrade
from services.platform.settings import HttpSettings, IngestSettings

HOST = (b"host", b"h:80")


@pytest.mark.parametrize(
    ("method", "target", "found"),
    [
        (b"GET", b"/a?b", b"/a?b"),
        (b"GET", b"http://h/a?b", b"/a?b"),
        (b"GET", b"HTTP://h:1?b", b"/?b"),
        (b"GET", b"http://h", b"/"),
        (b"OPTIONS", b"*", b"*"),
    ],
)
def test_a_target_is_a_path_whatever_its_form(method: bytes, target: bytes, found: bytes) -> None:
    assert target_of(method, "1.1", target, [HOST]) == found


@pytest.mark.parametrize("host", [b"", b"h", b"h:", b"127.0.0.1:80", b"[::1]", b"[::1]:8", b"a_b-c.d", b"%20"])
def test_a_host_is_a_name_or_an_address_with_or_without_a_port(host: bytes) -> None:
    assert target_of(b"GET", "1.1", b"/", [(b"host", host)]) == b"/"


@pytest.mark.parametrize("host", [b"h/", b"h?", b"u@h", b"h:80:80", b"h:a", b"::1", b"[::1", b"\xff", b"h #"])
def test_a_host_of_another_form_is_refused(host: bytes) -> None:
    with pytest.raises(Problem, match="Host"):
        target_of(b"GET", "1.1", b"/", [(b"host", host)])


def test_an_upgrade_leaves_the_rest_of_the_head_to_the_letter() -> None:
    headers = [HOST, (b"connection", b"Upgrade"), (b"upgrade", b"h2c"), (b"x", b"a \xff"), (b"upgrade", b"x")]
    left = b"PUT http://h/ HTTP/1.0\r\nhost: h:80\r\nconnection: Upgrade\r\nx: a \xff\r\n\r\n"
    assert without_upgrade(b"PUT", "1.0", b"http://h/", headers) == left


@pytest.mark.parametrize("origins", ["", "*", "https://a.example", " http://localhost:3000 , https://b.example"])
def test_origins_are_taken_as_browsers_spell_them(origins: str) -> None:
    assert HttpSettings(cors_origins=origins).cors_origins == origins.replace(" ", "")


@pytest.mark.parametrize(
    "origins", ["https://a.example/", "a.example", "*,https://a.example", "null", ",", "https://A.b"]
)
def test_origins_of_another_form_are_refused(origins: str) -> None:
    with pytest.raises(ValidationError, match="without a path"):
        HttpSettings(cors_origins=origins)


@pytest.mark.parametrize(("path", "good"), [("", True), ("/a/b-1", True), ("a", False), ("/a/", False), ("/", False)])
def test_a_path_prefix_begins_with_a_slash_and_ends_without(path: str, good: bool) -> None:
    try:
        assert IngestSettings(root_path=path).root_path == path
        assert good
    except ValidationError:
        assert not good
