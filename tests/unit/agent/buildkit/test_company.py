"""Who runs beside services on an engine that can't fence them off."""

from __future__ import annotations

import asyncio

from agent.engines.buildkit.company import Company


async def member(
    company: Company, events: list[str], name: str, isolation: str, has_services: bool
) -> None:
    async with company.of(isolation, has_services=has_services, say=lambda _: None):
        events.append(f"+{name}")
        await asyncio.sleep(0)
        while f"end {name}" not in events:
            await asyncio.sleep(0)
    events.append(f"-{name}")


async def turns() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_services_wait_for_others_and_others_wait_for_them() -> None:
    company, events = Company(), list[str]()
    async with asyncio.TaskGroup() as group:
        group.create_task(member(company, events, "plain", "a", False))
        await turns()
        group.create_task(member(company, events, "db", "b", True))
        await turns()
        group.create_task(member(company, events, "late", "c", False))
        await turns()
        assert events == ["+plain"]  # who comes later does not overtake
        events.append("end plain")
        await turns()
        assert sorted(events[2:]) == ["+db", "-plain"]
        group.create_task(member(company, events, "same", "b", True))
        await turns()
        assert events[-1] == "+same"
        events += ["end db", "end same"]
        await turns()
        assert "+late" in events
        events.append("end late")


async def test_who_gives_up_waiting_holds_nobody_up() -> None:
    company, events = Company(), list[str]()
    async with asyncio.TaskGroup() as group:
        group.create_task(member(company, events, "plain", "a", False))
        await turns()
        waits = group.create_task(member(company, events, "db", "b", True))
        await turns()
        waits.cancel()
        await turns()
        group.create_task(member(company, events, "late", "c", False))
        await turns()
        assert events == ["+plain", "+late"]
        events += ["end plain", "end late"]
