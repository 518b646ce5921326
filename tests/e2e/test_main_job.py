"""From a real git push to a finished build, on each engine."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

from tests.e2e.processes import Pushrod, Repository, is_running, step_named


def workflow(image: str, *steps: str) -> str:
    """A workflow of steps, each a YAML mapping without its image."""
    lines = ["name: ci", "steps:"]
    for step in steps:
        first, *rest = step.strip("\n").split("\n")
        lines += [f"  - image: {image}", f"    {first}", *(f"    {line}" for line in rest)]
    return "\n".join(lines) + "\n"


def test_a_file_name_that_is_not_utf8_is_built_byte_by_byte(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    project = pushrod.create_project("odd names")
    folder = os.fsencode(repository.path)
    os.makedirs(folder + b"/deep/\xe9t\xe9")
    Path(os.fsdecode(folder + b"/deep/\xe9t\xe9/latin-\xe9")).write_text("as it was\n")
    text = workflow(image, "name: read\nrun: cat $'deep/\\xe9t\\xe9/latin-\\xe9'; ls deep | wc -l")
    build = pushrod.api.wait_finished(pushrod.push_workflow(repository, project, text)["id"])
    assert build["state"] == "succeeded", build
    assert pushrod.api.log(build["steps"][0]["id"]) == b"as it was\n1\n"


def test_a_push_is_built_with_its_source_and_its_dependencies_outputs(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    project = pushrod.create_project("diamond")
    repository.write("source.txt", "from the commit\n")
    repository.write("tool.sh", "#!/bin/sh\necho tool ran\n")
    repository.path.joinpath("tool.sh").chmod(0o755)
    text = workflow(
        image,
        "name: make\nrun: |\n  mkdir -p out/deep\n  cat source.txt > out/a.txt\n"
        "  ./tool.sh > out/deep/b.txt\n  cp tool.sh out/tool\n  echo $PUSHROD_BRANCH\n"
        "outputPaths: [out/]",
        "name: left\ndependsOn: [make]\nrun: cat out/a.txt",
        "name: right\ndependsOn: [make]\nrun: cat out/deep/b.txt; out/tool",
        "name: join\ndependsOn: [left, right]\nrun: test -f source.txt; echo joined",
    )
    repository.write(".pushrod.yml", text)
    repository.commit("first")
    pushed = repository.push(project["pushUrl"], pushrod.api.token)
    assert pushed.returncode == 0, pushed.stderr
    (queued,) = pushrod.api.builds(project["id"])
    assert f"remote: build #1 ci (main): {queued['url']}" in pushed.stderr
    build = pushrod.api.wait_finished(queued["id"])
    assert build["state"] == "succeeded", build
    logs = {step["name"]: pushrod.api.log(step["id"]) for step in build["steps"]}
    assert logs == {
        "make": b"main\n",
        "left": b"from the commit\n",
        "right": b"tool ran\ntool ran\n",
        "join": b"joined\n",
    }
    artifacts = pushrod.api.get(f"/api/steps/{step_named(build, 'make')['id']}/artifacts")
    assert [artifact["name"] for artifact in artifacts] == [
        "out/a.txt",
        "out/deep/b.txt",
        "out/tool",
    ]
    path = artifacts[0]["url"].removeprefix(pushrod.api.url)
    status, content, headers = pushrod.api.request("GET", path)
    assert (status, content) == (200, b"from the commit\n")
    assert headers["Content-Disposition"].startswith("attachment")


def test_a_failed_script_keeps_its_exit_code_log_and_outputs(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    project = pushrod.create_project("failing")
    text = workflow(
        image,
        "name: test\nrun: |\n  echo report > report.txt\n  echo to stderr >&2\n  exit 7\n"
        "outputPaths: [report.txt]",
        "name: deploy\ndependsOn: [test]\nrun: echo never",
    )
    build = pushrod.api.wait_finished(pushrod.push_workflow(repository, project, text)["id"])
    test, deploy = build["steps"]
    assert (build["state"], test["status"], test["exitCode"]) == ("failed", "FAILED", 7)
    assert deploy["status"] == "SKIPPED"
    assert pushrod.api.log(test["id"]) == b"to stderr\n"
    artifacts = pushrod.api.get(f"/api/steps/{test['id']}/artifacts")
    assert [artifact["name"] for artifact in artifacts] == ["report.txt"]


def test_a_cache_is_warm_the_second_time(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    project = pushrod.create_project("cached")
    text = workflow(
        image,
        "name: build\nrun: cat ~/.cache/it/marker || echo cold; mkdir -p ~/.cache/it; "
        "echo warm > ~/.cache/it/marker\ncacheDirs: [~/.cache/it]",
    )
    logs = []
    for _ in range(2):
        build = pushrod.push_workflow(repository, project, text)
        build = pushrod.api.wait_finished(build["id"])
        assert build["state"] == "succeeded", build
        logs.append(pushrod.api.log(build["steps"][0]["id"]).splitlines()[-1])
    assert logs == [b"cold", b"warm"]


def test_a_binary_log_without_a_last_newline_is_exact(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    project = pushrod.create_project("binary")
    content = bytes(range(256)) * 4096 + b"the end"
    repository.write("data.bin", content)
    text = workflow(image, "name: show\nrun: cat data.bin")
    build = pushrod.api.wait_finished(pushrod.push_workflow(repository, project, text)["id"])
    assert pushrod.api.log(build["steps"][0]["id"]) == content


def test_a_cancelled_build_ends_with_no_process_left(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    project, seconds = pushrod.create_project("cancelled"), some_seconds()
    text = workflow(
        image,
        f"name: sleep\nrun: echo started; sleep {seconds} & sleep {seconds}",
        "name: after\ndependsOn: [sleep]\nrun: echo never",
    )
    build_id = pushrod.push_workflow(repository, project, text)["id"]
    sleep = step_named(pushrod.api.wait(build_id, is_running("sleep")), "sleep")
    pushrod.api.wait_for_log(sleep["id"], b"started")
    pushrod.api.post(f"/api/projects/-/builds/{build_id}/cancel", {})
    build = pushrod.api.wait_finished(build_id)
    assert build["state"] == "cancelled"
    assert {step["status"] for step in build["steps"]} == {"CANCELLED"}
    assert pushrod.api.log(sleep["id"]) == b"started\n"
    assert processes_with(seconds) == []


def test_a_step_past_its_timeout_is_killed_and_says_so(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    project, seconds = pushrod.create_project("slow"), some_seconds()
    text = workflow(image, f"name: slow\nrun: echo begun; sleep {seconds}\ntimeout: 2s")
    build = pushrod.api.wait_finished(pushrod.push_workflow(repository, project, text)["id"])
    (step,) = build["steps"]
    assert (build["state"], step["reason"]) == ("failed", "timeout")
    assert pushrod.api.log(step["id"]) == b"begun\n"
    assert processes_with(seconds) == []


def test_a_failing_step_is_tried_again_as_often_as_it_says(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    project = pushrod.create_project("flaky")
    text = workflow(image, "name: flaky\nrun: echo try $PUSHROD_ATTEMPT; exit 1\nretries: 2")
    build = pushrod.api.wait_finished(pushrod.push_workflow(repository, project, text)["id"])
    (step,) = build["steps"]
    assert (step["status"], step["attempt"]) == ("FAILED", 3)
    logs = [pushrod.api.log(step["id"], attempt) for attempt in (1, 2, 3)]
    assert logs == [b"try 1\n", b"try 2\n", b"try 3\n"]


def test_text_of_outsiders_reaches_the_script_only_as_data(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    project = pushrod.create_project("outsiders")
    message = "$(touch /tmp/owned) `id` \"' ; exit 9"
    repository.write(
        ".pushrod.yml", workflow(image, 'name: show\nrun: printf %s "$PUSHROD_COMMIT_MESSAGE"')
    )
    repository.commit(message)
    repository.push(project["pushUrl"], pushrod.api.token, "HEAD:refs/heads/a;b$(id)", check=True)
    build = pushrod.api.wait_finished(pushrod.api.builds(project["id"])[0]["id"])
    assert build["branch"] == "a;b$(id)"
    assert pushrod.api.log(build["steps"][0]["id"]).strip() == message.encode()


def test_an_output_that_was_not_made_is_named(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    project = pushrod.create_project("missing")
    text = workflow(image, "name: make\nrun: echo nothing\noutputPaths: [dist/]")
    build = pushrod.api.wait_finished(pushrod.push_workflow(repository, project, text)["id"])
    assert "dist" in build["steps"][0]["message"], json.dumps(build)


def some_seconds() -> str:
    """A long time to sleep for, by which a test's processes are found on this machine."""
    return f"87{secrets.randbelow(10**9):09d}"


def processes_with(word: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes().split(b"\0"):
                found.append(path.parent.name)
        except OSError:
            continue
    return found
