"""Images and the audit log by specification 003."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.contract.build_server.shapes import check, check_error, paths_of
from tests.integration.coordinator_fixture import Caller, step_of

# Docker images


async def test_an_image_is_created_and_listed(admin: Caller) -> None:
    body = {"slug": "python-312", "imageUrl": "docker://registry.example/python:3.12"}
    made = (await admin.post("/api/docker-images", body)).expect(201)
    check("DockerImage", made.json)
    assert {name: made.json[name] for name in body} == body
    assert made.json["public"] is False
    open_ = {**body, "slug": "open", "public": True}
    (await admin.post("/api/docker-images", open_)).expect(201)

    async def listed(query: str) -> list[str]:
        answer = await admin.get(f"/api/docker-images{query}")
        return [image["slug"] for image in answer.expect(200).json]

    assert await listed("") == ["open", "python-312"]
    assert await listed("?public=true") == ["open"]
    assert await listed("?public=false") == ["open", "python-312"], "it is no filter then"
    assert await listed("?public=True") == ["open"]
    for text in ("1", "yes", "banana", ""):
        answer = (await admin.get(f"/api/docker-images?public={text}")).expect(400)
        assert paths_of(answer.json) == {"public"}


async def test_a_taken_slug_is_a_conflict(admin: Caller) -> None:
    body = {"slug": "base", "imageUrl": "docker://debian:12"}
    (await admin.post("/api/docker-images", body)).expect(201)
    check_error((await admin.post("/api/docker-images", body)).expect(409).json)


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({}, {"slug", "imageUrl"}),
        ({"slug": "", "imageUrl": ""}, {"slug", "imageUrl"}),
        ({"slug": "x" * 51, "imageUrl": "docker://x"}, {"slug"}),
        ({"slug": "x", "imageUrl": "two words"}, {"imageUrl"}),
        ({"slug": "x", "imageUrl": "-rm"}, {"imageUrl"}),
        ({"slug": "x", "imageUrl": "https://r.example:5000"}, {"imageUrl"}),
        ({"slug": "x", "imageUrl": "r.example/Upper"}, {"imageUrl"}),
        ({"slug": "x", "imageUrl": "ftp://r.example/x"}, {"imageUrl"}),
        ({"slug": "Deb 12", "imageUrl": "docker://x"}, {"slug"}),
        ({"slug": "-x", "imageUrl": "docker://x"}, {"slug"}),
        ({"slug": "${{x}}", "imageUrl": "docker://x"}, {"slug"}),
        ({"slug": "a\tb", "imageUrl": "docker://x"}, {"slug"}),
        ({"slug": "x", "imageUrl": "docker://x\n"}, {"imageUrl"}),
        ({"slug": "x", "imageUrl": "docker://x", "public": "yes"}, {"public"}),
        ({"slug": "x", "imageUrl": "docker://x", "public": 1}, {"public"}),
        ({"slug": "x\0", "imageUrl": "docker://x"}, {"slug"}),
    ],
)
async def test_a_bad_image_is_refused_with_each_field(
    admin: Caller, body: Mapping[str, Any], paths: set[str]
) -> None:
    answer = (await admin.post("/api/docker-images", body)).expect(400)
    check_error(answer.json)
    assert paths_of(answer.json) == paths


@pytest.mark.parametrize(
    "url", ["debian", "debian:12", "docker://r.example:5000/a/b:c", "oci-layout:///srv/images/x"]
)
async def test_an_image_is_a_uri_or_a_plain_reference(admin: Caller, url: str) -> None:
    made = await admin.post("/api/docker-images", {"slug": "x", "imageUrl": url})
    assert made.expect(201).json["imageUrl"] == url


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_image_given_as_a_web_address_is_dockers(admin: Caller, scheme: str) -> None:
    body = {"slug": "Deb_12", "imageUrl": f"{scheme}://r.example:5000/pushrod/debian:12"}
    made = (await admin.post("/api/docker-images", body)).expect(201).json
    assert made["imageUrl"] == "docker://r.example:5000/pushrod/debian:12"
    project = await admin.new_project()
    await admin.new_workflow(project, step_of("a", imageSlug="Deb_12"))


# The audit log


async def test_the_audit_log_is_filtered_and_paged(admin: Caller) -> None:
    one, two = await admin.new_project(name="one"), await admin.new_project(name="two")
    await admin.new_build(one)
    whole = (await admin.get("/api/audit-logs")).expect(200).json
    for entry in whole["auditLogs"]:
        check("AuditLog", entry)
    assert whole["pagination"]["limit"] == 100
    assert whole["pagination"]["total"] == len(whole["auditLogs"])
    created = (await admin.get("/api/audit-logs?action=project.created&limit=1")).json
    assert [entry["projectId"] for entry in created["auditLogs"]] == [two["id"]]
    assert created["pagination"] == {"total": 2, "limit": 1, "offset": 0, "hasMore": True}
    of_one = (await admin.get(f"/api/audit-logs?projectId={one['id']}")).json
    actions = [entry["action"] for entry in of_one["auditLogs"]]
    assert actions == ["build.created", "workflow.created", "project.created"]
    both = f"/api/audit-logs?projectId={two['id']}&action=build.created"
    assert (await admin.get(both)).json["auditLogs"] == []
