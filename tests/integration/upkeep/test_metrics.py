"""`/metrics`: who may read it, and that it tells what happened."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.coordinator_fixture import (
    Caller,
    Coordinator,
    eventually,
    open_coordinator,
    step_of,
)
from tests.integration.upkeep.folded import folded_bytes

OPERATIONS = Path(__file__).parents[3] / "examples" / "operations"
SMALL_DISK = {"freeBytes": 10, "totalBytes": 100, "floorBytes": 5}
NO_LABELS: tuple[tuple[str, str], ...] = ()
Samples = Mapping[str, Mapping[tuple[tuple[str, str], ...], float]]


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1.0) as coordinator:
        yield coordinator


async def scraped(caller: Caller) -> Samples:
    answer = (await caller.get("/metrics")).expect(200)
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {}), f"{sample.name} twice"
            found[sample.name][labels] = sample.value
    return found


async def test_what_happened_is_counted(coordinator: Coordinator) -> None:
    admin = coordinator.admin
    project = await admin.new_project("acme", "shop")
    agent = await admin.new_agent(slots=3)
    for status in ("success", "failed"):
        await admin.new_build(project)
        spec = await agent.take()
        (await agent.append(spec, 0, b"line\n")).expect(204)
        (await agent.complete(spec, status=status, exit_code=int(status == "failed"))).expect(200)
    await admin.new_build(project, step_of("a", agents={"os": "plan9"}), step_of("b"))
    await agent.take()

    found = await scraped(admin)

    assert found["pushrod_builds_total"] == {
        (("project", "acme/shop"), ("state", "succeeded")): 1,
        (("project", "acme/shop"), ("state", "failed")): 1,
    }
    assert found["pushrod_attempts_total"] == {
        (("outcome", "succeeded"),): 1,
        (("outcome", "failed"),): 1,
    }
    assert found["pushrod_log_bytes_total"] == {NO_LABELS: 10}
    assert found["pushrod_step_wait_seconds_count"] == {NO_LABELS: 3}
    assert found["pushrod_steps_waiting"] == {(("wants", "os=plan9"),): 1}
    assert found["pushrod_steps_running"] == {NO_LABELS: 1}
    assert found["pushrod_agents"][(("state", "online"),)] == 1
    assert found["pushrod_slots"] == {NO_LABELS: 3}
    assert found["pushrod_ready"] == {
        ((("check", name),)): 1 for name in ("disk", "database", "git")
    }
    assert found["pushrod_disk_free_bytes"][(("place", "data"),)] > 0
    assert found["pushrod_database_seconds_count"][(("kind", "commit"),)] > 0
    polls = (("method", "POST"), ("route", "/api/agents/poll"), ("status", "200"))
    assert found["pushrod_http_request_seconds_count"][polls] >= 3
    assert found["process_cpu_seconds_total"][NO_LABELS] > 0


async def test_retention_and_disks_are_told(coordinator: Coordinator) -> None:
    admin, agent = coordinator.admin, await coordinator.admin.new_agent("small")
    project = await admin.new_project()
    await admin.new_build(project)
    spec = await agent.take(disk=SMALL_DISK)
    (await agent.append(spec, 0, b"line\n")).expect(204)
    log = {"textBytes": 5, "sha256": hashlib.sha256(b"line\n").hexdigest()}
    (await agent.complete(spec, status="failed", exit_code=1, log=log)).expect(200)
    size = await folded_bytes(coordinator)
    await agent.poll(disk={**SMALL_DISK, "floorBytes": 50})
    body = {"builds": {"number": 0, "bytes": 1_000_000}}
    (await admin.call("PATCH", "/api/retention", json=body)).expect(200)

    async def gone() -> Samples | None:
        found = await scraped(admin)
        looked = found["pushrod_retention_last_look_seconds"][NO_LABELS] > 0
        left = found["pushrod_retention_waiting_objects"][NO_LABELS]
        return found if looked and not left else None

    found = await eventually(gone)
    kinds = ("builds", "logs", "artifacts", "keep", "lfs", "git", "unnamed")
    assert found["pushrod_retention_deleted_total"] == {
        (("kind", kind),): int(kind == "builds") for kind in kinds
    }
    assert found["pushrod_retention_deleted_bytes_total"][(("kind", "builds"),)] == size
    assert found["pushrod_retention_look_duration_seconds"][NO_LABELS] > 0
    assert found["pushrod_retention_failed_total"] == {NO_LABELS: 0}
    assert found["pushrod_agent_disk_free_bytes"] == {(("agent", "small"),): 10}
    assert found["pushrod_agents_short_of_disk"] == {NO_LABELS: 1}


async def test_no_outsiders_text_becomes_a_label(coordinator: Coordinator) -> None:
    for method in ("PROPFIND", "REPORT", "MKCOL"):
        await coordinator.nobody.call(method, f"/no/such/path/{method}")

    counts = (await scraped(coordinator.admin))["pushrod_http_request_seconds_count"]

    odd = (("method", "other"), ("route", "other"), ("status", "404"))
    assert counts[odd] == 3


async def test_a_token_of_one_account_and_none_from_elsewhere_are_refused(
    coordinator: Coordinator,
) -> None:
    of_one = await coordinator.admin.new_token(role="viewer", account="acme")
    of_all = await coordinator.admin.new_token(role="viewer", allAccounts=True)
    assert (await of_one.get("/metrics")).status == 403
    assert (await of_all.get("/metrics")).status == 200
    agent = await coordinator.admin.new_agent()
    assert (await agent.get("/metrics")).status == 403
    forwarded = {"X-Forwarded-For": "192.0.2.1"}
    assert (await coordinator.nobody.call("GET", "/metrics", headers=forwarded)).status == 403
    other_name = {"Host": "ci.example.org"}
    assert (await coordinator.nobody.call("GET", "/metrics", headers=other_name)).status == 403


async def test_this_machine_needs_no_token_where_nobody_can_come_through_a_proxy(
    tmp_path: Path,
) -> None:
    async with open_coordinator(tmp_path) as alone:
        assert (await alone.nobody.get("/metrics")).status == 200
    async with open_coordinator(tmp_path, public_url="https://ci.example.org") as behind:
        assert (await behind.nobody.get("/metrics")).status == 401


async def test_the_dashboard_and_the_alerts_ask_for_what_there_is(coordinator: Coordinator) -> None:
    agent, project = await coordinator.admin.new_agent(), await coordinator.admin.new_project()
    for _ in range(2):  # one ends, one waits
        await coordinator.admin.new_build(project)
    spec = await agent.take(disk=SMALL_DISK)
    (await agent.append(spec, 0, b"line\n")).expect(204)
    (await agent.complete(spec)).expect(200)
    families = (await coordinator.admin.get("/metrics")).expect(200).body.decode()
    there = {f.name: f for f in text_string_to_metric_families(families)}
    labels = {
        sample.name: set(sample.labels) for family in there.values() for sample in family.samples
    }
    alerts = yaml.safe_load((OPERATIONS / "alerts.yml").read_text())
    dashboard = json.loads((OPERATIONS / "grafana-dashboard.json").read_text())
    asked = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    asked += [one["expr"] for panel in dashboard["panels"] for one in panel["targets"]]
    without_a_sample = {"pushrod_messages_total"}

    names = [name for text in asked for name in re.findall(r"\b(?:pushrod|process)_\w+", text)]

    assert len(asked) > 15
    for name in names:
        is_family = name.removesuffix("_total") in there
        assert name in labels or (name in without_a_sample and is_family), name
    for panel in dashboard["panels"]:
        for one in panel["targets"]:
            [first, *_] = re.findall(r"\b(?:pushrod|process)_\w+", one["expr"])
            told = set(re.findall(r"{{(\w+)}}", one["legendFormat"])) - {"instance"}
            assert told <= labels.get(first, told), one


def test_prometheus_is_told_where_the_coordinator_is() -> None:
    config = yaml.safe_load((OPERATIONS / "prometheus.yml").read_text())
    [job] = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["127.0.0.1:3000"]}]
    assert all((OPERATIONS / name).exists() for name in config["rule_files"])
