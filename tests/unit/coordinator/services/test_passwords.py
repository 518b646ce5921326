"""Passwords: hashed by argon2id, and the same work for whoever is not there."""

from __future__ import annotations

from argon2 import Type, extract_parameters

from coordinator.services.passwords import MEMORY_KIB, Passwords


async def test_only_the_right_password_matches() -> None:
    passwords = Passwords()
    hashed = await passwords.hash("correct horse")
    assert "correct" not in hashed
    assert await passwords.matches(hashed, "correct horse")
    assert not await passwords.matches(hashed, "correct horsf")
    assert not await passwords.matches("no hash at all", "correct horse")
    assert await passwords.hash("correct horse") != hashed, "each has a salt of its own"


async def test_for_nobody_the_same_work_is_done_and_nothing_matches() -> None:
    passwords = Passwords()
    assert not await passwords.matches(None, "correct horse")
    real = extract_parameters(await passwords.hash("x"))
    assert extract_parameters(passwords.stand_in) == real
    assert (real.type, real.memory_cost) == (Type.ID, MEMORY_KIB)
