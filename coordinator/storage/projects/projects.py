"""Projects, their workflows, the refs seen of them; image slugs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from coordinator.domain.last_made import LastMade
from coordinator.domain.model import Image, Project, WorkflowRecord, WorkflowSource
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.direct_statements import direct
from coordinator.storage.rows import columns, reader, values_of
from coordinator.storage.tables import (
    accounts,
    build_listeners,
    former_slugs,
    images,
    projects,
    seen_refs,
    workflows,
)
from coordinator.storage.tables.columns import as_stored, instant_of

_project = reader(Project)
_workflow = reader(WorkflowRecord, source=WorkflowSource)
_image = reader(Image)

_of_its_account = build_listeners.c.account_id == projects.c.account_id
_listened_to = sa.exists().where(_of_its_account, build_listeners.c.upstream == projects.c.slug)
_listened_to_before = sa.exists().where(
    former_slugs.c.project_id == projects.c.id,
    _of_its_account,
    build_listeners.c.upstream == former_slugs.c.slug,
)
_starts_others = sa.or_(_listened_to.correlate(projects), _listened_to_before.correlate(projects))
_projects = sa.select(
    *columns(Project, projects),
    accounts.c.slug.label("account_slug"),
    _starts_others.label("starts_others"),
).join_from(projects, accounts)


_PROJECTS_OF_ACCOUNT = direct(
    sa.select(
        *map(as_stored, columns(Project, projects)),
        accounts.c.slug.label("account_slug"),
        _starts_others.label("starts_others"),
    )
    .join_from(projects, accounts)
    .where(projects.c.account_id == sa.bindparam("its_account"))
    .order_by(projects.c.created_at, projects.c.id)
)
_KNOWN: LastMade[Any, Project] = LastMade(
    reader(Project, created_at=instant_of, updated_at=instant_of, archived_at=instant_of)
)
_FIND_PROJECT = direct(_projects.where(projects.c.id == sa.bindparam("its_id")))


def select_projects() -> sa.Select[Any]:
    """For queries over more tables, whose rows `project_of` reads."""
    return _projects


async def project_names(connection: AsyncConnection, ids: Collection[str]) -> Mapping[str, str]:
    """By id: `account/project`."""
    if not ids:
        return {}
    query = sa.select(projects.c.id, projects.c.slug, accounts.c.slug.label("account_slug"))
    found = await connection.execute(
        query.join_from(projects, accounts).where(projects.c.id.in_(ids))
    )
    return {row.id: f"{row.account_slug}/{row.slug}" for row in found}


def project_of(row: sa.Row[Any]) -> Project:
    return _project(row)


async def find_project(connection: AsyncConnection, project_id: str) -> Project | None:
    row = (await connection.execute(_FIND_PROJECT, {"its_id": project_id})).first()
    return _project(row) if row else None


async def find_project_by_slugs(
    connection: AsyncConnection, account_slug: str, project_slug: str
) -> Project | None:
    """By the slug that it has, or had before it was renamed."""
    query = _projects.where(accounts.c.slug == account_slug, projects.c.slug == project_slug)
    row = (await connection.execute(query)).first()
    if row is None:
        former = sa.select(former_slugs.c.project_id).join(
            accounts, accounts.c.id == former_slugs.c.account_id
        )
        its_id = former.where(accounts.c.slug == account_slug, former_slugs.c.slug == project_slug)
        query = _projects.where(projects.c.id == its_id.scalar_subquery())
        row = (await connection.execute(query)).first()
    return _project(row) if row else None


async def list_projects(connection: AsyncConnection) -> Sequence[Project]:
    """Of all accounts, the oldest first."""
    query = _projects.order_by(projects.c.created_at, projects.c.id)
    return [_project(row) for row in await connection.execute(query)]


async def projects_of_account(connection: AsyncConnection, account_id: str) -> Sequence[Project]:
    """The oldest first; what is as it was before is the same object."""
    found = await connection.execute(_PROJECTS_OF_ACCOUNT, {"its_account": account_id})
    return [_KNOWN.of(row.id, row) for row in found]


async def project_slugs(connection: AsyncConnection, account_id: str, prefix: str) -> set[str]:
    """Those that are taken, also by what projects were called before."""
    query = sa.union(
        *(
            sa.select(table.c.slug).where(
                table.c.account_id == account_id,
                table.c.slug.startswith(prefix, autoescape=True),
            )
            for table in (projects, former_slugs)
        )
    )
    return set((await connection.execute(query)).scalars())


async def former_slugs_of(connection: AsyncConnection, project_id: str) -> set[str]:
    query = sa.select(former_slugs.c.slug).where(former_slugs.c.project_id == project_id)
    return set((await connection.execute(query)).scalars())


async def rename_project(connection: AsyncConnection, project: Project, slug: str) -> None:
    """The slug becomes the project's, and the one that it had a former one."""
    its = former_slugs.c.account_id == project.account_id
    await connection.execute(former_slugs.delete().where(its, former_slugs.c.slug == slug))
    await connection.execute(
        former_slugs.insert().values(
            account_id=project.account_id, slug=project.slug, project_id=project.id
        )
    )
    await update_project(connection, project.id, slug=slug)


