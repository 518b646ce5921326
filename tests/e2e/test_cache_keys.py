"""Caches with a key, and those of other branches, from the push to the scripts of both engines."""

from __future__ import annotations

from tests.e2e.processes import Pushrod, Repository, step_named
from tests.e2e.test_main_job import workflow

COPIED = "begins as a copy of an earlier one"
STEP = """\
name: a
cacheDirs: [{path: kept, key: ["*.lock"]}, ~/.cache/tool]
run: |
  cat kept/said ~/.cache/tool/said 2>/dev/null || true
  for said in kept/said ~/.cache/tool/said; do cat *.lock >> $said; done"""


def test_a_cache_is_that_of_its_keys_content_and_a_branch_begins_with_a_copy(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    project = pushrod.create_project("caches")
    repository.write(".pushrod.yml", workflow(image, STEP))

    def built(content: str, branch: str = "main") -> tuple[int, list[str]]:
        """How many caches began as a copy, and what the script found."""
        repository.write("x.lock", f"{content}\n")
        repository.commit(content)
        pushed = repository.push(project["pushUrl"], pushrod.api.token, f"HEAD:refs/heads/{branch}")
        assert pushed.returncode == 0, pushed.stderr
        build = pushrod.api.wait_finished(pushrod.api.builds(project["id"])[0]["id"])
        assert build["state"] == "succeeded", build
        lines = pushrod.api.log(step_named(build, "a")["id"]).decode().splitlines()
        copied = [line for line in lines if COPIED in line]
        return len(copied), [line for line in lines if line not in copied]

    assert built("1") == (0, [])
    assert built("2") == (1, ["1", "1"])
    assert built("1") == (0, ["1", "1", "2"])
    assert built("3", "wip") == (2, ["1", "1", "1", "2", "1"])
    assert built("1") == (0, ["1", "1", "1", "2", "1"])
