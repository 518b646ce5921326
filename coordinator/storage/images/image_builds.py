"""Image builds, the projects that hold their sources, and deployments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from coordinator.domain.image_builds.records import Deployment, ImageBuildRecord
from coordinator.domain.lifecycle import FINISHED_BUILD
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.rows import columns, reader
from coordinator.storage.tables import builds, deployments, image_builds, image_projects

_image_build = reader(ImageBuildRecord)
_deployment = reader(Deployment)


def _values(record: ImageBuildRecord | Deployment, table: sa.Table) -> dict[str, Any]:
    return {column.name: getattr(record, column.name) for column in table.c}


async def find_image_project(
    connection: AsyncConnection, account_id: str, image_name: str
) -> str | None:
    """The id of the project that holds the sources of these images."""
    query = sa.select(image_projects.c.project_id).where(
        image_projects.c.account_id == account_id, image_projects.c.image_name == image_name
    )
    return (await connection.execute(query)).scalar_one_or_none()


async def insert_image_project(
    connection: AsyncConnection, account_id: str, image_name: str, project_id: str
) -> None:
    await connection.execute(
        image_projects.insert().values(
            account_id=account_id, image_name=image_name, project_id=project_id
        )
    )


async def insert_image_build(connection: AsyncConnection, record: ImageBuildRecord) -> None:
    await connection.execute(image_builds.insert().values(**_values(record, image_builds)))


async def find_image_build(
    connection: AsyncConnection, image_build_id: str
) -> ImageBuildRecord | None:
    query = sa.select(*columns(ImageBuildRecord, image_builds)).where(
        image_builds.c.id == image_build_id
    )
    row = (await connection.execute(query)).first()
    return _image_build(row) if row else None


async def insert_deployment(connection: AsyncConnection, deployment: Deployment) -> None:
    await connection.execute(deployments.insert().values(**_values(deployment, deployments)))


_deployments = sa.select(*columns(Deployment, deployments))


async def find_deployment(connection: AsyncConnection, deployment_id: str) -> Deployment | None:
    query = _deployments.where(deployments.c.id == deployment_id)
    row = (await connection.execute(query)).first()
    return _deployment(row) if row else None


async def deployment_of_build(connection: AsyncConnection, build_id: str) -> Deployment | None:
    row = (await connection.execute(_deployments.where(deployments.c.build_id == build_id))).first()
    return _deployment(row) if row else None


async def list_deployments(
    connection: AsyncConnection, account_id: str | None, limit: int, offset: int
) -> tuple[Sequence[Deployment], int]:
    """Newest first, of all accounts for None; and how many there are."""
    rows, total = await _page(connection, deployments, _deployments, account_id, limit, offset)
    return [_deployment(row) for row in rows], total


async def list_image_builds(
    connection: AsyncConnection, account_id: str | None, limit: int, offset: int
) -> tuple[Sequence[ImageBuildRecord], int]:
    """As `list_deployments`, with those that deployments began."""
    query = sa.select(*columns(ImageBuildRecord, image_builds))
    rows, total = await _page(connection, image_builds, query, account_id, limit, offset)
    return [_image_build(row) for row in rows], total


async def _page(
    connection: AsyncConnection,
    table: sa.Table,
    query: sa.Select[Any],
    account_id: str | None,
    limit: int,
    offset: int,
) -> tuple[Sequence[sa.Row[Any]], int]:
    counted = sa.select(sa.func.count()).select_from(table)
    if account_id is not None:
        query = query.where(table.c.account_id == account_id)
        counted = counted.where(table.c.account_id == account_id)
    newest_first = query.order_by(table.c.created_at.desc(), table.c.id)
    rows = (await connection.execute(newest_first.limit(limit).offset(offset))).all()
    return rows, (await connection.execute(counted)).scalar_one()


async def older_deployments(
    connection: AsyncConnection, deployment: Deployment
) -> Sequence[Deployment]:
    """Of the same name, made before this one and not over yet."""
    query = _deployments.join_from(deployments, builds).where(
        deployments.c.account_id == deployment.account_id,
        deployments.c.agent_name == deployment.agent_name,
        deployments.c.created_at <= deployment.created_at,
        deployments.c.id != deployment.id,
        builds.c.state.not_in([state.value for state in FINISHED_BUILD]),
    )
    return [_deployment(row) for row in await connection.execute(query)]


async def set_healthy(connection: AsyncConnection, build_id: str, epoch: int) -> None:
    await connection.execute(
        deployments.update().where(deployments.c.build_id == build_id).values(healthy_epoch=epoch)
    )


async def replace_deployment(
    connection: AsyncConnection, deployment_id: str, replaced_by: str
) -> None:
    await connection.execute(
        deployments.update()
        .where(deployments.c.id == deployment_id)
        .values(replaced_by=replaced_by)
    )
