"""500 steps in one build, with gates and generated ones: no step costs more for that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import Coordinator
from tests.integration.large_builds import (
    MOST_STATEMENTS_OF_A_GENERATED_STEP,
    STEPS,
    large_build,
)
from tests.integration.step_costs import MOST_STATEMENTS_OF_A_STEP, patient_coordinator

FEW = 60


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with patient_coordinator(tmp_path) as coordinator:
        yield coordinator


async def test_a_step_costs_the_same_among_500_as_among_50(coordinator: Coordinator) -> None:
    few = await large_build(coordinator, FEW, "few")
    await few.approve()
    among_few = await few.statements_of_a_step()
    await few.cancel()
    many = await large_build(coordinator, STEPS - 2, "many")

    assert len((await many.build())["steps"]) == STEPS
    more = many.cost.statements - few.cost.statements
    assert more / (STEPS - 2 - FEW) <= MOST_STATEMENTS_OF_A_GENERATED_STEP

    await many.approve()
    assert await many.statements_of_a_step() == among_few <= MOST_STATEMENTS_OF_A_STEP
