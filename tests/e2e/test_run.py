"""`pushrod run`: the same as a push, without a coordinator, and nothing is left behind."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushrod.presentation import step_word
from tests.e2e.conftest import ENGINES
from tests.e2e.processes import Pushrod, Repository
from tests.e2e.run_command import Place, lines_of, place_of


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "host":
        return "host"
    return str(request.getfixturevalue("buildkit").address)


@pytest.fixture
def place(repository: Repository, tmp_path: Path, engine: str) -> Iterator[Place]:
    with place_of(repository, tmp_path, engine) as place:
        yield place


SAMPLES = {
    "outputs, values and a matrix": """\
name: ci
on: {push: {}}
env: {COLOUR: green}
steps:
  - name: plan
    image: IMAGE
    run: |
      echo "deploy=yes" >> "$PUSHROD_OUTPUT"
      printf '%s\\n' "$COLOUR" "$PUSHROD_BRANCH" "$PUSHROD_EVENT" "$PUSHROD_REF" "$PUSHROD_COMMIT"
      git log --format=%H
      cat file.txt; ls -A; pwd
  - name: unit
    image: IMAGE
    dependsOn: [plan]
    matrix: {size: [small, large]}
    run: |
      mkdir -p dist
      echo "$PUSHROD_MATRIX_SIZE" > dist/$PUSHROD_MATRIX_SIZE
      ln -s x dist/link-$PUSHROD_MATRIX_SIZE
      echo "$PUSHROD_OUTPUT_PLAN_DEPLOY"
    outputPaths: [dist/]
  - name: deploy
    image: IMAGE
    dependsOn: [unit]
    when: outputs.plan.deploy == "yes" && changed("file.txt")
    run: ls dist; echo deployed
  - name: never
    image: IMAGE
    dependsOn: [plan]
    when: outputs.plan.deploy == "no"
    run: echo no
""",
    "failures": """\
name: ci
on: {push: {}}
failFast: true
steps:
  - name: flaky
    image: IMAGE
    retries: {max: 1, on: ["exit:7"]}
    run: 'echo "try $PUSHROD_ATTEMPT"; [ "$PUSHROD_ATTEMPT" = 2 ] || exit 7'
  - {name: allowed, image: IMAGE, dependsOn: [flaky], allowFailure: true, run: echo allowed; exit 3}
  - {name: broken, image: IMAGE, dependsOn: [allowed], run: echo broken >&2; exit 4}
  - {name: after, image: IMAGE, dependsOn: [broken], run: echo after}
  - {name: clean, image: IMAGE, dependsOn: [broken], runOn: [failure], run: echo cleaned}
""",
    "generated steps": """\
name: ci
on: {push: {}}
steps:
  - name: shards
    image: IMAGE
    generates: more.yml
    run: |
      echo 'steps:' > more.yml
      for n in 1 2; do
        echo "  - {name: shard-$n, image: IMAGE, run: echo shard $n}" >> more.yml
      done
  - {name: joined, image: IMAGE, dependsOn: [shards], run: echo joined}
""",
}
ANYTHING = re.compile(r"/\S*/attempts/\S*|/workspace")


def told(lines: dict[str, list[str]]) -> dict[str, list[str]]:
    """But for the folder's name that each attempt has."""
    return {step: [ANYTHING.sub("FOLDER", line) for line in all_] for step, all_ in lines.items()}


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_run_is_as_a_push(
    sample: str, pushrod: Pushrod, place: Place, image: str, secrets_name: str
) -> None:
    repository = place.repository
    repository.write("file.txt", "one\n")
    place.workflow(SAMPLES[sample].replace("IMAGE", image))
    repository.commit("everything")
    ran = place.run("--output", str(place.folder / "here"))
    project = pushrod.create_project(secrets_name)
    pushed = repository.push(project["pushUrl"], pushrod.api.token)
    assert pushed.returncode == 0, pushed.stderr
    build = pushrod.api.wait_finished(pushrod.api.builds(project["id"])[0]["id"])
    logs = {
        step["name"]: [
            line
            for attempt in range(1, step.get("attempt", 0) + 1)
            for line in pushrod.api.log(step["id"], attempt).decode().splitlines()
        ]
        for step in build["steps"]
    }
    assert told(lines_of(ran.stdout)) == told({name: log for name, log in logs.items() if log})
    assert ran.returncode == (0 if build["state"] == "succeeded" else 1), ran.stderr
    for step in build["steps"]:
        assert f"-- {step['name']}: {step_word(step)}" in ran.stderr
    there = place.folder / "there"
    loaded = pushrod.command("artifact", "download", build["id"], "--to", str(there))
    assert tree_of(place.folder / "here") == tree_of(there), loaded.stderr
    place.wait_until_nothing_is_left()


