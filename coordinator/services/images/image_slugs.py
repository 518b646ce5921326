"""The slugs by which an account's steps name images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from coordinator.domain.errors import Conflict, Forbidden, NotFound
from coordinator.domain.model import Account, Image
from coordinator.domain.people.permissions import Principal, Right
from coordinator.services.audit import Deed
from coordinator.services.core import Core, new_id
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import projects as stored


@dataclass(frozen=True, slots=True)
class ImageSlugs:
    core: Core

    async def create(
        self, principal: Principal, account: Account, *, slug: str, image_url: str, public: bool
    ) -> Image:
        """Raises Conflict where the account has an image with the slug.

        Only what an administrator makes public is for other accounts' steps: anybody else could
        put an image of theirs where those steps run.
        """
        principal.require(Right.MANAGE)
        image = Image(
            id=new_id(),
            account_id=account.id,
            slug=slug,
            image_url=image_url,
            public=public,
            shared=public and principal.account_id is None,
            created_at=self.core.now(),
        )

        async def save(connection: AsyncConnection) -> None:
            await _check_free(connection, account.id, slug)
            await stored.insert_image(connection, image)
            await Deed(self.core, principal, account).record(
                connection, "image.created", slug=slug, imageUrl=image_url
            )

        await self.core.database.write(save)
        return image

    async def list_of(self, principal: Principal, *, public_only: bool) -> Sequence[Image]:
        return await self.core.database.read(
            lambda connection: stored.list_images(
                connection, principal.account_id, public_only=public_only
            )
        )

    async def change(
        self,
        principal: Principal,
        account_id: str,
        key: str,
        *,
        slug: str | None,
        image_url: str | None,
        public: bool | None,
    ) -> Image:
        """What is None stays. `key` is an id, or a slug of the account.

        Steps that are handed out from now on run in what the slug means then.
        Raises NotFound, Forbidden; Conflict where the new slug is taken.
        """
        principal.require(Right.MANAGE)

        async def save(connection: AsyncConnection) -> Image:
            image = await _own_image(connection, principal, account_id, key)
            if slug is not None and slug != image.slug:
                await _check_free(connection, image.account_id, slug)
            changed = replace(
                image,
                slug=image.slug if slug is None else slug,
                image_url=image.image_url if image_url is None else image_url,
                public=image.public if public is None else public,
                shared=image.shared if public is None else public and principal.account_id is None,
            )
            await stored.update_image(connection, changed)
            details = {"slug": image.slug, "imageUrl": changed.image_url, "public": changed.public}
            if changed.slug != image.slug:
                details["newSlug"] = changed.slug
            await Deed(self.core, principal, image).record(connection, "image.changed", **details)
            return changed

        return await self.core.database.write(save)

    async def delete(self, principal: Principal, account_id: str, key: str) -> None:
        """Workflows that name the slug mean a reference of that name from then on.

        Raises NotFound, Forbidden.
        """
        principal.require(Right.MANAGE)

        async def delete(connection: AsyncConnection) -> None:
            image = await _own_image(connection, principal, account_id, key)
            await stored.delete_image(connection, image.id)
            await Deed(self.core, principal, image).record(
                connection, "image.deleted", slug=image.slug, imageUrl=image.image_url
            )

        await self.core.database.write(delete)


async def _check_free(connection: AsyncConnection, account_id: str, slug: str) -> None:
    if await stored.find_image(connection, account_id, slug):
        raise Conflict(
            f"this account has an image with the slug {slug!r} already: "
            f"`pushrod image set {slug}` changes it"
        )


async def _own_image(
    connection: AsyncConnection, principal: Principal, account_id: str, key: str
) -> Image:
    """Raises NotFound, also for another account's; Forbidden for one that is every account's."""
    image = await stored.find_image_by_id(connection, key)
    if image is None:
        image = await stored.find_image(connection, account_id, key)
    if image is None or not principal.sees(image.account_id):
        raise NotFound(f"there is no image {key[:100]!r}: `pushrod image list` shows them")
    if image.shared and principal.account_id is not None:
        raise Forbidden("this image is for every account's steps: an administrator changes it")
    return image
