"""The shapes of specification 003, and who calls it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


TABLE: Mapping[str, Mapping[str, type]] = {
    "Project": {"id": str, "accountId": str, "name": str, "createdAt": str, "updatedAt": str},
    "Workflow": {"id": str, "projectId": str, "name": str, "createdAt": str, "updatedAt": str},
    "Build": {
        "id": str,
        "projectId": str,
        "workflowId": str,
        "status": str,
        "createdAt": str,
    },
    "DockerImage": {"id": str, "slug": str, "imageUrl": str, "public": bool, "createdAt": str},
    "AuditLog": {"id": str, "action": str, "details": dict, "createdAt": str},
}


STATUS_WORDS = {"PENDING", "RUNNING", "SUCCESS", "FAILED"}


def check(kind: str, shown: Mapping[str, Any]) -> None:
    """The object has what the specification lists, camelCase, nothing null."""
    for name, type_ in TABLE[kind].items():
        assert type(shown[name]) is type_, (kind, name, shown)
    for name, value in shown.items():
        assert re.fullmatch("[a-z]+([A-Z][a-z]*)*", name), name
        assert value is not None, f"{name} is null: an absent value is left out"
        if name.endswith("At"):
            assert TIME.fullmatch(value), (name, value)
    assert UUID.fullmatch(shown["id"])
    if kind == "Build":
        assert shown["status"] in STATUS_WORDS


def check_error(body: Mapping[str, Any]) -> None:
    assert isinstance(body["error"], str)
    assert body["error"]
    for detail in body.get("details", []):
        assert isinstance(detail, dict)
        assert detail["message"]


def paths_of(body: Mapping[str, Any]) -> set[str]:
    return {detail["path"] for detail in body["details"]}
