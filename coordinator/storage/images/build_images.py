"""What a tag means to the steps of one build."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from coordinator.storage.connection import AsyncConnection
from coordinator.storage.direct_statements import direct
from coordinator.storage.tables import build_images, builds, steps


def digest_of(
    build_id: sa.BindParameter[str], reference: sa.BindParameter[str]
) -> sa.ScalarSelect[Any]:
    """What a step of the build was told that the tag means."""
    return (
        sa.select(build_images.c.digest)
        .where(build_images.c.build_id == build_id, build_images.c.reference == reference)
        .scalar_subquery()
    )


def any_pushed_of(build_id: sa.BindParameter[str]) -> sa.Exists:
    """Whether any step of the build has pushed images."""
    return sa.exists().where(steps.c.build_id == build_id, sa.text("steps.images IS NOT NULL"))


_FIND_DIGEST = direct(
    sa.select(
        digest_of(sa.bindparam("its_build"), sa.bindparam("its_reference")).label("digest"),
        any_pushed_of(sa.bindparam("its_build")).label("any_pushed"),
    )
)


async def find_digest(
    connection: AsyncConnection, build_id: str, reference: str
) -> tuple[str | None, bool]:
    """What a step of the build was told that the tag means; and whether any of its steps has
    pushed images, which may mean another."""
    values = {"its_build": build_id, "its_reference": reference}
    row = (await connection.execute(_FIND_DIGEST, values)).one()
    return row.digest, bool(row.any_pushed)


async def digests_of_build(connection: AsyncConnection, build_id: str) -> dict[str, str]:
    """Reference → digest."""
    query = sa.select(build_images.c.reference, build_images.c.digest).where(
        build_images.c.build_id == build_id
    )
    return {row.reference: row.digest for row in await connection.execute(query)}


async def count_digests(connection: AsyncConnection, build_id: str) -> int:
    query = sa.select(sa.func.count()).where(build_images.c.build_id == build_id)
    return (await connection.execute(query)).scalar_one()


async def insert_digest(
    connection: AsyncConnection, build_id: str, reference: str, digest: str, now: datetime
) -> None:
    await connection.execute(
        build_images.insert().values(
            build_id=build_id, reference=reference, digest=digest, found_at=now
        )
    )


async def digests_found_since(
    connection: AsyncConnection, account_id: str, references: Sequence[str], since: datetime
) -> dict[str, str]:
    """Reference → the digest that an agent of any of the account's builds found last."""
    query = (
        sa.select(build_images.c.reference, build_images.c.digest)
        .join(builds, builds.c.id == build_images.c.build_id)
        .where(
            builds.c.account_id == account_id,
            build_images.c.reference.in_(references),
            build_images.c.found_at > since,
        )
        .order_by(build_images.c.found_at.nulls_first())
    )
    return {row.reference: row.digest for row in await connection.execute(query)}