async def update_project(connection: AsyncConnection, project_id: str, **values: Any) -> None:
    await connection.execute(projects.update().where(projects.c.id == project_id).values(**values))


async def insert_project(connection: AsyncConnection, project: Project) -> None:
    await connection.execute(
        projects.insert().values(
            id=project.id,
            account_id=project.account_id,
            name=project.name,
            slug=project.slug,
            repo_url=project.repo_url,
            forge=project.forge,
            build_count=0,
            created_at=project.created_at,
            updated_at=project.updated_at,
        )
    )


async def adopt_repo_url(
    connection: AsyncConnection, project_id: str, repo_url: str, now: datetime
) -> bool:
    """Whether the project had none, or that one."""
    none_or_same = sa.or_(projects.c.repo_url.is_(None), projects.c.repo_url == repo_url)
    changed = await connection.execute(
        projects.update()
        .where(projects.c.id == project_id, none_or_same)
        .values(repo_url=repo_url, updated_at=now)
    )
    return changed.rowcount == 1


_NEXT_NUMBER = direct(
    projects.update()
    .where(projects.c.id == sa.bindparam("its_id"), projects.c.archived_at.is_(None))
    .values(build_count=projects.c.build_count + 1)
    .returning(projects.c.build_count)
)


async def next_build_number(connection: AsyncConnection, project_id: str) -> int | None:
    """None where the project is archived, or gone."""
    found = await connection.execute(_NEXT_NUMBER, {"its_id": project_id})
    number: int | None = found.scalar_one_or_none()
    return number


async def read_seen_refs(connection: AsyncConnection, project_id: str) -> dict[str, str]:
    query = sa.select(seen_refs.c.ref, seen_refs.c.sha).where(seen_refs.c.project_id == project_id)
    return {row.ref: row.sha for row in await connection.execute(query)}


async def find_seen_ref(connection: AsyncConnection, project_id: str, ref: str) -> str | None:
    query = sa.select(seen_refs.c.sha).where(
        seen_refs.c.project_id == project_id, seen_refs.c.ref == ref
    )
    return (await connection.execute(query)).scalar_one_or_none()


async def save_seen_ref(
    connection: AsyncConnection, project_id: str, ref: str, sha: str | None
) -> None:
    """Record what a ref points to; None where it is gone."""
    await connection.execute(
        seen_refs.delete().where(seen_refs.c.project_id == project_id, seen_refs.c.ref == ref)
    )
    if sha is not None:
        await connection.execute(seen_refs.insert().values(project_id=project_id, ref=ref, sha=sha))


async def replace_seen_refs(
    connection: AsyncConnection, project_id: str, refs: Mapping[str, str]
) -> None:
    await connection.execute(seen_refs.delete().where(seen_refs.c.project_id == project_id))
    rows = [{"project_id": project_id, "ref": ref, "sha": sha} for ref, sha in refs.items()]
    if rows:
        await connection.execute(seen_refs.insert(), rows)


async def insert_workflow(connection: AsyncConnection, workflow: WorkflowRecord) -> None:
    await connection.execute(
        workflows.insert().values(
            id=workflow.id,
            project_id=workflow.project_id,
            name=workflow.name,
            source=workflow.source.value,
            path=workflow.path,
            definition=workflow.definition,
            created_at=workflow.created_at,
            updated_at=workflow.updated_at,
        )
    )


