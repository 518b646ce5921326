"""Results of builds and projects that are deleted."""

from __future__ import annotations

import sqlalchemy as sa

from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outputs.results import delete_tests
from coordinator.storage.tables import step_results, test_names, test_results

NAMES_AT_ONCE = 500


async def delete_results(connection: AsyncConnection, build_id: str) -> None:
    """With the names of the tests that no other build has."""
    its = await connection.execute(
        step_results.delete()
        .where(step_results.c.build_id == build_id)
        .returning(step_results.c.tests_id)
    )
    tests_ids = list(its.scalars())
    if not tests_ids:
        return
    keys = sa.select(test_results.c.test_key).where(test_results.c.tests_id.in_(tests_ids))
    names = list((await connection.execute(keys.distinct())).scalars())
    await delete_tests(connection, tests_ids)
    still = sa.exists().where(test_results.c.test_key == test_names.c.test_key)
    for begin in range(0, len(names), NAMES_AT_ONCE):
        some = test_names.c.test_key.in_(names[begin : begin + NAMES_AT_ONCE])
        await connection.execute(test_names.delete().where(some, ~still))


async def delete_all_results(connection: AsyncConnection, project_id: str) -> None:
    its = step_results.c.project_id == project_id
    tests_ids = sa.select(step_results.c.tests_id).where(its)
    await connection.execute(test_results.delete().where(test_results.c.tests_id.in_(tests_ids)))
    await connection.execute(step_results.delete().where(its))
    await connection.execute(test_names.delete().where(test_names.c.project_id == project_id))
