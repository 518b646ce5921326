"""Steps that are tried again for some exit codes alone, from a push to the next attempt."""

from __future__ import annotations

from pathlib import Path

from tests.integration.coordinator_fixture import new_work_tree, open_coordinator

WORKFLOW = 'steps: [{name: a, image: b, run: c, retries: {max: 5, on: [lost, "exit:75"]}}]\n'


async def test_a_step_is_tried_again_for_the_exit_codes_it_names(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path, poll_hold_seconds=1) as coordinator:
        admin = coordinator.admin
        project = await admin.new_project()
        tree = await new_work_tree(tmp_path, admin, project)
        agent = await admin.new_agent()
        await tree.commit({".pushrod.yml": WORKFLOW})
        await tree.push()
        attempts = []
        for code in (75, 75, 1):
            spec = await agent.take()
            attempts.append(spec["attempt"])
            (await agent.complete(spec, status="failed", exitCode=code)).expect(200)
        [newest] = await admin.builds(project)
        [step] = (await admin.build(newest["id"]))["steps"]
    assert attempts == [1, 2, 3]
    assert (step["status"], step["reason"]) == ("FAILED", "exit code 1")
