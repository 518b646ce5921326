"""Login tokens: only what we signed, for us, and not expired."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from coordinator.services.people.login_tokens import Claims, read_login_token, write_login_token

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ISSUER = "https://ci.example"
KEY = b"k" * 32
KEYS = {"one": KEY}
CLAIMS = Claims(
    issuer=ISSUER,
    user_id="u",
    generation=3,
    issued_at=NOW,
    expires_at=NOW + timedelta(hours=1),
    id="t",
)


def read(token: str, now: datetime = NOW) -> Claims | None:
    return read_login_token(token, KEYS, ISSUER, now)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def signed(key: bytes = KEY, **changes: Any) -> str:
    """A token as ours, but for a change of its claims; None leaves one out."""
    claims = {
        "iss": ISSUER,
        "aud": "pushrod",
        "sub": "u",
        "iat": NOW.timestamp(),
        "exp": NOW.timestamp() + 60,
        "jti": "t",
        "gen": 3,
    } | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    header = {"alg": "HS256", "kid": "one"}
    return jwt.encode(header, claims, OctKey.import_key(key), algorithms=["HS256"])


def test_a_token_is_read_as_it_was_written() -> None:
    assert read(write_login_token(CLAIMS, "one", KEY)) == CLAIMS
    assert read(signed()) is not None


def test_a_token_ends_when_it_expires() -> None:
    token = write_login_token(CLAIMS, "one", KEY)
    assert read(token, CLAIMS.expires_at - timedelta(seconds=1)) is not None
    assert read(token, CLAIMS.expires_at + timedelta(seconds=1)) is None


def test_a_token_names_its_key() -> None:
    assert read(write_login_token(CLAIMS, "two", KEY)) is None
    assert read(write_login_token(CLAIMS, "one", b"x" * 32)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://other.example"},
        {"iss": None},
        {"aud": "other"},
        {"aud": None},
        {"sub": None},
        {"exp": None},
        {"exp": "tomorrow"},
        {"gen": None},
        {"gen": "x"},
        {"gen": []},
        {"jti": None},
        {"iat": None},
        {"nbf": NOW.timestamp() + 600},
    ],
)
def test_a_token_of_ours_that_is_for_others_or_lacks_a_claim_is_none(
    changes: dict[str, Any],
) -> None:
    assert read(signed(**changes)) is None


def test_no_other_algorithm_is_believed() -> None:
    header, payload, signature = write_login_token(CLAIMS, "one", KEY).split(".")
    for algorithm in ("none", "None", "HS512", "RS256", None, ["HS256"]):
        forged = part({"alg": algorithm, "kid": "one", "typ": "JWT"})
        for end in ("", signature):
            assert read(f"{forged}.{payload}.{end}") is None
    key = RSAKey.generate_key(2048, auto_kid=False)
    rsa = jwt.encode({"alg": "RS256", "kid": "one"}, {"sub": "u"}, key, algorithms=["RS256"])
    assert read(rsa) is None
    assert read(f"{header}.{payload}.") is None


def test_a_changed_token_is_none() -> None:
    header, _, signature = write_login_token(CLAIMS, "one", KEY).split(".")
    other = write_login_token(replace(CLAIMS, user_id="admin"), "one", KEY).split(".")[1]
    assert read(f"{header}.{other}.{signature}") is None


@given(st.text(max_size=200).map(lambda text: f"{text}.{text}.{text}"))
def test_any_text_is_just_not_a_token(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    "header", ["[" * 5000, "{}", "null", "[]", '"x"', '{"alg":"HS256","kid":{"a":1}}', "\x00"]
)
def test_a_header_of_any_kind_is_just_wrong(header: str) -> None:
    encoded = base64.urlsafe_b64encode(header.encode()).rstrip(b"=").decode()
    assert read(f"{encoded}.e30.e30") is None
