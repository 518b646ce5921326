"""How an operation of specification 001 is declared: its tenant, its permission, its errors."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from coordinator.api.dialects.build_execution_models import ErrorEnvelope
from coordinator.api.dialects.build_execution_rules import PERMISSION_OF, PREFIX
from coordinator.api.http.middleware import TENANT_HEADER
from coordinator.api.http.operations import Operation, operation
from coordinator.domain.people.permissions import NEEDED_FOR, BuildPermission

TAG = "Build Execution API"
TENANT_SCHEMA = {
    "type": "string",
    "format": "uuid",
    "description": "The tenant (account) to act in; not the nil UUID",
}
PATH = f"{PREFIX}/builds"


def build_operation(
    method: str,
    below: str,
    permission: BuildPermission,
    *,
    errors: Mapping[int, str] | None = None,
    **declared: Any,
) -> Callable[[Callable[..., Coroutine[Any, Any, object]]], Operation]:
    """`below` is the path below /api/v1/builds."""
    PERMISSION_OF[method, PATH + below] = permission
    usual = {
        400: "X-Tenant-ID is missing, or the request breaks a rule",
        404: "No such build in this tenant, or no such tenant",
        429: "Too many requests: Retry-After says when to go on",
    }
    return operation(
        method,
        PATH + below,
        tag=TAG,
        right=NEEDED_FOR[permission],
        errors={**usual, **(errors or {})},
        error_model=ErrorEnvelope,
        headers={TENANT_HEADER: TENANT_SCHEMA},
        **declared,
    )
