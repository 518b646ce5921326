"""A fork names the group of a branch: its build is in a group of its own, whatever it says."""

from __future__ import annotations

from tests.integration.coordinator_fixture import Coordinator, eventually
from tests.integration.forge_fixture import Hook, Repository, push_payload
from tests.integration.pushes.pull_requests import pull

STEPS = "\nsteps: [{name: test, image: base, run: 'true', concurrency: deploy}]\n"
GROUP = "\nconcurrency: {group: main, cancelRunning: true}"
OF_MAIN = "on: {push: {branches: [main]}, pullRequest: {}}" + GROUP + STEPS


async def test_a_fork_that_names_mains_group_neither_cancels_it_nor_waits_for_it(
    coordinator: Coordinator, hook: Hook, repository: Repository
) -> None:
    admin = coordinator.admin
    agent = await admin.new_agent(slots=2)
    sha = await repository.push({".pushrod.yml": OF_MAIN})
    (await hook.github("push", push_payload(repository.url, sha))).expect(202)
    [ours] = await eventually(lambda: admin.builds(hook.project))
    running = await agent.take()
    await pull(hook, repository, fork=True, workflow=OF_MAIN)
    [theirs, _] = await admin.builds(hook.project)
    assert (theirs["state"], "concurrencyGroup" in theirs) == ("held", True)
    assert (await admin.build(ours["id"]))["state"] == "running"

    (await admin.post(f"/api/projects/-/builds/{theirs['id']}/approve")).expect(200)

    assert theirs["concurrencyGroup"] != ours["concurrencyGroup"] == "main"
    beside = await agent.take()  # also the step's group is not that of our steps
    assert beside["buildId"] == theirs["id"]
    assert (await admin.build(ours["id"]))["state"] == "running"
    for spec in (beside, running):
        (await agent.complete(spec)).expect(200)
    assert {one["state"] for one in await admin.builds(hook.project)} == {"succeeded"}
