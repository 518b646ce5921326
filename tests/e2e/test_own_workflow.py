"""pushrod's own `.pushrod.yml`: this very tree, pushed into a pushrod made of it."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent.engines import private
from tests.conftest import TestEngine
from tests.e2e.processes import Pushrod, Repository, running

ROOT = Path(__file__).parents[2]
FEW_TESTS = "tests/unit/coordinator/domain/upkeep"


def tree(folder: Path) -> Repository:
    """As it is here, with what is not committed yet."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    repository = Repository.create(folder)
    for name in filter(None, names.split("\0")):
        if not (ROOT / name).exists():  # deleted, but not yet committed
            continue
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, place, follow_symlinks=False)
    return repository


async def digest_of(image: str) -> str | None:
    return await private.image_digest(image, address=await private.up(reuse=False))


def built(pushrod: Pushrod, repository: Repository, project: dict[str, Any]) -> dict[str, Any]:
    """Pushed to a branch on which a push starts nothing, and started with fewer tests."""
    repository.commit("the tree")
    repository.push(project["pushUrl"], pushrod.api.token, "HEAD:refs/heads/try", check=True)
    started = pushrod.api.post(
        f"/api/projects/{project['id']}/builds",
        {
            "workflowId": "check",
            "branch": "try",
            "params": {"target": "unit", "tests": FEW_TESTS},
        },
    )
    return pushrod.api.wait_finished(started["id"], seconds=1500)


@pytest.mark.engine
@pytest.mark.timeout(1800)
def test_this_tree_is_green_on_each_python_and_cached_the_second_time(
    buildkit: TestEngine, tmp_path: Path
) -> None:
    images = asyncio.run(private.ensure_python_images(lambda _: None))
    if not images:
        pytest.skip("the releases of Debian with these Pythons are known on Debian alone")
    authorities = ssl.get_default_verify_paths().cafile
    with running(tmp_path / "pushrod", buildkit.address, agents=0) as pushrod:
        # The index of packages may be behind an authority of this machine's own.
        more = ("--ca-file", authorities) if authorities else ()
        pushrod.start_agent(more=more)
        for version, image in images.items():
            # By digest: what an engine has imported has none of its own, and is never reused.
            digest = asyncio.run(digest_of(image))
            slug = {"slug": f"python:{version}", "imageUrl": f"docker://{image}@{digest}"}
            pushrod.api.post("/api/docker-images", slug)
        project = pushrod.create_project("pushrod")
        repository = tree(tmp_path / "tree")
        first = built(pushrod, repository, project)
        logs = {one["name"]: pushrod.api.log(one["id"]).decode() for one in first["steps"]}
        assert first["state"] == "succeeded", logs
        assert len(logs) == len(images)
        for version in images:
            [log] = [log for name, log in logs.items() if version in name]
            assert f"Python {version}." in log
            assert " passed" in log
        results = pushrod.api.get(f"/api/projects/-/builds/{first['id']}/results")
        for its in (one["tests"] for one in results["steps"]):
            assert its["tests"] - its["skipped"] > 2
            assert its["failed"] == 0

        with (repository.path / "CHANGELOG.md").open("a") as changes:
            changes.write("\n")
        second = built(pushrod, repository, project)
        assert second["commitHash"] != first["commitHash"]
        assert {one["reason"] for one in second["steps"]} == {f"cached from #{first['number']}"}
