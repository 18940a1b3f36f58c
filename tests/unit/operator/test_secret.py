"""What `millrace secret` writes: drawn once, never changed, the rest made from it."""

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
