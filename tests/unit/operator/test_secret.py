"""What `millrace secret` writes: drawn once, never changed, the rest made from it."""

import base64
import json
from urllib.parse import unquote, urlsplit

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightkube import AsyncClient, KubeConfig
from lightkube.config.models import Cluster, User
from lightkube.core.exceptions import ApiError

from services.operator import secret
from services.operator.secret import complete

TEMPLATES = {"word": "random", "other": "random", "url": "redis://:{word}@redis:6379/0", "plain": "as it stands"}


def test_drawn_words_differ_and_fit_into_a_url() -> None:
    made = complete(TEMPLATES, {})
    assert made["word"] != made["other"]
    assert len(made["word"]) >= 32
    assert urlsplit(made["url"]).password == made["word"]
    assert made["plain"] == "as it stands"


def test_what_was_drawn_stays_and_what_is_made_from_it_follows_its_template() -> None:
    made = complete(TEMPLATES, {})
    again = complete({**TEMPLATES, "url": "rediss://:{word}@elsewhere:6379/0"}, made)
    assert {key: again[key] for key in ("word", "other", "plain")} == {
        key: made[key] for key in ("word", "other", "plain")
    }
    assert again["url"] == f"rediss://:{made['word']}@elsewhere:6379/0"


@given(st.text(min_size=1))
def test_a_word_that_somebody_put_there_stands_encoded_in_a_url(word: str) -> None:
    made = complete({**TEMPLATES, "url": "postgresql://me:{word}@h:1/d"}, {"word": word})
    assert unquote(made["url"].removeprefix("postgresql://me:").removesuffix("@h:1/d")) == word
    assert made["url"].count("@") == 1


@given(st.dictionaries(st.sampled_from(["word", "other", "url", "more"]), st.text(min_size=1, max_size=8)))
def test_completing_twice_changes_nothing(known: dict[str, str]) -> None:
    once = complete(TEMPLATES, known)
    assert complete(TEMPLATES, once) == once
    assert set(once) == set(TEMPLATES)


def test_a_template_with_an_unknown_key_says_which() -> None:
    with pytest.raises(ValueError, match=r"url names \{wrong\}"):
        complete({"word": "random", "url": "redis://:{wrong}@redis"}, {})


class Server:
    """An API server where `theirs` makes the Secret between our look and our write; it refuses writes from then on."""

    def __init__(self, theirs: int) -> None:
        self.theirs, self.writes = theirs, 0

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET" and not self.writes:
            return httpx2.Response(404, json={"kind": "Status", "code": 404, "message": "there is none"})
        there = {"metadata": {"name": "s", "resourceVersion": "1"}, "data": {"word": base64.b64encode(b"w").decode()}}
        if request.method == "GET":
            return httpx2.Response(200, json=there)
        self.writes += 1
        if self.writes <= self.theirs:
            return httpx2.Response(409, json={"kind": "Status", "code": 409, "message": "somebody was faster"})
        self.written = json.loads(request.content)
        return httpx2.Response(200, json=there)

    def client(self, namespace: str | None) -> AsyncClient:
        config = KubeConfig.from_one(cluster=Cluster("http://server"), user=User()).get()
        return AsyncClient(config, namespace=namespace, transport=httpx2.MockTransport(self.answer))


async def test_who_was_slower_takes_what_the_other_drew(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(theirs=1)
    monkeypatch.setattr(secret, "connect", server.client)
    assert await secret.make_secret("s", {"word": "random", "url": "redis://:{word}@redis"}) == "brought up to date"
    assert base64.b64decode(server.written["data"]["word"]) == b"w"
    assert base64.b64decode(server.written["data"]["url"]) == b"redis://:w@redis"
    assert server.written["metadata"]["resourceVersion"] == "1"


async def test_a_write_that_is_always_crossed_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(theirs=99)
    monkeypatch.setattr(secret, "connect", server.client)
    with pytest.raises(ApiError, match="faster"):
        await secret.make_secret("s", {"word": "random", "url": "redis://:{word}@redis"})
    assert server.writes == secret.ATTEMPTS
