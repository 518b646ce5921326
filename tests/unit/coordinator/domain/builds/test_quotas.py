"""How much one project may hold of what all projects share."""

from __future__ import annotations

import pytest

from coordinator.domain.builds.quotas import Quotas, Usage, refusal

QUOTAS = Quotas(queued_builds=10, waiting_steps=100, stored_bytes=1000)


def usage(*, builds: int = 0, steps: int = 0, stored: int = 0) -> Usage:
    return Usage(queued_builds=builds, waiting_steps=steps, stored_bytes=stored)


@pytest.mark.parametrize(
    ("held", "holds", "new_steps", "setting"),
    [
        (False, usage(builds=9, steps=98, stored=999), 2, None),
        (False, usage(builds=10), 1, "project_max_queued_builds"),
        (False, usage(steps=99), 2, "project_max_waiting_steps"),
        (False, usage(stored=1000), 1, "project_max_stored_bytes"),
        (True, usage(builds=4, steps=48, stored=999), 2, None),
        (True, usage(builds=5), 1, "project_max_queued_builds"),
        (True, usage(steps=49), 2, "project_max_waiting_steps"),
    ],
)
def test_a_build_that_finds_no_room_is_told_which_setting_says_so(
    held: bool, holds: Usage, new_steps: int, setting: str | None
) -> None:
    said = refusal(holds, QUOTAS, new_steps=new_steps, held=held)
    assert (said is None) if setting is None else (said is not None and setting in said)
