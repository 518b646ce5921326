"""A forge's body with a NUL, which PostgreSQL can't keep."""

from __future__ import annotations

import json

import pytest

from coordinator.forges.payload import Unreadable, read_body


@pytest.mark.parametrize("body", [{"a": ["x\0"]}, {"a\0": 1}, "\0"])
def test_a_nul_is_refused_wherever_it_stands(body: object) -> None:
    with pytest.raises(Unreadable, match="NUL character"):
        read_body({}, json.dumps(body).encode())


def test_what_only_looks_like_one_is_taken() -> None:
    body = {"message": "write \\u0000 for it"}
    assert read_body({}, json.dumps(body).encode()) == body
