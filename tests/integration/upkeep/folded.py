"""What logs take once all of them are folded."""

from __future__ import annotations

from tests.integration.coordinator_fixture import Coordinator, eventually


async def folded_bytes(coordinator: Coordinator, logs: int = 1) -> int:
    """Waits for so many, and until their project counts what they take; they are all it has."""
    objects = coordinator.data / "objects" / "logs"

    async def folded() -> int | None:
        sizes = [one.stat().st_size for one in objects.glob("*/log.zst")]
        shown = (await coordinator.admin.get("/api/storage")).expect(200).json["projects"]
        counted = sum(one["logBytes"] for one in shown)
        return counted if len(sizes) == logs and counted == sum(sizes) else None

    return await eventually(folded)
