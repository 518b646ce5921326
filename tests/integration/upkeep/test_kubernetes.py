"""The manifests for Kubernetes and clouds, as far as they can be checked without one."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from pushrod.cli import pushrod
from tests.integration.coordinator_fixture import open_coordinator

MANIFESTS = Path(__file__).parents[3] / "examples" / "operations" / "kubernetes.yml"
IMAGE = "registry.example/pushrod:1"
OLDEST_VERSION = "1.30"
"""From which on a container's security context has an AppArmor profile."""


def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(MANIFESTS.read_text()))


def pods() -> list[dict[str, Any]]:
    return [one["spec"]["template"]["spec"] for one in manifests() if "template" in one["spec"]]


@pytest.mark.parametrize("version", [OLDEST_VERSION, kubernetes_validate.latest_version()])
def test_each_is_what_the_schema_of_its_kind_says(version: str) -> None:
    for one in manifests():
        kubernetes_validate.validate(one, version, strict=True)
    wrong = {**manifests()[0], "spec": {"ports": [{"prot": 1}]}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_what_is_run_are_commands_that_there_are() -> None:
    ours = [c for pod in pods() for c in pod["containers"] if c["image"] == IMAGE]
    assert len(ours) == 2
    for container in ours:
        ran = CliRunner().invoke(pushrod, [*container["args"], "--help"])
        assert (ran.exit_code, ran.output[:6]) == (0, "Usage:"), ran.output


def test_what_is_mounted_is_there_and_selectors_find_their_pods() -> None:
    for one in manifests():
        if "template" not in one["spec"]:
            continue
        pod = one["spec"]["template"]["spec"]
        claims = one["spec"].get("volumeClaimTemplates", [])
        there = {v["name"] for v in pod.get("volumes", [])} | {
            c["metadata"]["name"] for c in claims
        }
        asked = {m["name"] for c in pod["containers"] for m in c["volumeMounts"]}
        assert asked == there
        assert (
            one["spec"]["selector"]["matchLabels"] == one["spec"]["template"]["metadata"]["labels"]
        )


async def test_the_probes_are_answered(tmp_path: Path) -> None:
    probes = [
        container[probe]["httpGet"]["path"]
        for pod in pods()
        for container in pod["containers"]
        for probe in ("livenessProbe", "readinessProbe")
        if probe in container
    ]
    assert len(probes) == 2
    async with open_coordinator(tmp_path) as coordinator:
        for path in probes:
            (await coordinator.nobody.get(path)).expect(200)


def test_a_machine_of_a_group_runs_an_agent_with_options_that_there_are() -> None:
    machine = yaml.safe_load((MANIFESTS.parent / "agent.cloud-init.yml").read_text())
    assert set(machine) == {"packages", "write_files", "runcmd"}
    files = {one["path"]: one for one in machine["write_files"]}
    unit = files["/etc/systemd/system/pushrod-agent.service"]["content"]
    [command] = re.findall(r"^ExecStart=/opt/pushrod/bin/pushrod (.*)$", unit, re.MULTILINE)
    words = shlex.split(command)
    assert words[words.index("--token-file") + 1] in files
    assert files["/etc/pushrod/agent-token"]["permissions"] == "0600"
    ran = CliRunner().invoke(pushrod, [*words, "--help"])
    assert (ran.exit_code, ran.output[:6]) == (0, "Usage:"), ran.output
