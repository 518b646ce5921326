"""Of the Build Server API (specification 003): docker images and the audit log."""

from __future__ import annotations

import re

from aiohttp import web

from coordinator.api.dialects.build_server_models import (
    IMAGE_URL,
    AuditEntryShown,
    AuditPage,
    AuditQuery,
    ImageCreate,
    ImageShown,
    ImagesQuery,
)
from coordinator.api.http.context import ACCOUNTS, CORE, PROJECTS
from coordinator.api.http.fields import Pagination
from coordinator.api.http.operations import add_operations, operation
from coordinator.domain.errors import Invalid
from coordinator.domain.listing import AuditListing
from coordinator.domain.model import Image
from coordinator.domain.people.permissions import Principal, Right
from coordinator.services import audit
from pipelines_schema import can_be_named


def add_routes(app: web.Application) -> None:
    add_operations(app, [list_images, create_image, list_audit_logs])


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
    images = await request.app[PROJECTS].list_images(principal, public_only=bool(query.public))
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
    if not can_be_named(body.slug):
        message = "write letters, digits, `-`, `.` and `_`, first a letter or a digit"
        raise Invalid(
            f"no workflow could name the slug {body.slug!r}",
            details=[{"path": "slug", "message": message}],
        )
    image_url = _reference(body.image_url)
    key = body.account_id or principal.account_id or "default"
    account = await request.app[ACCOUNTS].find_or_create(principal, key)
    image = await request.app[PROJECTS].create_image(
        principal, account, slug=body.slug, image_url=image_url, public=body.public
    )
    return _image(image)


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
