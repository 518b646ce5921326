"""Behind a reverse proxy: clients are told apart by the word of a trusted proxy alone."""

from __future__ import annotations

from pathlib import Path

from tests.integration.coordinator_fixture import Coordinator, open_coordinator
from tests.integration.execution_fixture import PASSWORD, new_user

ADA = "ada@example.org"


async def log_in_from(coordinator: Coordinator, forwarded: str, password: str = PASSWORD) -> int:
    answer = await coordinator.nobody.call(
        "POST",
        "/api/v1/auth/login",
        json={"email": ADA, "password": password},
        headers={"X-Forwarded-For": forwarded},
    )
    return answer.status


async def look_from(coordinator: Coordinator, forwarded: str) -> int:
    headers = {"X-Forwarded-For": forwarded}
    return (await coordinator.nobody.call("GET", "/api/v1/builds", headers=headers)).status


async def test_a_stranger_shuts_out_no_one_else_behind_a_trusted_proxy(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path, trusted_proxies=["127.0.0.1"]) as coordinator:
        await new_user(coordinator.admin, ADA, acme="viewer")
        for n in range(10):
            # What the client itself wrote stands left of what the proxy adds.
            spoofed = f"198.51.100.{n}, 192.0.2.1"
            assert await log_in_from(coordinator, spoofed, "wrong one") == 401
        assert await log_in_from(coordinator, "198.51.100.99, 192.0.2.1") == 429
        assert await log_in_from(coordinator, "192.0.2.2") == 200


async def test_who_comes_without_a_trusted_proxy_is_counted_by_its_own_address(
    tmp_path: Path,
) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        await new_user(coordinator.admin, ADA, acme="viewer")
        for n in range(10):
            assert await log_in_from(coordinator, f"192.0.2.{n}", "wrong one") == 401
        assert await log_in_from(coordinator, "192.0.2.99") == 429


async def test_callers_without_a_token_have_a_window_for_each_address(tmp_path: Path) -> None:
    settings = {"trusted_proxies": ["127.0.0.0/8"], "rate_limit": 2}
    async with open_coordinator(tmp_path, **settings) as coordinator:
        statuses = [await look_from(coordinator, "192.0.2.1") for _ in range(3)]
        assert statuses == [401, 401, 429]
        assert await look_from(coordinator, "192.0.2.2") == 401
        assert await look_from(coordinator, "192.0.2.2, 192.0.2.1") == 429
