"""Of the Build Server API (specification 003): docker images and the audit log."""

from __future__ import annotations

import re

from aiohttp import web

from coordinator.api.dialects.build_server_image_models import (
    IMAGE_URL,
    ImageChange,
    ImageCreate,
    ImageShown,
    ImagesQuery,
)
from coordinator.api.dialects.build_server_models import AuditEntryShown, AuditPage, AuditQuery
from coordinator.api.http.context import ACCOUNTS, CORE, IMAGE_SLUGS
from coordinator.api.http.fields import Pagination
from coordinator.api.http.operations import add_operations, operation
from coordinator.domain.errors import Invalid
from coordinator.domain.listing import AuditListing
from coordinator.domain.model import Image
from coordinator.domain.people.permissions import NOWHERE, Principal, Right
from coordinator.services import audit
from pipelines_schema import can_be_named

DEFAULT_ACCOUNT = "default"
IMAGE_PATH = "/api/docker-images/{image}"


def add_routes(app: web.Application) -> None:
    add_operations(app, [list_images, create_image, change_image, delete_image, list_audit_logs])


@operation(
    "GET",
    "/api/docker-images",
    tag="Docker Images",
    summary="Get docker images",
    right=Right.READ,
)
async def list_images(
    request: web.Request, principal: Principal, query: ImagesQuery
) -> list[ImageShown]:
    """All of them, or only public ones."""
    images = await request.app[IMAGE_SLUGS].list_of(principal, public_only=bool(query.public))
    return [_image(image) for image in images]


@operation(
    "POST",
    "/api/docker-images",
    tag="Docker Images",
    summary="Create a new docker image",
    right=Right.MANAGE,
    status=201,
    errors={404: "No such account", 409: "The slug is taken"},
)
async def create_image(request: web.Request, principal: Principal, body: ImageCreate) -> ImageShown:
    _check_slug(body.slug)
    image_url = _reference(body.image_url)
    key = body.account_id or principal.account_id or DEFAULT_ACCOUNT
    account = await request.app[ACCOUNTS].find_or_create(principal, key)
    image = await request.app[IMAGE_SLUGS].create(
        principal, account, slug=body.slug, image_url=image_url, public=body.public
    )
    return _image(image)


@operation(
    "PATCH",
    IMAGE_PATH,
    tag="Docker Images",
    summary="Change a docker image",
    right=Right.MANAGE,
    errors={404: "No such image", 409: "The slug is taken"},
)
async def change_image(request: web.Request, principal: Principal, body: ImageChange) -> ImageShown:
    """By its id, or by its slug in the token's own account."""
    if body.slug is not None:
        _check_slug(body.slug)
    image_url = None if body.image_url is None else _reference(body.image_url)
    image = await request.app[IMAGE_SLUGS].change(
        principal,
        await _own_account_id(request, principal),
        request.match_info["image"],
        slug=body.slug,
        image_url=image_url,
        public=body.public,
    )
    return _image(image)


@operation(
    "DELETE",
    IMAGE_PATH,
    tag="Docker Images",
    summary="Delete a docker image's slug",
    right=Right.MANAGE,
    errors={404: "No such image"},
)
async def delete_image(request: web.Request, principal: Principal) -> None:
    """By its id, or by its slug in the token's own account. Its registry keeps the image."""
    account_id = await _own_account_id(request, principal)
    await request.app[IMAGE_SLUGS].delete(principal, account_id, request.match_info["image"])


async def _own_account_id(request: web.Request, principal: Principal) -> str:
    """In which a slug is looked up."""
    account = await request.app[ACCOUNTS].find(principal, principal.account_id or DEFAULT_ACCOUNT)
    return account.id if account else NOWHERE


def _check_slug(slug: str) -> None:
    """Raises Invalid."""
    if not can_be_named(slug):
        message = "write letters, digits, `-`, `.` and `_`, first a letter or a digit"
        raise Invalid(
            f"no workflow could name the slug {slug!r}",
            details=[{"path": "slug", "message": message}],
        )


def _reference(image_url: str) -> str:
    """As engines read it: what is written as a web address is docker's. Raises Invalid."""
    if not re.fullmatch(IMAGE_URL.strip("^$"), image_url, re.ASCII):
        message = "write docker://registry/name:tag or registry/name:tag, the name in lower case"
        raise Invalid(
            f"imageUrl {image_url!r} is no image reference",
            details=[{"path": "imageUrl", "message": message}],
        )
    return re.sub("^https?://", "docker://", image_url)


def _image(image: Image) -> ImageShown:
    return ImageShown(
        id=image.id,
        slug=image.slug,
        image_url=image.image_url,
        public=image.public,
        created_at=image.created_at,
    )


@operation(
    "GET",
    "/api/audit-logs",
    tag="Audit",
    summary="Get audit logs",
    right=Right.MANAGE,
)
async def list_audit_logs(
    request: web.Request, principal: Principal, query: AuditQuery
) -> AuditPage:
    """Newest first."""
    limit, offset = query.page
    listing = AuditListing(limit=limit, offset=offset, action=query.action)
    entries, total = await audit.list_entries(
        request.app[CORE], principal, query.project_id, listing
    )
    return AuditPage(
        audit_logs=[
            AuditEntryShown(
                id=entry.id,
                project_id=entry.project_id,
                action=entry.action,
                details=dict(entry.details),
                created_at=entry.created_at,
            )
            for entry in entries
        ],
        pagination=Pagination.of(total, query.page, len(entries)),
    )
