"""Types of fields that several dialects' models share."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, ClassVar

from aiohttp import web
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticUseDefault

from coordinator.api.http.api_model import ApiModel
from coordinator.api.http.ids import lower_id
from coordinator.api.http.times import iso

MAX_INTEGER = 2**63 - 1
MAX_PAGE = 100

Instant = Annotated[
    datetime,
    PlainSerializer(iso, return_type=str),
    Field(json_schema_extra={"format": "date-time"}),
]
"""Written in UTC with milliseconds: `2026-01-31T08:15:00.250Z`."""


class Body(ApiModel):
    """What is sent in camelCase. Members that we don't know are ignored, and the answer says so."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", populate_by_name=True)
    slips_are_refused: ClassVar[bool] = True
    """Whether a member that is almost one of ours is a mistake."""


class Shown(ApiModel):
    """What is answered in camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    def answer(self, status: int) -> web.Response:
        """For handlers that choose the status themselves."""
        text = self.model_dump_json(by_alias=True, exclude_none=True)
        return web.Response(status=status, text=text, content_type="application/json")


def _clamped(value: Any) -> Any:
    """An integer of a query, brought into 0 … 2⁶³ - 1: the text of one of any length."""
    if value == "":
        raise PydanticUseDefault
    if isinstance(value, str):
        if not re.fullmatch(r"[+-]?[0-9]{1,1000}", value, re.ASCII):
            raise ValueError(f"write a whole number, not {value[:40]!r}")
        value = int(value)
    return min(max(value, 0), MAX_INTEGER) if isinstance(value, int) else value


ClampedInt = Annotated[int, BeforeValidator(_clamped), WithJsonSchema({"type": "integer"})]


def _word(value: Any) -> Any:
    if isinstance(value, str):
        words = {"true": True, "false": False}
        if value.lower() not in words:
            raise ValueError(f"write true or false, not {value[:40]!r}")
        return words[value.lower()]
    return value


QueryBool = Annotated[bool, BeforeValidator(_word), WithJsonSchema({"type": "boolean"})]


Count = Annotated[int, Field(ge=0, lt=10**18, strict=False)]
"""A number of a query that is refused when it is negative or absurd."""


AnyCaseId = Annotated[str, AfterValidator(lower_id)]


class PageQuery(Body):
    """`limit` and `offset`: what is out of range is brought into it, and the answer says so."""

    limit: ClampedInt = Field(20, description=f"Maximum number to return, 1 to {MAX_PAGE}")
    offset: ClampedInt = Field(0, description="Number to skip")

    @property
    def page(self) -> tuple[int, int]:
        return min(max(self.limit, 1), MAX_PAGE), self.offset


class Pagination(Shown):
    total: int
    limit: int
    offset: int
    has_more: bool

    @classmethod
    def of(cls, total: int, page: tuple[int, int], shown: int) -> Pagination:
        limit, offset = page
        more = offset + shown < total and shown > 0
        return cls(total=total, limit=limit, offset=offset, has_more=more)