def tree_of(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            content = f"-> {path.readlink()}"
        else:
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        found[str(path.relative_to(folder))] = f"{stat.S_IMODE(path.lstat().st_mode):o} {content}"
    return found


@pytest.fixture
def secrets_name(tmp_path: Path) -> str:
    return f"p{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"


ONE = """\
name: ci
on: {push: {branches: [main]}, manual: {params: {target: {default: staging}}}}
steps:
  - {name: say, image: IMAGE, agents: {os: plan9}, SECRETS run: 'SCRIPT'}
"""


def one(image: str, script: str, secrets: str = "") -> str:
    text = ONE.replace("IMAGE", image).replace("SCRIPT", script)
    return text.replace("SECRETS", secrets and f"secrets: [{secrets}],")


def test_what_is_not_committed_is_run_too(place: Place, image: str) -> None:
    place.repository.write("a.txt", "old\n")
    place.repository.commit("first")
    place.workflow(
        one(image, "cat a.txt b.txt; if command -v git >/dev/null; then git status --short; fi")
    )
    place.repository.write("a.txt", "new\n")
    place.repository.write("b.txt", "untracked\n")
    ran = place.run()
    assert lines_of(ran.stdout) == {"say": ["new", "untracked"]}, ran.stderr
    assert "with what is not committed" in ran.stderr


def test_secrets_are_given_and_masked(place: Place, image: str) -> None:
    place.workflow(one(image, "echo it is $TOKEN; echo ${#TOKEN}", "TOKEN"))
    secrets = place.folder / "secrets.txt"
    secrets.write_text("TOKEN=hush-hush\n")
    secrets.chmod(0o600)
    ran = place.run("--secrets-file", str(secrets))
    assert lines_of(ran.stdout)["say"][1] == "9", ran.stderr
    assert "hush" not in ran.stdout + ran.stderr
    place.wait_until_nothing_is_left()


def test_parameters_are_those_of_a_build_by_hand(place: Place, image: str) -> None:
    place.workflow(one(image, "echo $PUSHROD_EVENT $PUSHROD_PARAM_TARGET"))
    assert lines_of(place.run().stdout) == {"say": ["push staging"]}
    ran = place.run("--param", "target=live")
    assert lines_of(ran.stdout) == {"say": ["manual live"]}


CACHE = """\
name: ci
on: {push: {}}
steps:
  - name: count
    image: IMAGE
    cacheDirs: [~/.count]
    run: echo x >> ~/.count/runs; wc -l < ~/.count/runs
"""


def test_caches_are_kept_from_one_run_to_the_next(place: Place, image: str) -> None:
    place.workflow(CACHE.replace("IMAGE", image))
    counted = [int(lines_of(place.run().stdout)["count"][0]) for _ in range(2)]
    assert counted == [1, 2]


GATE = """\
name: ci
on: {push: {}}
steps:
  - {name: unit, image: IMAGE, run: echo unit}
  - {name: release, dependsOn: [unit], approve: {message: "Release?"}}
  - {name: deploy, image: IMAGE, dependsOn: [release], run: echo deployed}
"""


def test_a_gate_is_not_passed_unless_somebody_says_so(place: Place, image: str) -> None:
    place.workflow(GATE.replace("IMAGE", image))
    closed = place.run()
    assert (closed.returncode, lines_of(closed.stdout)) == (0, {"unit": ["unit"]})
    assert "-- release: not run: waits for an approval" in closed.stderr
    assert "-- deploy: not run: is behind one that waits" in closed.stderr
    passed = place.run("--approve", "release")
    assert passed.returncode == 0
    assert lines_of(passed.stdout)["deploy"] == ["deployed"]
    place.wait_until_nothing_is_left()
