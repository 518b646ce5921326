"""HTTP operations: one declaration makes the route, checks what comes in, and describes both.

    @operation("POST", "/api/projects", tag="Projects", summary="Create a new project",
               right=Right.MANAGE, status=201, errors={404: "Project not found"})
    async def create_project(
        request: web.Request, principal: Principal, body: ProjectCreate
    ) -> ProjectShown: ...

The handler's signature says what it takes: `principal`, `query` and `body` are found by name,
the models by their annotations. What it returns is written as JSON, absent values left out;
`None` is 204. A handler that writes its response itself is annotated `web.StreamResponse` and
says what it `returns` or `produces`. coordinator.api.http.openapi reads the same declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from aiohttp import web
from pydantic import BaseModel, TypeAdapter

from coordinator.api.http.api_model import ApiModel
from coordinator.api.http.carried import CARRIED
from coordinator.api.http.ids import lower_id
from coordinator.api.http.middleware import check_account, identify, principal_of
from coordinator.api.http.request_models import (
    read_model,
    read_optional_model,
    read_query,
    refuse_repeated,
)
from coordinator.domain.people.permissions import Right

JSON = "application/json"
OPERATIONS = web.AppKey("operations", list["Operation"])


class ErrorDetail(ApiModel):
    path: str | None = None
    """Where in the request: `steps[0].name`, or a query parameter's name."""
    message: str


class ErrorShown(ApiModel):
    error: str
    details: list[ErrorDetail] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    method: str
    path: str
    tag: str
    summary: str
    description: str
    rights: tuple[Right, ...]
    """One of them is needed; with none, any token will do."""
    status: int
    """Of success."""
    also: Mapping[int, str]
    """Further statuses of success, with the same content."""
    errors: Mapping[int, str]
    error_model: type[BaseModel]
    produces: str
    """The content type of success."""
    accepts: str | None
    """The content type of a body that is not JSON."""
    streams: str | None
    """A second content type of success, where the caller asks for a stream."""
    query: type[BaseModel] | None
    body: type[BaseModel] | None
    returns: Any
    """The type of the answer's JSON; None where there is none."""
    path_rules: Mapping[str, Mapping[str, Any]]
    """JSON Schema of path parameters that are not just any text."""
    headers: Mapping[str, Mapping[str, Any]]
    """JSON Schema of the headers that it needs; it reads and checks them itself."""
    optional_headers: Mapping[str, Mapping[str, Any]]
    """Of those that it can do without."""
    reads_body: bool
    body_optional: bool
    """A request without one means the model's defaults."""
    """False where the handler reads it by itself."""
    secured: bool
    accountless: bool
    """A user of several accounts calls it without choosing one."""
    allow_head: bool
    ends_with_client: bool
    """It is cancelled when its client goes; any other change is carried to its end."""
    name: str
    """Unlike any other of its module."""
    call: Callable[..., Coroutine[Any, Any, object]]
    _adapters: list[TypeAdapter[Any]] = field(default_factory=list, init=False, repr=False)
    """Of what it returns, once that was written."""

    @property
    def id(self) -> str:
        return f"{self.call.__module__.rpartition('.')[2]}_{self.name}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        arguments: dict[str, object] = {}
        _lower_ids(request)
        if self.secured:
            refuse_repeated(request, ["accountId"])
            principal = await (
                identify(request) if self.accountless else principal_of(request, *self.rights)
            )
            await check_account(request, principal, request.query.get("accountId"))
            if "principal" in self.call.__annotations__:
                arguments["principal"] = principal
        if self.query is not None:
            arguments["query"] = read_query(request, self.query)
        if self.body is not None and self.reads_body:
            arguments["body"] = await self._read_body(request, self.body)
        call = self.call(request, **arguments)
        arguments.clear()  # it may wait for long
        answer = await (call if self.ends_with_client else request.app[CARRIED].run(call))
        if isinstance(answer, web.StreamResponse):
            return answer
        if self.returns is None:
            return web.Response(status=204)
        if not self._adapters:
            self._adapters.append(TypeAdapter(self.returns))
        return web.Response(
            status=self.status,
            body=self._adapters[0].dump_json(answer, by_alias=True, exclude_none=True),
            content_type=JSON,
            charset="utf-8",
        )

    async def _read_body(self, request: web.Request, model: type[BaseModel]) -> BaseModel:
        if self.body_optional:
            return await read_optional_model(request, model)
        return await read_model(request, model, of_a_stranger=not self.secured)


def _lower_ids(request: web.Request) -> None:
    """A UUID in the path is taken in any case; we write them in lower case. No id has a NUL,
    which not every database takes."""
    for name, value in request.match_info.items():
        if name.endswith("_id"):
            request.match_info[name] = lower_id(value).replace("\0", "\ufffd")


def operation(
    method: str,
    path: str,
    *,
    tag: str,
    summary: str,
    right: Right | tuple[Right, ...] = (),
    status: int = 200,
    also: Mapping[int, str] | None = None,
    errors: Mapping[int, str] | None = None,
    error_model: type[BaseModel] = ErrorShown,
    body: type[BaseModel] | None = None,
    body_optional: bool = False,
    returns: Any = None,
    produces: str = JSON,
    accepts: str | None = None,
    streams: str | None = None,
    path_rules: Mapping[str, Mapping[str, Any]] | None = None,
    headers: Mapping[str, Mapping[str, Any]] | None = None,
    optional_headers: Mapping[str, Mapping[str, Any]] | None = None,
    secured: bool = True,
    accountless: bool = False,
    allow_head: bool = True,
    held: bool = False,
    name: str | None = None,
) -> Callable[[Callable[..., Coroutine[Any, Any, object]]], Operation]:
    """Declare an operation; `errors` are those besides 400, 401, 403, 413 and 500, which follow
    from the rest of the declaration. `secured=False` is for what anybody may call, `held` for what
    waits for something to happen and ends with its client although it is no GET. Its `name` is
    the function's unless that makes several."""

    def declare(call: Callable[..., Coroutine[Any, Any, object]]) -> Operation:
        hints = get_type_hints(call)
        answer: Any = hints.get("return")
        if isinstance(answer, type) and issubclass(answer, web.StreamResponse):
            answer = returns
        written = answer is not None and answer is not type(None)
        return Operation(
            method=method,
            path=path,
            tag=tag,
            summary=summary,
            description=call.__doc__ or "",
            rights=right if isinstance(right, tuple) else (right,),
            status=status if written or produces != JSON or status != 200 else 204,
            also=also or {},
            errors=errors or {},
            error_model=error_model,
            produces=produces,
            accepts=accepts,
            streams=streams,
            path_rules=path_rules or {},
            headers=headers or {},
            optional_headers=optional_headers or {},
            query=hints.get("query"),
            body=body or hints.get("body"),
            reads_body="body" in hints,
            body_optional=body_optional,
            returns=answer if written else None,
            secured=secured,
            accountless=accountless,
            allow_head=allow_head,
            ends_with_client=held or method == "GET",
            name=name or call.__name__,
            call=call,
        )

    return declare


def add_operations(app: web.Application, operations: Iterable[Operation]) -> None:
    known = app.setdefault(OPERATIONS, [])
    for one in operations:
        known.append(one)
        if one.method == "GET":
            app.router.add_get(one.path, one.handle, allow_head=one.allow_head)
        else:
            app.router.add_route(one.method, one.path, one.handle)
