"""What others were told of a project's builds, and the token with which its forge is told."""

from __future__ import annotations

from aiohttp import web
from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from coordinator.api.http.api_model import ApiModel
from coordinator.api.http.context import CORE, FORGE_TOKENS, OUTBOX, project_of
from coordinator.api.http.fields import Instant, PageQuery, Pagination, Shown
from coordinator.api.http.operations import add_operations, operation
from coordinator.domain.errors import Invalid, NotFound
from coordinator.domain.outbox.forge_place import AppKey
from coordinator.domain.outbox.messages import Facts, Message, MessageState, RecipientKind, Status
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.pushes.repo_url import MAX_URL_CHARACTERS
from coordinator.forges import APIS
from coordinator.services.outbox.forge_tokens import MAX_TOKEN_CHARACTERS, ForgeAccess

MAX_KEY_CHARACTERS = 20_000
NO_MESSAGE = {404: "Project or message not found"}
MESSAGE_ID = {"message_id": {"pattern": "^[0-9]{1,18}$"}}


class ForgeTokenSet(ApiModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", hide_input_in_errors=True)

    token: str | None = Field(
        default=None, min_length=1, max_length=MAX_TOKEN_CHARACTERS, repr=False
    )
    app_id: int | None = Field(default=None, ge=1, description="Of a GitHub App, instead of token")
    app_key: str | None = Field(
        default=None, max_length=MAX_KEY_CHARACTERS, repr=False, description="The App's private key"
    )
    forge: str | None = Field(
        default=None,
        max_length=50,
        description=f"{', '.join(APIS)}; where it is left out, the project's own `forge` or the "
        "host's name tells",
    )
    url: str | None = Field(
        default=None,
        max_length=MAX_URL_CHARACTERS,
        description="The forge's own address, if that isn't the root of the repository's host",
    )


class ForgeShown(Shown):
    forge: str
    url: str
    set_at: Instant


class MessageShown(Shown):
    id: int
    kind: RecipientKind
    about: str = Field(description="A status' context, or what happened")
    status: Status
    words: str
    commit_hash: str | None = None
    build_id: str
    build_number: int
    build_url: str
    state: MessageState
    reason: str | None = Field(description="The last answer, where it was not taken", default=None)
    attempts: int
    created_at: Instant
    next_try_at: Instant | None = None
    finished_at: Instant | None = None


class MessagePage(Shown):
    messages: list[MessageShown]
    pagination: Pagination


def add_routes(app: web.Application) -> None:
    add_operations(
        app, [set_forge_token, remove_forge_token, list_messages, get_message, retry_message]
    )


@operation(
    "PUT",
    "/api/projects/{project_id}/forge-token",
    tag="Deliveries",
    summary="Set the token with which the forge is told of builds",
    right=Right.MANAGE,
    errors={404: "Project not found", 409: "The project is not a remote one"},
)
async def set_forge_token(
    request: web.Request, principal: Principal, body: ForgeTokenSet
) -> ForgeShown:
    """The token is never shown again. What was given up for want of it is sent now."""
    project = await project_of(request, principal)
    if (body.app_id is None) != (body.app_key is None):
        raise Invalid("an App is given by appId and appKey")
    app = AppKey(id=body.app_id, key=body.app_key or "") if body.app_id is not None else None
    access = ForgeAccess(token=body.token, app=app, forge=body.forge, url=body.url)
    recipient = await request.app[FORGE_TOKENS].set(principal, project, access)
    return ForgeShown(
        forge=recipient.forge or "", url=recipient.address, set_at=recipient.created_at
    )


@operation(
    "DELETE",
    "/api/projects/{project_id}/forge-token",
    tag="Deliveries",
    summary="Remove the token with which the forge is told of builds",
    right=Right.MANAGE,
    errors={404: "Project or token not found"},
)
async def remove_forge_token(request: web.Request, principal: Principal) -> None:
    await request.app[FORGE_TOKENS].remove(principal, await project_of(request, principal))


@operation(
    "GET",
    "/api/projects/{project_id}/outbox",
    tag="Deliveries",
    summary="List what others were told of a project's builds",
    right=Right.READ,
    errors={404: "Project not found"},
)
async def list_messages(
    request: web.Request, principal: Principal, query: PageQuery
) -> MessagePage:
    """Newest first."""
    project = await project_of(request, principal)
    found, total = await request.app[OUTBOX].list_of(project, *query.page)
    return MessagePage(
        messages=[_shown(request, message) for message in found],
        pagination=Pagination.of(total, query.page, len(found)),
    )


@operation(
    "GET",
    "/api/projects/{project_id}/outbox/{message_id}",
    tag="Deliveries",
    summary="Get a message to others",
    right=Right.READ,
    errors=NO_MESSAGE,
    path_rules=MESSAGE_ID,
)
async def get_message(request: web.Request, principal: Principal) -> MessageShown:
    project = await project_of(request, principal)
    return _shown(request, await request.app[OUTBOX].get(project, _message_id(request)))


@operation(
    "POST",
    "/api/projects/{project_id}/outbox/{message_id}/retry",
    tag="Deliveries",
    summary="Send a message to others again",
    right=Right.BUILD,
    status=202,
    errors={**NO_MESSAGE, 409: "A later message of the same context is the one to send"},
    path_rules=MESSAGE_ID,
)
async def retry_message(request: web.Request, principal: Principal) -> MessageShown:
    project = await project_of(request, principal)
    message = await request.app[OUTBOX].retry(principal, project, _message_id(request))
    return _shown(request, message)


def _message_id(request: web.Request) -> int:
    text = request.match_info["message_id"]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise NotFound("message not found")
    return int(text)


def _shown(request: web.Request, message: Message) -> MessageShown:
    facts = Facts.from_json(message.facts)
    return MessageShown(
        id=message.id,
        kind=message.kind,
        about=facts.context,
        status=facts.status,
        words=facts.words,
        commit_hash=facts.commit,
        build_id=message.build_id,
        build_number=message.build_number,
        build_url=f"{request.app[CORE].public_url}/builds/{message.build_id}",
        state=message.state,
        reason=message.reason,
        attempts=message.attempts,
        created_at=message.created_at,
        next_try_at=message.next_try_at,
        finished_at=message.finished_at,
    )
