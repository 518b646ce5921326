"""The coordinator's HTTP API as the command line uses it: a method per call, errors for people."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
from yarl import URL

from pushrod.connection import Connection, is_local
from pushrod.errors import (
    CommandError,
    NotFoundError,
    ProtocolError,
    RefusedError,
    UnauthorizedError,
    UnreachableError,
    describe_connection_error,
)

CALL_SECONDS = 30.0
CONNECT_SECONDS = 10.0
HOLD_SECONDS = 25
"""How long the coordinator may hold a question that waits for news."""
PAGE_SIZE = 100
ANY_PROJECT = "-"
"""In a path: whichever project the token may see."""
MAX_MESSAGE_CHARACTERS = 500

Json = dict[str, Any]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSlice:
    """Bytes of one attempt's log; `complete` means that the log grows no more."""

    data: bytes
    next_offset: int
    complete: bool
    attempt: int


class Client:
    """Use as an asynchronous context manager. Every method raises a CommandError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._session: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        return self._connection.url

    async def __aenter__(self) -> Client:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            # A proxy set for the wide world can't reach this machine's own loopback.
            trust_env=not is_local(self._connection.url),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def accounts(self) -> list[Json]:
        return await self._list("/api/accounts")

    async def projects(self, account: str) -> list[Json]:
        """The projects of an account, given by id or slug."""
        return await self._list("/api/projects", {"accountId": account})

    async def create_project(self, account: str, name: str, repository: str | None) -> Json:
        body = {"accountId": account, "name": name, "repoUrl": repository}
        return await self._object("POST", "/api/projects", body=body)

    async def change_project(self, project_id: str, changes: Json) -> Json:
        """`defaultBranch`, `name`, `repoUrl`, `archived`: what is None stays."""
        return await self._object("PATCH", f"/api/projects/{_quoted(project_id)}", body=changes)

    async def delete_project(self, project_id: str) -> None:
        await self._request("DELETE", f"/api/projects/{_quoted(project_id)}")

    async def new_webhook_secret(self, project_id: str) -> str:
        path = f"/api/projects/{_quoted(project_id)}/webhook-secret"
        return str((await self._object("POST", path))["webhookSecret"])

    async def workflows(self, project_id: str) -> list[Json]:
        return await self._list(f"/api/projects/{_quoted(project_id)}/workflows")

    async def create_build(
        self,
        project_id: str,
        workflow: str,
        *,
        branch: str | None,
        commit: str | None,
        params: Mapping[str, str],
        clean: bool = False,
    ) -> Json:
        body = {
            "workflowId": workflow,
            "branch": branch,
            "commitHash": commit,
            "params": dict(params),
            "cleanBuild": clean,
        }
        return await self._object("POST", f"/api/projects/{_quoted(project_id)}/builds", body=body)

    async def builds(
        self, project_id: str = ANY_PROJECT, *, limit: int = PAGE_SIZE, offset: int = 0
    ) -> list[Json]:
        """Newest first."""
        path = f"/api/projects/{_quoted(project_id)}/builds"
        page = await self._object("GET", path, query={"limit": limit, "offset": offset})
        return _objects(page.get("builds"), path)

    async def build(self, build_id: str, *, seen: int | None = None) -> Json:
        """The build with its steps; with `seen`, held until its version differs or time is over."""
        query = {} if seen is None else {"wait": HOLD_SECONDS, "seen": seen}
        return await self._object("GET", _build_path(build_id), query=query)

    async def cancel_build(self, build_id: str, steps: Sequence[str] = ()) -> Json:
        """Whole, or only those steps, by name."""
        body = {"steps": list(steps)} if steps else None
        return await self._object("POST", _build_path(build_id) + "/cancel", body=body)

    async def retry_build(
        self, build_id: str, *, failed: bool = False, steps: Sequence[str] = ()
    ) -> Json:
        """The new build: of all steps, or of those that failed, or of these names."""
        body = {"failed": failed, "steps": list(steps)} if failed or steps else None
        return await self._object("POST", _build_path(build_id) + "/retry", body=body)

    async def approve_build(self, build_id: str) -> Json:
        return await self._object("POST", _build_path(build_id) + "/approve")

    async def delete_build(self, build_id: str) -> None:
        await self._request("DELETE", _build_path(build_id))

    async def deliveries(self, project_id: str, *, limit: int, offset: int) -> list[Json]:
        """The webhooks that came in for a project, newest first."""
        path = f"/api/projects/{_quoted(project_id)}/deliveries"
        page = await self._object("GET", path, query={"limit": limit, "offset": offset})
        return _objects(page.get("deliveries"), path)

    async def redeliver(self, project_id: str, delivery_id: str) -> Json:
        path = f"/api/projects/{_quoted(project_id)}/deliveries/{_quoted(delivery_id)}/redeliver"
        return await self._object("POST", path)

    async def set_credential(
        self, project_id: str, *, token: str | None, deploy_key: str | None
    ) -> None:
        body = {"token": token, "deployKey": deploy_key}
        await self._request("PUT", f"/api/projects/{_quoted(project_id)}/credential", body=body)

    async def remove_credential(self, project_id: str) -> None:
        await self._request("DELETE", f"/api/projects/{_quoted(project_id)}/credential")

    async def read_log(
        self, step_id: str, *, offset: int, attempt: int | None = None, wait: bool = False
    ) -> LogSlice:
        """The bytes from `offset`; with `wait`, held until there are some or the log is complete.

        Without `attempt`, the step's last one.
        """
        query: dict[str, int] = {"offset": offset}
        if attempt is not None:
            query["attempt"] = attempt
        if wait:
            query["wait"] = HOLD_SECONDS
        path = f"/api/steps/{_quoted(step_id)}/log"
        headers, data = await self._request("GET", path, query=query)
        try:
            return LogSlice(
                data=data,
                next_offset=int(headers["Log-Next-Offset"]),
                complete=headers["Log-Complete"] == "true",
                attempt=int(headers["Log-Attempt"]),
            )
        except (KeyError, ValueError) as error:
            raise self._no_coordinator(path) from error

    async def artifacts(self, step_id: str) -> list[Json]:
        return await self._list(f"/api/steps/{_quoted(step_id)}/artifacts")

    async def links_and_folders(self, step_id: str) -> Json:
        """What a step left besides files: lists of `links` and `folders`."""
        return await self._object("GET", f"/api/steps/{_quoted(step_id)}/outputs")

    async def download(self, path: str) -> AsyncIterator[bytes]:
        """The body of an answer as it comes, however long that takes in all."""
        if self._session is None:
            raise UnreachableError("the client is not open")
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=CALL_SECONDS)
        try:
            async with self._session.get(
                URL(self._connection.url + path, encoded=True),
                headers={"Authorization": f"Bearer {self._connection.token}"},
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                if response.status != 200:
                    raise self._refusal(response.status, await response.read())
                async for chunk in response.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(_unreachable(self._connection.url, error)) from error

    async def images(self) -> list[Json]:
        return await self._list("/api/docker-images")

    async def create_image(self, slug: str, image_url: str, *, public: bool = False) -> Json:
        body = {"slug": slug, "imageUrl": image_url, "public": public}
        return await self._object("POST", "/api/docker-images", body=body)

    async def change_image(self, slug: str, changes: Json) -> Json:
        """`slug`, `imageUrl`, `public`: what is None stays."""
        return await self._object("PATCH", f"/api/docker-images/{_quoted(slug)}", body=changes)

    async def delete_image(self, slug: str) -> None:
        await self._request("DELETE", f"/api/docker-images/{_quoted(slug)}")

    async def secrets(self, project_id: str) -> list[Json]:
        """Names; values are never shown."""
        return await self._list(f"/api/projects/{_quoted(project_id)}/secrets")

    async def set_secret(self, project_id: str, name: str, value: str) -> None:
        await self._request("PUT", _secret_path(project_id, name), body={"value": value})

    async def delete_secret(self, project_id: str, name: str) -> None:
        await self._request("DELETE", _secret_path(project_id, name))

    async def registry_logins(self, owner: tuple[str, str]) -> list[Json]:
        """Hosts and usernames; `owner` is `projects` or `accounts`, and the id."""
        return await self._list(_registry_path(owner))

    async def set_registry_login(
        self, owner: tuple[str, str], host: str, username: str, password: str
    ) -> None:
        body = {"username": username, "password": password}
        await self._request("PUT", _registry_path(owner, host), body=body)

    async def delete_registry_login(self, owner: tuple[str, str], host: str) -> None:
        await self._request("DELETE", _registry_path(owner, host))

    async def tokens(self) -> list[Json]:
        return await self._list("/api/tokens")

    async def create_token(
        self,
        name: str,
        kind: str,
        *,
        role: str | None = None,
        account: str | None = None,
        all_accounts: bool = False,
        expires_in_days: int | None = None,
    ) -> Json:
        body = {
            "name": name,
            "kind": kind,
            "role": role,
            "account": account,
            "allAccounts": all_accounts or None,
            "expiresInDays": expires_in_days,
        }
        return await self._object("POST", "/api/tokens", body=body)

    async def revoke_token(self, token_id: str) -> None:
        await self._request("DELETE", f"/api/tokens/{_quoted(token_id)}")

    async def users(self) -> list[Json]:
        return await self._list("/api/users")

    async def create_user(
        self, email: str, password: str, *, administrator: bool, roles: Mapping[str, str]
    ) -> Json:
        body = {
            "email": email,
            "password": password,
            "administrator": administrator,
            "roles": dict(roles),
        }
        return await self._object("POST", "/api/users", body=body)

    async def disable_user(self, user: str, *, disabled: bool) -> None:
        await self._request("PATCH", f"/api/users/{_quoted(user)}", body={"disabled": disabled})

    async def set_password(self, user: str, password: str) -> None:
        body = {"password": password}
        await self._request("PUT", f"/api/users/{_quoted(user)}/password", body=body)

    async def set_role(self, user: str, account: str, role: str | None) -> None:
        """None ends the membership."""
        path = f"/api/users/{_quoted(user)}/memberships/{_quoted(account)}"
        if role is None:
            await self._request("DELETE", path)
        else:
            await self._request("PUT", path, body={"role": role})

    async def rotate_keys(self, *, end_logins: bool) -> None:
        await self._request("POST", "/api/signing-keys", body={"endLogins": end_logins})

    async def agents(self) -> list[Json]:
        return await self._list("/api/agents")

    async def agent(self, agent_id: str) -> Json:
        return await self._object("GET", f"/api/agents/{_quoted(agent_id)}")

    async def pause_agent(self, agent_id: str) -> Json:
        return await self._object("POST", f"/api/agents/{_quoted(agent_id)}/pause")

    async def remove_agent(self, agent_id: str) -> None:
        await self._request("DELETE", f"/api/agents/{_quoted(agent_id)}")

    async def resume_agent(self, agent_id: str) -> Json:
        return await self._object("POST", f"/api/agents/{_quoted(agent_id)}/resume")

    async def _list(self, path: str, query: Mapping[str, str | int] | None = None) -> list[Json]:
        _, data = await self._request("GET", path, query=query)
        return _objects(self._parsed(data, path), path)

    async def _object(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Json | None = None,
    ) -> Json:
        _, data = await self._request(method, path, query=query, body=body)
        value = self._parsed(data, path)
        if not isinstance(value, dict):
            raise self._no_coordinator(path)
        return value

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Json | None = None,
    ) -> tuple[Mapping[str, str], bytes]:
        """Headers and body of a successful answer; everything else becomes a CommandError."""
        if self._session is None:
            raise UnreachableError("the client is not open")
        held = HOLD_SECONDS if query and "wait" in query else 0
        try:
            async with self._session.request(
                method,
                # `encoded`: what is quoted here must arrive as it is.
                URL(self._connection.url + path, encoded=True).update_query(query or {}),
                headers={"Authorization": f"Bearer {self._connection.token}"},
                json=None if body is None else _without_absent(body),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=CALL_SECONDS + held, sock_connect=CONNECT_SECONDS
                ),
            ) as response:
                data = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(_unreachable(self._connection.url, error)) from error
        if not 200 <= response.status < 300:
            raise self._refusal(response.status, data)
        return response.headers, data

    def _parsed(self, data: bytes, path: str) -> Any:
        try:
            return json.loads(data)
        except ValueError as error:
            raise self._no_coordinator(path) from error

    def _refusal(self, status: int, data: bytes) -> CommandError:
        said = error_message(data)
        if status == 401:
            return UnauthorizedError(
                f"{self.url} does not accept the token: {said or 'unauthorized'} "
                "(choose another by --token-file or PUSHROD_TOKEN)"
            )
        if status == 404:
            return NotFoundError(said or f"{self.url} knows no such thing (is it a coordinator?)")
        if status >= 500:
            return UnreachableError(f"{self.url} is in trouble: {said or f'status {status}'}")
        if status == 403:
            return RefusedError(status, f"the token may not do this: {said or 'forbidden'}")
        return RefusedError(status, said or f"{self.url} refused with status {status}")

    def _no_coordinator(self, path: str) -> ProtocolError:
        return ProtocolError(
            f"{self.url}{path} does not answer as a coordinator does: check --url or PUSHROD_URL"
        )


def call(connection: Connection, action: Callable[[Client], Awaitable[Result]]) -> Result:
    """Run one command's conversation with the coordinator, in an event loop of its own."""

    async def conversation() -> Result:
        async with Client(connection) as client:
            return await action(client)

    return run(conversation())


