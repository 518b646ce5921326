"""What every message between coordinator and agents has in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

DIGEST = r"^sha256:[0-9a-f]{64}$"


class WireModel(BaseModel):
    """How to check and write one is worked out when it is first used, by any thread: an idle
    process is smaller by that, and starts sooner."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        defer_build=True,
    )

    def to_json(self) -> dict[str, Any]:
        """The JSON object of this value: camelCase, absent values left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
