"""Verifiers against the example of RFC 7677, section 3."""

import base64
import hashlib
import hmac

import pytest

from services.database.schema import scram

NONCE = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
AUTH_MESSAGE = f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={NONCE}"
SERVER_SIGNATURE = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_the_server_key_signs_the_example_of_the_rfc(monkeypatch: pytest.MonkeyPatch) -> None:
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    monkeypatch.setattr("os.urandom", lambda _: salt)
    verifier = scram.scram_verifier("pencil")
    assert verifier.startswith("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
    server_key = base64.b64decode(verifier.rpartition(":")[2])
    signature = hmac.digest(server_key, AUTH_MESSAGE.encode(), hashlib.sha256)
    assert base64.b64encode(signature).decode() == SERVER_SIGNATURE


def test_each_verifier_has_a_salt_of_its_own() -> None:
    assert scram.scram_verifier("pencil") != scram.scram_verifier("pencil")
