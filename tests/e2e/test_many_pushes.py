"""200 pushes at once to one coordinator: 200 builds, none lost."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.processes import Pushrod, Repository, running

PUSHES = 200
PROJECTS = 4
WORKFLOW = "steps: [{name: a, image: any, run: echo $PUSHROD_BRANCH}]"


def test_200_concurrent_pushes_make_200_builds(tmp_path: Path) -> None:
    with running(tmp_path / "pushrod", agents=0) as pushrod:
        projects = [pushrod.create_project(f"p{number}") for number in range(PROJECTS)]
        repository = Repository.create(tmp_path / "repository")
        repository.write(".pushrod.yml", WORKFLOW)
        repository.commit("the workflow")

        def push(number: int) -> str:
            url = projects[number % PROJECTS]["pushUrl"]
            pushed = repository.push(url, pushrod.api.token, f"HEAD:refs/heads/b{number}")
            return "" if pushed.returncode == 0 else pushed.stderr

        with ThreadPoolExecutor(PUSHES) as pool:
            failures = [error for error in pool.map(push, range(PUSHES)) if error]
        assert failures == []
        assert_each_branch_built_once(pushrod)
        pushrod.start_agent("agent1", slots=4)
        for build in pushrod.api.builds(projects[0]["id"])[:10]:
            finished = pushrod.api.wait_finished(build["id"])
            assert pushrod.api.log(finished["steps"][0]["id"]) == f"{build['branch']}\n".encode()


def assert_each_branch_built_once(pushrod: Pushrod) -> None:
    builds = pushrod.api.builds()
    assert Counter(build["branch"] for build in builds) == {f"b{n}": 1 for n in range(PUSHES)}
    numbers = {(build["projectId"], build["number"]) for build in builds}
    assert len(numbers) == PUSHES
