"""What modules the projects' default branches declare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from coordinator.domain.model import ModuleFile, Project
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects.projects import project_of, select_projects
from coordinator.storage.rows import columns, reader
from coordinator.storage.tables import accounts, module_files, modules, projects
from pipelines_schema import Module
from pipelines_schema.modules import WHOLE_REPOSITORY

MAX_NAMES = 2000
"""Of modules, read to find what a misspelt name may have meant."""

_file = reader(ModuleFile)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredModule:
    project: Project
    module: Module
    file: ModuleFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """Which projects' modules are meant; None is any that may be seen."""

    account_id: str | None
    account_slug: str | None = None
    project_slug: str | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        wanted = (
            (projects.c.account_id, self.account_id),
            (accounts.c.slug, self.account_slug),
            (projects.c.slug, self.project_slug),
        )
        return [column == value for column, value in wanted if value is not None]


async def find_file(connection: AsyncConnection, project_id: str) -> ModuleFile | None:
    """None where nobody looked yet."""
    query = sa.select(*columns(ModuleFile, module_files)).where(
        module_files.c.project_id == project_id
    )
    row = (await connection.execute(query)).first()
    return _file(row) if row else None


async def replace_modules(
    connection: AsyncConnection, file: ModuleFile, declared: Sequence[Module]
) -> None:
    """These are the project's modules from now on."""
    for table in (modules, module_files):
        await connection.execute(table.delete().where(table.c.project_id == file.project_id))
    await connection.execute(
        module_files.insert().values(
            project_id=file.project_id,
            branch=file.branch,
            commit_hash=file.commit_hash,
            problems=[dict(problem) for problem in file.problems],
            is_broken=bool(file.problems),
        )
    )
    if declared:
        rows = [
            {"project_id": file.project_id, "name": one.name, "definition": one.to_json()}
            for one in declared
        ]
        await connection.execute(modules.insert(), rows)


async def find_modules(
    connection: AsyncConnection, whose: Whose, name: str, limit: int
) -> Sequence[DeclaredModule]:
    """Those of that name, the oldest project's first."""
    query = (
        select_projects()
        .add_columns(modules.c.definition, *columns(ModuleFile, module_files))
        .join(modules, modules.c.project_id == projects.c.id)
        .join(module_files, module_files.c.project_id == projects.c.id)
        .where(modules.c.name == name, *whose.conditions())
        .order_by(projects.c.created_at, projects.c.id)
        .limit(limit)
    )
    return [
        DeclaredModule(
            project=project_of(row), module=Module.from_json(row.definition), file=_file(row)
        )
        for row in await connection.execute(query)
    ]


async def whole_projects(
    connection: AsyncConnection, whose: Whose, slug: str, limit: int
) -> Sequence[DeclaredModule]:
    """Projects of that slug, each as a module that is all of it and declares no targets, the
    oldest first. Not those whose file of modules has mistakes, nor those never pushed to."""
    query = (
        select_projects()
        .add_columns(*columns(ModuleFile, module_files))
        .join(module_files, module_files.c.project_id == projects.c.id)
        .where(
            projects.c.slug == slug,
            module_files.c.commit_hash.is_not(None),
            sa.not_(module_files.c.is_broken),
            *whose.conditions(),
        )
        .order_by(projects.c.created_at, projects.c.id)
        .limit(limit)
    )
    module = Module(name=slug, path=WHOLE_REPOSITORY, targets={})
    return [
        DeclaredModule(project=project_of(row), module=module, file=_file(row))
        for row in await connection.execute(query)
    ]


async def module_names(connection: AsyncConnection, whose: Whose) -> Sequence[str]:
    query = (
        sa.select(modules.c.name)
        .distinct()
        .join(projects, modules.c.project_id == projects.c.id)
        .join(accounts, projects.c.account_id == accounts.c.id)
        .where(*whose.conditions())
        .limit(MAX_NAMES)
    )
    return list((await connection.execute(query)).scalars())


async def broken_files(
    connection: AsyncConnection, whose: Whose, limit: int
) -> Sequence[tuple[Project, ModuleFile]]:
    """Projects whose file of modules has mistakes."""
    query = (
        select_projects()
        .add_columns(*columns(ModuleFile, module_files))
        .join(module_files, module_files.c.project_id == projects.c.id)
        .where(module_files.c.is_broken, *whose.conditions())
        .order_by(projects.c.created_at, projects.c.id)
        .limit(limit)
    )
    return [(project_of(row), _file(row)) for row in await connection.execute(query)]
