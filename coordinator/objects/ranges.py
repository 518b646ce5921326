"""What is asked of a store again and again: how long an object is, some of its bytes, which there
are below a prefix."""

from __future__ import annotations

from dataclasses import dataclass

import obstore
from obstore.store import ObjectStore

from coordinator.objects.log_format import DamagedLog

_LIST_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Ranges:
    store: ObjectStore

    async def object_bytes(self, key: str) -> int | None:
        """The length of an object; None where there is none."""
        try:
            return int((await obstore.head_async(self.store, key))["size"])
        except FileNotFoundError:
            return None

    async def read(self, key: str, start: int, end: int) -> bytes:
        """Raises FileNotFoundError; DamagedLog if the object is shorter."""
        if start >= end:
            return b""
        body = bytes(await obstore.get_range_async(self.store, key, start=start, end=end))
        if len(body) != end - start:
            raise DamagedLog(key, f"ends before byte {end}")
        return body

    async def lengths(self, prefix: str) -> dict[str, int]:
        """Key → length of all objects below a prefix."""
        return {
            entry["path"]: int(entry["size"])
            async for batch in obstore.list(self.store, prefix, chunk_size=_LIST_BATCH)
            for entry in batch
        }
