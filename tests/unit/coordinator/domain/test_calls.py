"""What answers of other people's servers mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.outbox.calls import (
    DEFAULT_LIMIT_WAIT,
    MAX_REASON_CHARACTERS,
    MAX_WAIT,
    Answered,
    Reply,
    pause,
    read_reply,
)

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
LIFTED = str(int((NOW + timedelta(minutes=7)).timestamp()))


@pytest.mark.parametrize(
    ("status", "headers", "body", "wait"),
    [
        (429, {"retry-after": "30"}, b"", timedelta(seconds=30)),
        (429, {"retry-after": "Sat, 28 Nov 2026 12:05:00 GMT"}, b"", timedelta(minutes=5)),
        (429, {}, b"", DEFAULT_LIMIT_WAIT),
        (
            403,
            {"x-ratelimit-remaining": "0", "x-ratelimit-reset": LIFTED},
            b"",
            timedelta(minutes=7),
        ),
        (403, {}, b'{"message": "You have exceeded a secondary rate limit"}', DEFAULT_LIMIT_WAIT),
        (429, {"ratelimit-reset": LIFTED}, b"", timedelta(minutes=7)),
        (503, {"retry-after": "999999999999"}, b"", MAX_WAIT),
        (503, {}, b"", None),
        (408, {}, b"", None),
    ],
)
def test_who_is_busy_says_for_how_long(
    status: int, headers: dict[str, str], body: bytes, wait: timedelta | None
) -> None:
    outcome = read_reply(Reply(status=status, headers=headers, body=body), NOW)
    assert (outcome.answered, outcome.wait) == (Answered.BUSY, wait)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, b'{"message": "Bad credentials"}', "401: Bad credentials; the token is not valid"),
        (403, b"<html>", "403; the token lacks the right to do this"),
        (404, b"", "404; there is no such repository or commit there"),
        (422, b'{"errors": [{"message": "No commit found"}]}', "422: No commit found"),
        (400, b'{"error": {"message": "bad"}}', "400: bad"),
        (302, b"", "302: a redirect, which is not followed"),
        (400, b"[" * 60_000, "400"),
    ],
)
def test_a_refusal_is_told_in_the_servers_words(status: int, body: bytes, reason: str) -> None:
    outcome = read_reply(Reply(status=status, headers={}, body=body), NOW)
    assert outcome.answered is Answered.REFUSED
    assert (outcome.reason or "").startswith(reason)


@given(
    status=st.integers(100, 599),
    headers=st.dictionaries(
        st.sampled_from(["retry-after", "x-ratelimit-remaining", "x-ratelimit-reset"]),
        st.text(max_size=40),
    ),
    body=st.binary(max_size=200),
)
def test_any_answer_means_something(status: int, headers: dict[str, str], body: bytes) -> None:
    outcome = read_reply(Reply(status=status, headers=headers, body=body), NOW)
    assert outcome.wait is None or timedelta(seconds=1) <= outcome.wait <= MAX_WAIT
    assert len(outcome.reason or "") <= MAX_REASON_CHARACTERS


def test_pauses_grow_to_a_quarter_of_an_hour() -> None:
    assert [pause(count).total_seconds() for count in (1, 2, 3, 9, 500)] == [2, 4, 8, 512, 900]
