"""A step that names its user: who gets it, and with which caches."""

from __future__ import annotations

from pathlib import Path

from tests.integration.coordinator_fixture import new_work_tree, open_coordinator

STEP = "steps: [{name: a, image: b, run: id, cacheDirs: [/c]%s}]\n"
KNOWS_USERS = ["users"]


async def test_a_steps_user_reaches_agents_that_know_it_with_caches_of_its_own(
    tmp_path: Path,
) -> None:
    async with open_coordinator(tmp_path, poll_hold_seconds=1) as coordinator:
        admin = coordinator.admin
        project = await admin.new_project()
        tree = await new_work_tree(tmp_path, admin, project)
        agent = await admin.new_agent()
        caches, users = [], []
        for user in ("", ', user: "1000"', ", user: 1000:5", ', user: "1000"'):
            await tree.commit({".pushrod.yml": STEP % user})
            await tree.push()
            if user:
                assert (await agent.poll())["offers"] == []
                [newest, *_] = await admin.builds(project)
                [step] = (await admin.build(newest["id"]))["steps"]
                assert "no connected agent knows the step's `user`: update" in step["waitsFor"]
            [offer] = (await agent.poll(capabilities=KNOWS_USERS))["offers"]
            spec = (await agent.accept(offer)).expect(200).json
            users.append(spec.get("user"))
            caches.append(spec["cacheDirs"][0]["id"])
            await agent.complete(spec)
    assert users == [None, "1000", "1000:5", "1000"]
    assert caches[1] == caches[3]
    assert len(set(caches)) == 3


async def test_a_steps_folder_and_shell_reach_agents_that_know_them(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path, poll_hold_seconds=1) as coordinator:
        admin = coordinator.admin
        project = await admin.new_project()
        tree = await new_work_tree(tmp_path, admin, project)
        agent = await admin.new_agent()
        await tree.commit({".pushrod.yml": STEP % ", workdir: ./web/, shell: python"})
        await tree.push()
        assert (await agent.poll(capabilities=KNOWS_USERS))["offers"] == []
        [newest] = await admin.builds(project)
        [step] = (await admin.build(newest["id"]))["steps"]
        assert "`workdir` or `shell`: update the agents" in step["waitsFor"]
        [offer] = (await agent.poll(capabilities=["shells"]))["offers"]
        spec = (await agent.accept(offer)).expect(200).json
    assert (spec["workdir"], spec["shell"]) == ("web", "python")
