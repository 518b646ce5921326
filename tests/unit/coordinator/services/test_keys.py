"""The coordinator's own secret and what is derived from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator.services.keys import (
    Keys,
    KeyUnusable,
    hash_token,
    load_keys,
    new_token,
    write_private,
)

STEP = "0b9f3d0e-7f4b-4a51-9c56-111111111111"


def test_a_step_token_is_read_back_by_the_key_that_made_it_alone() -> None:
    keys, others = Keys(b"a" * 32), Keys(b"b" * 32)
    token = keys.step_token(STEP, 7)
    assert keys.read_step_token(token) == (STEP, 7)
    assert others.read_step_token(token) is None
    assert keys.step_token(STEP, 7) == token


@pytest.mark.parametrize(
    "forge",
    [
        lambda token: token.replace("_7_", "_8_"),
        lambda token: token.replace("_7_", "_٧_"),
        lambda token: token.replace("_7_", f"_{'9' * 5000}_"),
        lambda token: token.replace("_7_", "_-7_"),
        lambda token: token.replace("0b9f", "1b9f"),
        lambda token: token[:-1],
        lambda token: token + "0",
        lambda token: "prs_" + token,
        lambda token: token.rpartition("_")[0],
        lambda token: "prs_",
        lambda token: "prs___",
        lambda token: token[:-4] + "\ud800ü\0é",
    ],
)
def test_a_forged_step_token_is_nothing(forge: Callable[[str], str]) -> None:
    keys = Keys(b"a" * 32)
    assert keys.read_step_token(forge(keys.step_token(STEP, 7))) is None


def test_the_key_file_is_private_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "secret-key"
    first = load_keys(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(first.master) == 32
    assert load_keys(path) == first


def test_a_short_key_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret-key"
    path.write_bytes(b"short")
    with pytest.raises(KeyUnusable, match=r"5 bytes, 32 are needed: restore"):
        load_keys(path)


def test_a_private_file_replaces_an_open_one(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_tokens_differ_and_only_their_hash_is_alike() -> None:
    assert new_token() != new_token()
    assert hash_token("x") == hash_token("x")
    assert hash_token("\ud800") != hash_token("?")


def test_a_caches_identity_can_be_worked_out_by_the_key_alone() -> None:
    keys, others = Keys(b"a" * 32), Keys(b"b" * 32)

    assert keys.cache_id("project", "step", "/c") == keys.cache_id("project", "step", "/c")
    assert keys.cache_id("project", "step", "/c") != others.cache_id("project", "step", "/c")
    assert keys.cache_id("project", "step", "/c") != keys.cache_id("project", "pr/1", "step", "/c")
