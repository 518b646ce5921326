"""The coordinator's own secret and what is derived from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator.services.keys import (
    KEY_PRINT_FILE,
    KeyPlace,
    Keys,
    KeyUnusable,
    hash_token,
    is_public,
    load_keys,
    new_key,
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
    place = KeyPlace(data=tmp_path)
    first = load_keys(place)
    assert place.file.stat().st_mode & 0o777 == 0o600
    assert len(first.master) == 32
    assert load_keys(place) == first
    assert list(tmp_path.iterdir()) == [place.file]


def test_a_short_key_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret-key").write_bytes(b"short")
    with pytest.raises(KeyUnusable, match=r"5 bytes, 32 are needed: restore"):
        load_keys(KeyPlace(data=tmp_path))


# A file of the operator's

LINE = b"prk_" + b"A" * 43


def _given(folder: Path, content: bytes, mode: int = 0o600) -> KeyPlace:
    file = folder / "given"
    file.write_bytes(content)
    file.chmod(mode)
    data = folder / "data"
    data.mkdir(exist_ok=True)
    return KeyPlace(data=data, given=file)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_line_of_text_is_the_same_key_wherever_it_lies(tmp_path: Path, end: str) -> None:
    """Whatever end an editor or a platform gave it; nothing of it is copied."""
    line = new_key()
    place = _given(tmp_path, (line + end).encode())
    keys = load_keys(place)
    assert keys == load_keys(_given(tmp_path, line.encode()))
    assert len(keys.master) == 32
    [kept] = place.data.iterdir()
    assert (kept.name, kept.read_text()) == (KEY_PRINT_FILE, keys.print)
    assert new_key() != line


def test_a_copy_of_a_data_folders_key_is_that_key(tmp_path: Path) -> None:
    own = KeyPlace(data=tmp_path / "own")
    own.data.mkdir()
    keys = load_keys(own)
    assert load_keys(_given(tmp_path, own.file.read_bytes())) == keys
    given = tmp_path / "given"
    assert load_keys(KeyPlace(data=own.data, given=given)) == keys


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"", 0o600, "holds 0 bytes, 32 are needed: `pushrod key create` prints"),
        (b"prk_abc\n", 0o600, "no whole key: put a copy of the line"),
        (LINE[:-1], 0o600, "no whole key"),
        (b"prk_" + b"\xff" * 43, 0o600, "no whole key"),
        (b"x" * 5000, 0o600, "it holds more than 4096 bytes"),
        (LINE, 0o644, "secret_key_file .* can be read by others: chmod 600"),
        (LINE, 0o640, "can be read by others: chmod 600"),
    ],
)
def test_a_file_that_is_no_key_or_is_public_is_refused(
    tmp_path: Path, content: bytes, mode: int, words: str
) -> None:
    place = _given(tmp_path, content, mode)
    with pytest.raises(KeyUnusable, match=words):
        load_keys(place)
    assert list(place.data.iterdir()) == []


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    place = KeyPlace(data=tmp_path, given=tmp_path / "given")
    with pytest.raises(KeyUnusable, match="No such file or directory; where there is no key yet"):
        load_keys(place)
    assert list(tmp_path.iterdir()) == []


def test_another_key_than_before_is_refused(tmp_path: Path) -> None:
    place = _given(tmp_path, new_key().encode())
    first = load_keys(place)
    kept = place.file.read_bytes()
    place.file.write_bytes(new_key().encode())
    with pytest.raises(KeyUnusable, match=r"another key than the one that .* worked with"):
        load_keys(place)
    # Nor is one made where the setting was forgotten.
    forgotten = KeyPlace(data=place.data)
    with pytest.raises(KeyUnusable, match="was in a file that secret_key_file named"):
        load_keys(forgotten)
    forgotten.file.write_bytes(kept)
    assert load_keys(forgotten) == first


def test_a_key_beside_another_of_the_data_folder_is_refused(tmp_path: Path) -> None:
    place = _given(tmp_path, new_key().encode())
    load_keys(KeyPlace(data=place.data))
    with pytest.raises(KeyUnusable, match="by which the secrets of this installation are sealed"):
        load_keys(place)


@pytest.mark.parametrize(
    ("mode", "is_ours", "public"),
    [(0o600, True, False), (0o640, True, True), (0o440, False, False), (0o444, False, True)],
)
def test_what_a_platform_owns_our_group_may_read(mode: int, is_ours: bool, public: bool) -> None:
    assert is_public(mode, is_ours=is_ours) is public
    assert is_public(0o460, is_ours=is_ours)


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