async def list_workflows(connection: AsyncConnection, project_id: str) -> Sequence[WorkflowRecord]:
    query = (
        sa.select(*columns(WorkflowRecord, workflows))
        .where(workflows.c.project_id == project_id)
        .order_by(workflows.c.created_at, workflows.c.id)
    )
    return [_workflow(row) for row in await connection.execute(query)]


_FIND_WORKFLOW = direct(
    sa.select(*columns(WorkflowRecord, workflows)).where(
        workflows.c.project_id == sa.bindparam("its_project"),
        workflows.c.id == sa.bindparam("its_id"),
    )
)


async def find_workflow(
    connection: AsyncConnection, project_id: str, workflow_id: str
) -> WorkflowRecord | None:
    values = {"its_project": project_id, "its_id": workflow_id}
    row = (await connection.execute(_FIND_WORKFLOW, values)).first()
    return _workflow(row) if row else None


async def find_workflow_by_path(
    connection: AsyncConnection, project_id: str, path: str
) -> WorkflowRecord | None:
    query = sa.select(*columns(WorkflowRecord, workflows)).where(
        workflows.c.project_id == project_id, workflows.c.path == path
    )
    row = (await connection.execute(query)).first()
    return _workflow(row) if row else None


async def rename_workflow(
    connection: AsyncConnection, workflow_id: str, name: str, now: datetime
) -> None:
    await connection.execute(
        workflows.update().where(workflows.c.id == workflow_id).values(name=name, updated_at=now)
    )


async def insert_image(connection: AsyncConnection, image: Image) -> None:
    await connection.execute(images.insert().values(**values_of(Image, images, image)))


async def find_image(connection: AsyncConnection, account_id: str, slug: str) -> Image | None:
    """The account's own."""
    mine = (images.c.account_id == account_id, images.c.slug == slug)
    row = (await connection.execute(sa.select(*columns(Image, images)).where(*mine))).first()
    return _image(row) if row else None


async def find_image_by_id(connection: AsyncConnection, image_id: str) -> Image | None:
    query = sa.select(*columns(Image, images)).where(images.c.id == image_id)
    row = (await connection.execute(query)).first()
    return _image(row) if row else None


async def update_image(connection: AsyncConnection, image: Image) -> None:
    await connection.execute(
        images.update().where(images.c.id == image.id).values(**values_of(Image, images, image))
    )


async def delete_image(connection: AsyncConnection, image_id: str) -> None:
    await connection.execute(images.delete().where(images.c.id == image_id))


_KNOWN_IMAGES = direct(
    sa.select(*columns(Image, images))
    .where(
        sa.or_(
            images.c.shared,
            sa.and_(
                images.c.account_id == sa.bindparam("its_account"),
                images.c.slug.in_(sa.bindparam("its_slugs", expanding=True)),
            ),
        )
    )
    .order_by(images.c.image_url)
)


async def known_images(
    connection: AsyncConnection, account_id: str, slugs: Sequence[str]
) -> tuple[Sequence[Image], Sequence[Image]]:
    """The account's own of these slugs, and all that administrators made everybody's."""
    values = {"its_account": account_id, "its_slugs": list(slugs)}
    found = [_image(row) for row in await connection.execute(_KNOWN_IMAGES, values)]
    own = [image for image in found if image.account_id == account_id and image.slug in slugs]
    return own, [image for image in found if image.shared]


async def list_images(
    connection: AsyncConnection, account_id: str | None, *, public_only: bool
) -> Sequence[Image]:
    """The account's images and those that an administrator shares with everybody, by slug."""
    query = sa.select(*columns(Image, images))
    if public_only:
        query = query.where(images.c.public)
    if account_id is None:
        found = await connection.execute(query.order_by(images.c.slug))
    else:
        own = query.where(images.c.account_id == account_id)
        others = query.where(images.c.account_id != account_id, images.c.shared)
        found = await connection.execute(sa.union_all(own, others).order_by("slug"))
    return [_image(row) for row in found]
