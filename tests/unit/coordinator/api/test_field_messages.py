"""What is wrong with a field is told in our words, which say what to write instead."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from coordinator.api.http.request_models import validated
from coordinator.domain.errors import Invalid


class Inner(BaseModel):
    a: int


class Asked(BaseModel):
    name: Annotated[str, Field(min_length=1, max_length=3)] = "a"
    code: Annotated[str, Field(min_length=2, pattern="^[a-z]+$")] = "aa"
    flag: bool = False
    count: Annotated[int, Field(ge=1, le=9)] = 1
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    kind: Literal["user", "agent"] = "user"
    several: Annotated[list[str], Field(min_length=1, max_length=2)] = ["a"]
    table: dict[str, str] = {}
    inner: Inner | None = None


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", 1, "write text"),
        ("name", "", "it must not be empty"),
        ("name", "abcd", "write at most 3 characters"),
        ("code", "a", "write at least 2 characters"),
        ("code", "AA", "write what matches ^[a-z]+$"),
        ("flag", "banana", "write true or false"),
        ("flag", [], "write true or false"),
        ("count", "x", "write a whole number"),
        ("count", 1.5, "write a whole number"),
        ("count", 0, "write a number of at least 1"),
        ("count", 10, "write a number of at most 9"),
        ("share", "x", "write a number"),
        ("share", 0, "write a number above 0.0"),
        ("share", 1, "write a number below 1.0"),
        ("kind", "x", "write 'user' or 'agent'"),
        ("several", "a", "write a list"),
        ("several", [], "it must not be empty"),
        ("several", ["a", "b", "c"], "write at most 2 entries"),
        ("table", [], "write an object"),
        ("inner", 1, "write an object"),
        ("inner", {}, "it is missing, and has to be given"),
    ],
)
def test_a_mistake_says_what_to_write(field: str, value: object, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        validated(Asked, {field: value}, "body")
    [detail] = refused.value.details
    assert detail["message"] == said
    assert detail["path"].startswith(field)
