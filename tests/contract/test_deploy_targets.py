"""Where deployments run is for others to say too: a target of a package beside pushrod."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.composition import CannotDeploy
from coordinator.domain.image_builds.targets import LabelledAgents
from coordinator.services.deployments.deployments import load_target
from tests.integration.coordinator_fixture import open_coordinator

TARGET = """
from pipelines_schema import Step


class Cluster:
    def program(self, wanted):
        return Step(
            name=wanted.step_name,
            image="tools",
            script=f"run-in-cluster {wanted.image}",
            depends_on=tuple(wanted.depends_on),
            agents={"cluster": "main"},
            timeout_seconds=60.0,
            env=dict(wanted.env),
        )
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip would have installed it."""
    folder = tmp_path / "site"
    info = folder / "pushrod_cluster-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "pushrod_cluster.py").write_text(TARGET)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pushrod-cluster\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[pushrod.deploy_targets]\ncluster = pushrod_cluster:Cluster\n"
    )
    monkeypatch.syspath_prepend(str(folder))


def test_the_target_that_comes_along_is_labelled_agents() -> None:
    assert load_target("agents") == LabelledAgents(labels={"deploy": "true"})


@pytest.mark.usefixtures("package", "each_storage")
async def test_a_target_of_another_package_decides_what_a_deployment_runs(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path, deploy_target="cluster") as coordinator:
        admin = coordinator.admin
        body = {"agent_name": "pears", "image": "registry.example/pears:1"}
        made = (await admin.post("/api/deploy", body)).expect(202).json
        agent = await (await admin.new_token(kind="registration")).new_agent(
            labels={"cluster": "main"}
        )
        [offer] = (await agent.poll(labels={"cluster": "main"}))["offers"]
        spec = (await agent.accept(offer)).expect(200).json
        assert spec["script"] == "run-in-cluster registry.example/pears:1"
        shown = (await admin.get(f"/api/deploy/{made['id']}")).expect(200).json
        assert shown["status"] == "RUNNING"
        stopped = (await admin.post(f"/api/deploy/{made['id']}/stop")).expect(200).json
        assert stopped["status"] in ("RUNNING", "STOPPED")
        [cancel] = (await agent.poll(leases=[offer]))["cancels"]
        assert cancel["stepId"] == spec["stepId"]


async def test_a_target_that_is_not_installed_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(CannotDeploy, match="no deploy target 'moon': known are agents"):
        async with open_coordinator(tmp_path, deploy_target="moon"):
            pass
