"""A laptop that has run the steps of a workflow, and what it sends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from coordinator.composition import open_services
from coordinator.services.core import Core, utc_now
from coordinator.services.steps.leases import boot_seconds
from coordinator.settings import Settings
from pushrod.local.sending import body_of, what_to_send
from tests.integration.coordinator_fixture import open_coordinator
from tests.integration.shop_fixture import OLD, new_shop, set_secret
from tests.shared_readings import shared_readings, shared_report_readings

WORKFLOW = """
name: ci
on: {push: {}, tag: ["*"]}
steps:
  - {name: lint, image: base, run: lint, inputs: ["src/**"], reports: {junit: out/file}}
  - {name: test, image: base, run: test, dependsOn: [lint], inputs: []}
"""
TESTS = b'<testsuite><testcase classname="s" name="works" time="1"/></testsuite>'


@dataclass(slots=True)
class Laptop:
    """What ran on another coordinator, as `pushrod run` would leave it."""

    core: Core
    build_id: str

    async def body(self) -> bytes:
        found = await what_to_send(self.core, self.build_id)
        return b"".join([piece async for piece in body_of(self.core, found)])


@asynccontextmanager
async def laptop(
    folder: Path, workflow: str = WORKFLOW, digest: str | None = OLD, secret: bool = False
) -> AsyncIterator[Laptop]:
    folder.mkdir()
    async with open_coordinator(folder, poll_hold_seconds=1) as coordinator:
        shop = await new_shop(coordinator, folder, workflow)
        if secret:
            await set_secret(shop.admin, shop.project, "sesame")
        build = await shop.push(ref="topic")
        await shop.run(2, content=TESTS, imageDigest=digest)
        await coordinator.stop()
        settings = Settings(data=coordinator.data)
        async with open_services(
            settings,
            "http://localhost",
            boot_seconds,
            utc_now,
            readings=shared_readings(),
            report_readings=shared_report_readings(),
        ) as services:
            yield Laptop(services.core, build["id"])
