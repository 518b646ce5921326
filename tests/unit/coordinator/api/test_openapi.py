"""The document says of each operation what its declaration says, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from pydantic import Field

from coordinator.api.http.fields import Body, ClampedInt, Shown
from coordinator.api.http.openapi import openapi_document
from coordinator.api.http.operations import Operation, operation
from coordinator.domain.people.permissions import Right


class Pear(Shown):
    pear_id: str
    ripe_since: str | None = None


class PearCreate(Body):
    name: str = Field(min_length=1)
    weight: int | None = None
    labels: dict[str, str] = Field(default_factory=dict)


class PearQuery(Body):
    limit: ClampedInt = Field(20, description="How many")
    kind: str | None = None


@operation("GET", "/api/pears", tag="Pears", summary="List", right=Right.READ)
async def list_pears(request: web.Request, query: PearQuery) -> list[Pear]:
    """Sweetest first."""
    raise NotImplementedError


@operation(
    "POST",
    "/api/pears/{tree_id}/{rest:[a-z/]{1,9}}",
    tag="Pears",
    summary="Grow",
    right=Right.BUILD,
    status=201,
    errors={404: "No such tree"},
    path_rules={"tree_id": {"pattern": "^[0-9]+$"}},
)
async def grow(request: web.Request, body: PearCreate) -> Pear:
    raise NotImplementedError


@operation("DELETE", "/api/pears/{pear_id}", tag="Pears", summary="Eat", secured=False)
async def eat(request: web.Request) -> None:
    raise NotImplementedError


def described(*operations: Operation) -> dict[str, Any]:
    return openapi_document(operations, server="http://ci.example", version="1")


def test_a_list_answers_with_its_model_and_says_what_it_may_refuse() -> None:
    shown = described(list_pears)["paths"]["/api/pears"]["get"]
    assert shown["description"] == "Sweetest first."
    assert set(shown["responses"]) == {"200", "400", "401", "403", "500"}
    answer = shown["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"type": "array", "items": {"$ref": "#/components/schemas/Pear"}}


def test_query_parameters_are_never_null() -> None:
    parameters = described(list_pears)["paths"]["/api/pears"]["get"]["parameters"]
    by_name = {parameter["name"]: parameter for parameter in parameters}
    assert by_name["limit"]["schema"] == {
        "type": "integer",
        "default": 20,
        "description": "How many",
    }
    assert by_name["kind"]["schema"]["type"] == "string"
    assert not any(parameter["required"] for parameter in parameters)


def test_paths_lose_their_regular_expressions_and_keep_their_rules() -> None:
    shown = described(grow)["paths"]["/api/pears/{tree_id}/{rest}"]["post"]
    assert [(p["name"], p["schema"]) for p in shown["parameters"]] == [
        ("tree_id", {"type": "string", "pattern": "^[0-9]+$"}),
        ("rest", {"type": "string"}),
    ]
    assert set(shown["responses"]) == {"201", "400", "401", "403", "404", "413", "500"}


def test_what_is_sent_says_what_can_not_be_stored_and_what_is_answered_has_no_null() -> None:
    schemas = described(grow)["components"]["schemas"]
    sent = schemas["PearCreate"]["properties"]
    assert sent["name"]["pattern"] == "^[^\\x00]*$"
    labels, null = sent["labels"]["anyOf"]
    assert labels["propertyNames"]["pattern"] == "^[^\\x00]*$"
    assert null == {"type": "null"} == sent["weight"]["anyOf"][1]
    assert schemas["Pear"]["properties"]["ripeSince"]["type"] == "string"
    assert schemas["Pear"]["required"] == ["pearId"]


@pytest.mark.parametrize("one", [eat], ids=["without a token or an answer"])
def test_nothing_is_said_that_does_not_follow(one: Operation) -> None:
    shown = described(one)["paths"]["/api/pears/{pear_id}"]["delete"]
    assert shown["security"] == []
    assert shown["responses"]["204"] == {"description": "Success"}
    assert set(shown["responses"]) == {"204", "500"}
    assert "requestBody" not in shown


def test_two_operations_never_share_an_id() -> None:
    assert len({one.id for one in (list_pears, grow, eat)}) == 3
