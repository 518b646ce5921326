"""The coordinator's HTTP API as the command line uses it: a method per call, errors for people."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pushrod.agent_calls import AgentCalls
from pushrod.connection import Connection
from pushrod.people_calls import PeopleCalls
from pushrod.transport import HOLD_SECONDS, Json, objects, quoted

PAGE_SIZE = 100
ANY_PROJECT = "-"
"""In a path: whichever project the token may see."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSlice:
    """Bytes of one attempt's log; `complete` means that the log grows no more."""

    data: bytes
    next_offset: int
    complete: bool
    attempt: int


class Client(PeopleCalls, AgentCalls):
    """A method per call; each raises a CommandError."""

    async def accounts(self) -> list[Json]:
        return await self.list_at("/api/accounts")

    async def with_owners(self, things: list[Json]) -> list[Json]:
        """Each that is of one account with that one's slug as `account`."""
        slugs = {one["id"]: {"account": one["slug"]} for one in await self.accounts()}
        return [{**one, **slugs.get(one.get("accountId"), {})} for one in things]

    async def projects(self, account: str) -> list[Json]:
        """The projects of an account, given by id or slug."""
        return await self.list_at("/api/projects", {"accountId": account})

    async def create_project(
        self, account: str, name: str, repository: str | None, forge: str | None = None
    ) -> Json:
        body = {"accountId": account, "name": name, "repoUrl": repository, "forge": forge}
        return await self.object_at("POST", "/api/projects", body=body)

    async def change_project(self, project_id: str, changes: Json) -> Json:
        """`defaultBranch`, `name`, `repoUrl`, `forge`, `archived`: what is None stays."""
        return await self.object_at("PATCH", f"/api/projects/{quoted(project_id)}", body=changes)

    async def delete_project(self, project_id: str) -> None:
        await self.request("DELETE", f"/api/projects/{quoted(project_id)}")

    async def send_laptop_results(self, project_id: str, pieces: AsyncIterator[bytes]) -> Json:
        return await self.upload(f"/api/projects/{quoted(project_id)}/laptop-results", pieces)

    async def new_webhook_secret(self, project_id: str) -> str:
        path = f"/api/projects/{quoted(project_id)}/webhook-secret"
        return str((await self.object_at("POST", path))["webhookSecret"])

    async def workflows(self, project_id: str) -> list[Json]:
        return await self.list_at(f"/api/projects/{quoted(project_id)}/workflows")

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
        return await self.object_at("POST", f"/api/projects/{quoted(project_id)}/builds", body=body)

    async def builds(
        self, project_id: str = ANY_PROJECT, *, limit: int = PAGE_SIZE, offset: int = 0
    ) -> list[Json]:
        """Newest first."""
        path = f"/api/projects/{quoted(project_id)}/builds"
        page = await self.object_at("GET", path, query={"limit": limit, "offset": offset})
        return objects(page.get("builds"), path)

    async def build(self, build_id: str, *, seen: int | None = None) -> Json:
        """The build with its steps; with `seen`, held until its version differs or time is over."""
        query = {} if seen is None else {"wait": HOLD_SECONDS, "seen": seen}
        return await self.object_at("GET", _build_path(build_id), query=query)

    async def results(self, build_id: str) -> list[Json]:
        """Of each step that reported: counts of tests, coverage, summary."""
        path = _build_path(build_id) + "/results"
        return objects((await self.object_at("GET", path)).get("steps"), path)

    async def tests(self, build_id: str, query: Mapping[str, str], *, limit: int) -> list[Json]:
        """The first tests of the build that the query's filters leave."""
        path, found = _build_path(build_id) + "/tests", list[Json]()
        while len(found) < limit:
            most = min(PAGE_SIZE, limit - len(found))
            asked: dict[str, str | int] = {**query, "limit": most, "offset": len(found)}
            page = await self.object_at("GET", path, query=asked)
            found += objects(page.get("tests"), path)
            if not page.get("pagination", {}).get("hasMore"):
                break
        return found

    async def test_history(self, project_id: str, name: str) -> list[Json]:
        path = f"/api/projects/{quoted(project_id)}/tests/history"
        return await self.list_at(path, {"name": name})

    async def cancel_build(self, build_id: str, steps: Sequence[str] = ()) -> Json:
        """Whole, or only those steps, by name."""
        body = {"steps": list(steps)} if steps else None
        return await self.object_at("POST", _build_path(build_id) + "/cancel", body=body)

    async def retry_build(
        self, build_id: str, *, failed: bool = False, steps: Sequence[str] = ()
    ) -> Json:
        """The new build: of all steps, or of those that failed, or of these names."""
        body = {"failed": failed, "steps": list(steps)} if failed or steps else None
        return await self.object_at("POST", _build_path(build_id) + "/retry", body=body)

    async def approve_build(self, build_id: str) -> Json:
        return await self.object_at("POST", _build_path(build_id) + "/approve")

    async def pin_build(self, build_id: str, *, pinned: bool) -> Json:
        return await self.object_at(
            "POST", _build_path(build_id) + ("/pin" if pinned else "/unpin")
        )

    async def retention(self, project_id: str | None, *, outlook: bool = False) -> Json:
        path = _retention_path(project_id) + ("?outlook=true" if outlook else "")
        return await self.object_at("GET", path)

    async def set_retention(self, project_id: str | None, wanted: Json) -> Json:
        return await self.object_at("PATCH", _retention_path(project_id), body=wanted)

    async def storage(self) -> Json:
        return await self.object_at("GET", "/api/storage")

    async def why(self, step_id: str) -> Json:
        return await self.object_at("GET", f"/api/steps/{quoted(step_id)}/why")

    async def approve_step(self, step_id: str, params: Mapping[str, str]) -> Json:
        path = f"/api/steps/{quoted(step_id)}/approve"
        return await self.object_at("POST", path, body={"params": dict(params)})

    async def reject_step(self, step_id: str) -> Json:
        return await self.object_at("POST", f"/api/steps/{quoted(step_id)}/reject")

    async def delete_build(self, build_id: str) -> None:
        await self.request("DELETE", _build_path(build_id))

    async def deliveries(self, project_id: str, *, limit: int, offset: int) -> list[Json]:
        """The webhooks that came in for a project, newest first."""
        path = f"/api/projects/{quoted(project_id)}/deliveries"
        page = await self.object_at("GET", path, query={"limit": limit, "offset": offset})
        return objects(page.get("deliveries"), path)

    async def redeliver(self, project_id: str, delivery_id: str) -> Json:
        path = f"/api/projects/{quoted(project_id)}/deliveries/{quoted(delivery_id)}/redeliver"
        return await self.object_at("POST", path)

    async def messages(self, project_id: str, *, limit: int, offset: int) -> list[Json]:
        """What others were told of a project's builds, newest first."""
        path = f"/api/projects/{quoted(project_id)}/outbox"
        page = await self.object_at("GET", path, query={"limit": limit, "offset": offset})
        return objects(page.get("messages"), path)

    async def message(self, project_id: str, message_id: str) -> Json:
        return await self.object_at("GET", _message_path(project_id, message_id))

    async def retry_message(self, project_id: str, message_id: str) -> Json:
        return await self.object_at("POST", _message_path(project_id, message_id) + "/retry")

    async def notifications(self, project_id: str) -> Json:
        """Whom a project notifies, and the secret by which its webhooks are signed."""
        return await self.object_at("GET", f"/api/projects/{quoted(project_id)}/notifications")

    async def add_notification(self, project_id: str, wanted: Json) -> Json:
        path = f"/api/projects/{quoted(project_id)}/notifications"
        return await self.object_at("POST", path, body=wanted)

    async def remove_notification(self, project_id: str, notification_id: str) -> None:
        path = f"/api/projects/{quoted(project_id)}/notifications/{quoted(notification_id)}"
        await self.request("DELETE", path)

    async def set_forge_token(self, project_id: str, body: Json) -> Json:
        path = f"/api/projects/{quoted(project_id)}/forge-token"
        return await self.object_at("PUT", path, body=body)

    async def make_forge_webhook(self, project_id: str) -> Json:
        """At the project's forge; what was found."""
        path = f"/api/projects/{quoted(project_id)}/forge-webhook"
        return await self.object_at("POST", path)

    async def check_forge(self, project_id: str) -> Json:
        return await self.object_at("POST", f"/api/projects/{quoted(project_id)}/forge-check")

    async def remove_forge_token(self, project_id: str) -> None:
        await self.request("DELETE", f"/api/projects/{quoted(project_id)}/forge-token")

    async def set_credential(
        self, project_id: str, *, token: str | None, deploy_key: str | None
    ) -> None:
        body = {"token": token, "deployKey": deploy_key}
        await self.request("PUT", f"/api/projects/{quoted(project_id)}/credential", body=body)

    async def remove_credential(self, project_id: str) -> None:
        await self.request("DELETE", f"/api/projects/{quoted(project_id)}/credential")

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
        path = f"/api/steps/{quoted(step_id)}/log"
        headers, data = await self.request("GET", path, query=query)
        try:
            return LogSlice(
                data=data,
                next_offset=int(headers["Log-Next-Offset"]),
                complete=headers["Log-Complete"] == "true",
                attempt=int(headers["Log-Attempt"]),
            )
        except (KeyError, ValueError) as error:
            raise self.no_coordinator(path) from error

    async def artifacts(self, step_id: str) -> list[Json]:
        return await self.list_at(f"/api/steps/{quoted(step_id)}/artifacts")

    async def links_and_folders(self, step_id: str) -> Json:
        """What a step left besides files: lists of `links` and `folders`."""
        return await self.object_at("GET", f"/api/steps/{quoted(step_id)}/outputs")

    async def images(self) -> list[Json]:
        return await self.list_at("/api/docker-images")

    async def create_image(self, slug: str, image_url: str, *, public: bool = False) -> Json:
        body = {"slug": slug, "imageUrl": image_url, "public": public}
        return await self.object_at("POST", "/api/docker-images", body=body)

    async def change_image(self, slug: str, changes: Json) -> Json:
        """`slug`, `imageUrl`, `public`: what is None stays."""
        return await self.object_at("PATCH", f"/api/docker-images/{quoted(slug)}", body=changes)

    async def delete_image(self, slug: str) -> None:
        await self.request("DELETE", f"/api/docker-images/{quoted(slug)}")

    async def secrets(self, owner: tuple[str, str]) -> list[Json]:
        """Names, and for which builds; `owner` is `projects` or `accounts`, and the id."""
        return await self.list_at(_secret_path(owner))

    async def set_secret(
        self, owner: tuple[str, str], name: str, value: str, whose: Mapping[str, str]
    ) -> None:
        """`whose` has the pattern of a `branch` or of a `tag`, or nothing."""
        await self.request("PUT", _secret_path(owner, name), body={"value": value, **whose})

    async def delete_secret(
        self, owner: tuple[str, str], name: str, whose: Mapping[str, str]
    ) -> None:
        """`whose` as it was set, or `others`: only that value; nothing: all of them."""
        await self.request("DELETE", _secret_path(owner, name), query=whose)

    async def registry_logins(self, owner: tuple[str, str]) -> list[Json]:
        """Hosts and usernames; `owner` is `projects` or `accounts`, and the id."""
        return await self.list_at(_registry_path(owner))

    async def set_registry_login(
        self, owner: tuple[str, str], host: str, username: str, password: str
    ) -> None:
        body = {"username": username, "password": password}
        await self.request("PUT", _registry_path(owner, host), body=body)

    async def delete_registry_login(self, owner: tuple[str, str], host: str) -> None:
        await self.request("DELETE", _registry_path(owner, host))


def _retention_path(project_id: str | None) -> str:
    """Of the installation for None."""
    if project_id is None:
        return "/api/retention"
    return f"/api/projects/{quoted(project_id)}/retention"


def _build_path(build_id: str) -> str:
    return f"/api/projects/{ANY_PROJECT}/builds/{quoted(build_id)}"


def _registry_path(owner: tuple[str, str], host: str | None = None) -> str:
    kind, id_ = owner
    end = "" if host is None else f"/{quoted(host)}"
    return f"/api/{kind}/{quoted(id_)}/registries{end}"


def _message_path(project_id: str, message_id: str) -> str:
    return f"/api/projects/{quoted(project_id)}/outbox/{quoted(message_id)}"


def _secret_path(owner: tuple[str, str], name: str | None = None) -> str:
    kind, id_ = owner
    end = "" if name is None else f"/{quoted(name)}"
    return f"/api/{kind}/{quoted(id_)}/secrets{end}"


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


def _first_failure(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
