"""Tests that no build has any more: there may be a hundred thousand, so they go in portions."""

from __future__ import annotations

import sqlalchemy as sa

from coordinator.storage.connection import AsyncConnection
from coordinator.storage.tables import step_results, test_names, test_results

TESTS_AT_ONCE = 2000
"""In one transaction, so that the writer is free in between."""
NAMES_AT_ONCE = 500


async def are_referred_to(connection: AsyncConnection, tests_id: int) -> bool:
    query = sa.select(sa.literal(1)).where(step_results.c.tests_id == tests_id).limit(1)
    return (await connection.execute(query)).first() is not None


async def delete_some_tests(connection: AsyncConnection, tests_id: int) -> bool:
    """With the names that no other build has. Whether there was something to delete."""
    if await are_referred_to(connection, tests_id):
        return False
    query = (
        sa.select(test_results.c.position, test_results.c.test_key)
        .where(test_results.c.tests_id == tests_id)
        .order_by(test_results.c.position)
        .limit(TESTS_AT_ONCE)
    )
    found = (await connection.execute(query)).all()
    if not found:
        return False
    await connection.execute(
        test_results.delete().where(
            test_results.c.tests_id == tests_id, test_results.c.position <= found[-1].position
        )
    )
    keys = [row.test_key for row in found]
    still = sa.exists().where(test_results.c.test_key == test_names.c.test_key)
    for begin in range(0, len(keys), NAMES_AT_ONCE):
        some = test_names.c.test_key.in_(keys[begin : begin + NAMES_AT_ONCE])
        await connection.execute(test_names.delete().where(some, ~still))
    return True
