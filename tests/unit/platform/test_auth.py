"""Keys are recognised, and a file that is wrong is named without its secrets."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.limits.rates import Rates
from services.platform.http import auth as keys_module
from services.platform.http.auth import Caller, KeyFileError, Keyring, Scope, load_keys, new_key
from services.platform.http.errors import Problem


def write(file: Path, *callers: dict[str, object]) -> None:
    file.write_text(yaml.safe_dump({"callers": list(callers)}))


def caller(name: str, *keys: keys_module.Key, **more: object) -> dict[str, object]:
    held = [key.model_dump(mode="json", exclude_none=True) for key in keys]
    return {"name": name, "scopes": ["ingest"], "keys": held, **more}


def test_each_of_two_keys_names_its_caller_and_no_other_text_does(tmp_path: Path) -> None:
    (old, held_old), (new, held_new) = new_key(), new_key()
    write(tmp_path / "keys", caller("garden", held_old, held_new))
    keyring = Keyring(tmp_path / "keys")
    for text in (old, new):
        found = keyring.caller(text)
        assert (found.name, found.scopes) == ("garden", [Scope.INGEST]) if found else False
    for text in ("", old[:-1], old + "x", old[:17], f"millrace_{held_old.id}_", held_old.sha256, old.upper()):
        assert keyring.caller(text) is None


@given(text=st.text())
def test_no_text_is_a_key_by_chance(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "keys"
    if not file.exists():
        write(file, caller("garden", new_key()[1]))
    assert Keyring(file).caller(text) is None


def test_an_expired_key_opens_nothing(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    (past, held_past), (future, held_future) = new_key(now - timedelta(seconds=1)), new_key(now + timedelta(hours=1))
    write(tmp_path / "keys", caller("garden", held_past, held_future))
    keyring = Keyring(tmp_path / "keys")
    assert keyring.caller(past) is None
    assert keyring.caller(future) is not None


def test_the_file_is_followed_and_a_broken_one_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "_RELOAD_EVERY", 0.0)
    (first, held_first), (second, held_second) = new_key(), new_key()
    file = tmp_path / "keys"
    write(file, caller("garden", held_first))
    keyring = Keyring(file)
    file.unlink()
    file.write_text("callers: [nonsense")
    assert keyring.caller(first) is not None
    file.unlink()
    write(file, caller("garden", held_second), caller("other"))
    assert keyring.caller(second) is not None
    assert keyring.caller(first) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("callers: [", "line 1"),
        ("callers: 7", "callers"),
        ("callers: [{name: a b, scopes: [ingest]}]", "callers.0.name"),
        ("callers: [{name: a, scopes: [root]}]", "callers.0.scopes.0"),
        ("callers: [{name: a, scopes: [ingest], keys: [{id: 0000000g, sha256: geheim}]}]", "keys.0.sha256"),
        ("callers: [{name: a, scopes: [ingest]}, {name: a, scopes: [query]}]", "a caller stands twice"),
        ("callers: [{name: a, scopes: [ingest], keys: [1, 2, 3]}]", "callers.0.keys"),
        ("callers: [{name: a, scopes: [ingest], dedup: sometimes}]", "callers.0.dedup"),
        ("users: []", "users"),
    ],
)
def test_what_is_wrong_in_a_file_of_keys_is_named_and_no_value_shown(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(KeyFileError, match="keys") as caught:
        load_keys(tmp_path / "keys")
    assert told in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_flood_of_one_caller_is_told_to_wait_and_leaves_others_alone() -> None:
    flood = Caller(name="flood", scopes=[Scope.INGEST], rows_per_second=100)
    small = Caller(name="small", scopes=[Scope.INGEST], rows_per_second=100)
    rates = Rates()
    rates.check(flood)
    rates.count_rows(flood, 1_000_000)
    with pytest.raises(Problem) as caught:
        rates.check(flood)
    assert caught.value.code == "rate_limited"
    assert 9_000 < int(caught.value.headers["Retry-After"]) <= 10_000
    rates.check(small)


def test_a_caller_may_send_two_seconds_worth_of_requests_at_once() -> None:
    sender = Caller(name="a", scopes=[Scope.INGEST], requests_per_second=0.001)
    rates = Rates()
    rates.check(sender)
    rates.count_request(sender)
    with pytest.raises(Problem):
        rates.check(sender)