def run(conversation: Awaitable[Result]) -> Result:
    """Run to the end; of several failures at once, the first is told."""

    async def awaited() -> Result:
        return await conversation

    try:
        return asyncio.run(awaited())
    except BaseExceptionGroup as group:
        raise _first_failure(group) from group


def error_message(data: bytes) -> str:
    """What an error's body says, in one line, with its details; empty if it isn't ours."""
    try:
        body = json.loads(data)
    except ValueError:
        return ""
    if not isinstance(body, dict) or not isinstance(body.get("error"), str):
        return ""
    details = body.get("details")
    parts = [body["error"], *map(_detail, details if isinstance(details, list) else [])]
    return " · ".join(" ".join(part.split()) for part in parts if part)[:MAX_MESSAGE_CHARACTERS]


def _detail(detail: object) -> str:
    if not isinstance(detail, dict):
        return str(detail)
    place = detail.get("path") or detail.get("field")
    message = str(detail.get("message", ""))
    return f"{place}: {message}" if place else message


def _first_failure(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


def _unreachable(url: str, error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"{url} did not answer in time"
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(
        error.os_error, ConnectionRefusedError
    ):
        hint = "start one with `pushrod up`, or choose another by --url or PUSHROD_URL"
        return f"no coordinator answers at {url}: {hint}"
    return f"{url} can't be reached: {describe_connection_error(error)}"


def _build_path(build_id: str) -> str:
    return f"/api/projects/{ANY_PROJECT}/builds/{_quoted(build_id)}"


def _registry_path(owner: tuple[str, str], host: str | None = None) -> str:
    kind, id_ = owner
    end = "" if host is None else f"/{_quoted(host)}"
    return f"/api/{kind}/{_quoted(id_)}/registries{end}"


def _secret_path(project_id: str, name: str) -> str:
    return f"/api/projects/{_quoted(project_id)}/secrets/{_quoted(name)}"


def _quoted(part: str) -> str:
    return quote(part, safe="")


def _without_absent(body: Json) -> Json:
    return {name: value for name, value in body.items() if value is not None}


def _objects(value: object, path: str) -> list[Json]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ProtocolError(f"{path} did not answer with a list: is it a coordinator's URL?")
    return value
