"""What a workflow can say, through the real path: push, coordinator, agent, both engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.e2e.processes import Pushrod, Repository, step_named
from tests.e2e.test_main_job import workflow


def built(pushrod: Pushrod, repository: Repository, name: str, text: str) -> dict[str, Any]:
    """The finished build of a pushed workflow, in a project of its own."""
    project = pushrod.create_project(name)
    return pushrod.api.wait_finished(pushrod.push_workflow(repository, project, text)["id"])


def statuses(build: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["status"] for step in build["steps"]}


def test_a_failure_that_is_allowed_stops_nothing(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    text = workflow(
        image,
        "name: lint\nrun: echo bad > lint.txt; exit 3\nallowFailure: true\noutputPaths: [lint.txt]",
        "name: test\ndependsOn: [lint]\nrun: cat lint.txt",
        "name: never\ndependsOn: [lint]\nrunOn: failure\nrun: echo never",
    )
    build = built(pushrod, repository, "allowed", text)
    assert build["state"] == "succeeded", build
    assert statuses(build) == {"lint": "FAILED", "test": "SUCCESS", "never": "SKIPPED"}
    assert step_named(build, "lint")["exitCode"] == 3
    assert pushrod.api.log(step_named(build, "test")["id"]) == b"bad\n"


def test_steps_run_after_the_endings_that_they_name(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    text = workflow(
        image,
        "name: test\nrun: exit 1",
        "name: deploy\ndependsOn: test\nrun: echo never",
        "name: notify\ndependsOn: deploy\nrunOn: [failure]\nrun: echo told",
        "name: clean up\ndependsOn: [test, notify]\nrunOn: [success, failure]\nrun: echo clean",
    )
    build = built(pushrod, repository, "endings", text)
    assert build["state"] == "failed"
    assert statuses(build) == {
        "test": "FAILED",
        "deploy": "SKIPPED",
        "notify": "SUCCESS",
        "clean up": "SUCCESS",
    }
    assert step_named(build, "deploy")["reason"] == "dependency did not succeed: test"


def test_a_matrix_runs_each_combination_and_its_dependant_after_all(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    script = "${{ matrix.python }} $PUSHROD_MATRIX_PYTHON $WHERE"
    text = workflow(
        image,
        f'name: test\nrun: echo {script} > "$PUSHROD_MATRIX_OS.txt"\n'
        'matrix: {python: [3.10, "3.12"], os: [a, b], exclude: [{python: 3.10, os: b}]}\n'
        'env: {WHERE: "on ${{ matrix.os }}"}\n'
        'outputPaths: ["*.txt"]',
        "name: join\ndependsOn: test\nrun: cat b.txt; echo ${{ build.number }} ${{ sha }}",
    )
    build = built(pushrod, repository, "matrix", text)
    assert build["state"] == "succeeded", build
    names = ["test (3.10, a)", "test (3.12, a)", "test (3.12, b)"]
    assert list(statuses(build)) == [*names, "join"]
    join = step_named(build, "join")
    assert join["dependsOn"] == names
    expected = f"3.12 3.12 on b\n1 {build['commitHash']}\n"
    assert pushrod.api.log(join["id"]).decode() == expected


def pushed(pushrod: Pushrod, repository: Repository, url: str, *refs: str) -> list[str]:
    """The lines that the coordinator said to the one who pushed."""
    done = repository.push(url, pushrod.api.token, *refs)
    assert done.returncode == 0, done.stderr
    lines = [line.removeprefix("remote: ").strip() for line in done.stderr.splitlines()]
    return [line.split(": http")[0] for line in lines if line.startswith(("build", "main", "v"))]


def test_a_tag_that_is_pushed_is_built_by_the_workflows_that_name_it(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    project = pushrod.create_project("tags")
    script = "name: show\nrun: echo $PUSHROD_EVENT $PUSHROD_TAG $PUSHROD_REF ${PUSHROD_BRANCH-none}"
    repository.write(".pushrod.yml", 'on: {tag: ["v*"]}\n' + workflow(image, script))
    old = repository.commit("old")
    repository.git("tag", "v0")
    url = project["pushUrl"]
    assert pushed(pushrod, repository, url, "main", "v0") == [
        "main: no workflow is triggered by a push to this branch",
        "build #1 ci (v0)",
    ]
    repository.write("more", "")
    new = repository.commit("new")
    repository.git("tag", "-a", "v1.0", "-m", "annotated")
    repository.git("tag", "other")
    assert pushed(pushrod, repository, url, "main", "v1.0", "other")[1:] == ["build #2 ci (v1.0)"]
    second, first = pushrod.api.builds(project["id"])
    assert (first["commitHash"], second["commitHash"]) == (old, new)
    build = pushrod.api.wait_finished(second["id"])
    assert (build["state"], build["tag"], build["event"]) == ("succeeded", "v1.0", "tag")
    log = pushrod.api.log(build["steps"][0]["id"])
    assert log == b"tag v1.0 refs/tags/v1.0 none\n"


def test_a_whole_history_of_tags_is_not_built(pushrod: Pushrod, repository: Repository) -> None:
    project = pushrod.create_project("many tags")
    repository.write(".pushrod.yml", "on: tag\n" + workflow("any", "name: a\nrun: echo a"))
    repository.commit("first")
    for number in range(21):
        repository.git("tag", f"v{number}")
    done = repository.push(project["pushUrl"], pushrod.api.token, "main", "--tags")
    assert "21 tags at once: none of them is built" in done.stderr
    assert pushrod.api.builds(project["id"]) == []


def test_only_pushes_that_change_the_named_paths_are_built(
    pushrod: Pushrod, repository: Repository
) -> None:
    project = pushrod.create_project("paths")
    url = project["pushUrl"]
    text = 'on: {push: {paths: ["src/**", "!**/*.md"]}}\n'
    repository.write(".pushrod.yml", text + workflow("any", "name: a\nrun: echo a"))
    repository.write("src/main.c", "1")
    repository.commit("first")
    nothing = "main: no workflow is triggered by a push to this branch that changes these files"
    assert pushed(pushrod, repository, url, "main") == ["build #1 ci (main)"]
    repository.write("docs.txt", "1")
    repository.write("src/README.md", "1")
    repository.commit("documentation")
    assert pushed(pushrod, repository, url, "main") == [nothing]
    repository.commit("empty")
    no_file = nothing.replace("these files", "no file")
    assert pushed(pushrod, repository, url, "main") == [no_file]
    repository.write("src/main.c", "2")
    repository.commit("source")
    repository.write("docs.txt", "2")
    repository.commit("documentation on top")
    assert pushed(pushrod, repository, url, "main") == ["build #2 ci (main)"]
    repository.git("rm", "-q", "src/main.c")
    repository.commit("removed")
    assert pushed(pushrod, repository, url, "main") == ["build #3 ci (main)"]
    repository.git("checkout", "-q", "-b", "vacation")
    repository.write("docs.txt", "3")
    repository.commit("documentation on a new branch")
    assert pushed(pushrod, repository, url, "vacation") == [nothing.replace("main", "vacation")]
    repository.write("src/new.c", "")
    repository.commit("source on a new branch")
    assert pushed(pushrod, repository, url, "HEAD:refs/heads/v2") == ["build #4 ci (v2)"]


def test_a_commit_that_says_skip_ci_is_not_built(pushrod: Pushrod, repository: Repository) -> None:
    project = pushrod.create_project("skipping")
    repository.write(".pushrod.yml", workflow("any", "name: a\nrun: echo a"))
    repository.commit("a typo [skip ci]")
    said = pushed(pushrod, repository, project["pushUrl"], "main")
    assert said == ["main: the commit's message says [skip ci], so nothing is built"]
    assert pushrod.api.builds(project["id"]) == []


def test_a_build_made_by_hand_gets_its_parameters(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    project = pushrod.create_project("manual")
    text = (
        "on: {manual: {params: {target: {oneOf: [staging, production]}, note: {default: none}, "
        "who: }}}\n"
    )
    script = (
        'name: deploy\nrun: echo ${{ params.target }} "$PUSHROD_PARAM_TARGET" '
        '"$PUSHROD_PARAM_NOTE" "$PUSHROD_PARAM_WHO"'
    )
    repository.write(".pushrod.yml", text + workflow(image, script))
    repository.commit("first")
    assert pushed(pushrod, repository, project["pushUrl"], "main") == [
        "main: no workflow is triggered by a push to this branch"
    ]
    hostile = "$(id); `id` \"'"
    made = pushrod.command(
        "build", "create", "manual", "--param", "target=production", "--param", f"who={hostile}"
    )
    assert made.returncode == 0, made.stderr
    build = pushrod.api.wait_finished(made.stdout.strip())
    assert (build["state"], build["event"], build["branch"]) == ("succeeded", "manual", "main")
    log = pushrod.api.log(build["steps"][0]["id"])
    assert log.decode() == f"production production none {hostile}\n"
    again = pushrod.api.post(f"/api/projects/-/builds/{build['id']}/retry", {})
    retried = pushrod.api.wait_finished(again["id"])
    assert pushrod.api.log(retried["steps"][0]["id"]) == log


def test_a_build_by_hand_with_wrong_parameters_names_each(
    pushrod: Pushrod, repository: Repository
) -> None:
    project = pushrod.create_project("manual mistakes")
    text = "on: {manual: {params: {target: {oneOf: [staging, production]}, who: }}}\n"
    repository.write(".pushrod.yml", text + workflow("any", "name: a\nrun: echo a"))
    repository.commit("first")
    pushed(pushrod, repository, project["pushUrl"], "main")
    made = pushrod.command(
        "build", "create", project["slug"], "--param", "target=moon", "--param", "tarjet=moon"
    )
    assert made.returncode != 0
    for sentence in (
        "`target` must be one of `staging`, `production`, not `moon`",
        "the parameter `who` is missing",
        "there is no parameter `tarjet`: did you mean `target`?",
    ):
        assert sentence in made.stderr
    missing = pushrod.command("build", "create", project["slug"], "--branch", "nowhere")
    assert "the repository has no branch 'nowhere'" in missing.stderr


def test_a_step_whose_condition_is_false_is_skipped_with_its_dependants(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    text = workflow(
        image,
        'name: release\nwhen: event == "tag"\nrun: echo never',
        "name: after\ndependsOn: release\nrun: echo never",
        "name: always\ndependsOn: after\nrunOn: [success, failure]\nrun: echo always",
        "name: test\nmatrix: {n: [1, 2]}\n"
        'when: branch == "main" && matrix.n == "2" && message.contains("flow")\n'
        "run: echo $PUSHROD_MATRIX_N",
    )
    build = built(pushrod, repository, "conditions", text)
    assert build["state"] == "succeeded", build
    assert {step["name"]: step.get("reason", step["status"]) for step in build["steps"]} == {
        "release": "condition false",
        "after": "dependency did not succeed: release",
        "always": "SUCCESS",
        "test (1)": "condition false",
        "test (2)": "SUCCESS",
    }
    again = pushrod.api.post(f"/api/projects/-/builds/{build['id']}/retry", {})
    assert statuses(pushrod.api.wait_finished(again["id"])) == statuses(build)


def test_a_build_of_nothing_but_false_conditions_is_over_at_once(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    project = pushrod.create_project("all skipped")
    text = workflow(image, 'name: release\nwhen: event == "tag"\nrun: echo never')
    build = pushrod.push_workflow(repository, project, text)
    assert (build["state"], build["status"]) == ("succeeded", "SUCCESS")


def test_a_condition_that_cannot_be_worked_out_fails_the_build_at_its_place(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    project = pushrod.create_project("faulty condition")
    text = workflow(image, "name: a\nwhen: int(branch) > 3\nrun: echo never")
    build = pushrod.api.build(pushrod.push_workflow(repository, project, text)["id"])
    (problem,) = build["problems"]
    assert (build["state"], build["steps"]) == ("failed", [])
    assert (problem["file"], problem["line"], problem["column"]) == (".pushrod.yml", 5, 11)
    assert "`when` of step `a` can't be worked out" in problem["message"]


def test_a_step_gets_its_secrets_and_its_log_does_not_show_them(
    pushrod: Pushrod, repository: Repository, image: str, tmp_path: Path
) -> None:
    project = pushrod.create_project("secrets")
    token, key = "s3cr3t-t0ken $(id)", "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA\n-----END KEY-----\n"
    (tmp_path / "key").write_text(key)
    first = pushrod.command("secret", "set", "secrets", "TOKEN", given=token + "\n")
    assert (first.returncode, first.stdout) == (0, ""), first.stderr
    second = pushrod.command("secret", "set", "secrets", "KEY", "--file", str(tmp_path / "key"))
    assert second.returncode == 0, second.stderr
    listed = pushrod.command("secret", "list", "secrets")
    assert "TOKEN" in listed.stdout
    assert token not in listed.stdout
    script = (
        "run: |\n"
        '  echo "${#TOKEN} ${#KEY} $(wc -c < "$PUSHROD_SECRETS/KEY")"\n'
        '  echo "token: $TOKEN"; printf %s "${TOKEN:0:7}"; sleep 0.2; echo "${TOKEN:7}"\n'
        '  cat "$PUSHROD_SECRETS/KEY" >&2; printf %s "$TOKEN" | base64\n'
        '  printf %s "$TOKEN" > made.txt\n'
    )
    text = workflow(
        image,
        "name: use\nsecrets: [TOKEN, KEY]\n" + script + "outputPaths: [made.txt]",
        "name: other\nrun: echo ${TOKEN-none} ${KEY-none} ${PUSHROD_SECRETS-none}",
    )
    build = pushrod.api.wait_finished(pushrod.push_workflow(repository, project, text)["id"])
    assert build["state"] == "succeeded", build
    log = pushrod.api.log(step_named(build, "use")["id"]).decode()
    assert log.startswith(f"{len(token)} {len(key)} {len(key)}\n"), log
    lines = log.splitlines()
    assert "token: ***" in lines
    assert lines.count("***") == 5, log
    assert pushrod.api.log(step_named(build, "other")["id"]) == b"none none none\n"
    artifact = f"/api/steps/{step_named(build, 'use')['id']}/artifacts/made.txt"
    assert pushrod.api.request("GET", artifact)[1] == token.encode()
    for secret in (token, "MIIEpAIBAAKCAQEA"):
        assert files_with(pushrod.data / "pushrod.db", secret) == []
        # What the script itself gave out is an artifact, which the agent keeps for steps behind.
        of_agent = files_with(pushrod.folder / "agent-agent1", secret)
        assert [path for path in of_agent if path.parent.name != "artifacts"] == []
        audit = pushrod.api.request("GET", "/api/audit-logs")[1].decode()
        assert secret not in audit
        assert "secret.set" in audit


def test_a_steps_user_is_given_in_a_container_and_refused_on_the_host(
    pushrod: Pushrod, repository: Repository, image: str, engine: str
) -> None:
    look = "run: id -u; id -g; id -u > /c/kept\ncacheDirs: [/c]\n"
    text = workflow(
        image,
        f"name: one\n{look}user: 1234:56",
        f"name: other\ndependsOn: [one]\n{look}user: 1234",
    )
    build = built(pushrod, repository, "user", text)
    if engine == "host":
        assert statuses(build) == {"one": "FAILED", "other": "SKIPPED"}
        assert "which the host engine can't give it" in step_named(build, "one")["message"]
        return
    assert build["state"] == "succeeded", build
    logs = [pushrod.api.log(step_named(build, name)["id"]) for name in ("one", "other")]
    assert logs == [b"1234\n56\n", b"1234\n0\n"]


def test_a_trace_json_and_a_url_show_no_secret(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    project = pushrod.create_project("traced")
    token = "it's$a\"q &/ü"
    assert pushrod.command("secret", "set", "traced", "T", given=token).returncode == 0
    lines = [
        'curl() { : >/dev/null; }; (set -x; curl "token=$T")',
        'printf "json %s\\n" \'{"t": "it\'\\\'\'s$a\\"q &/\\u00fc"}\'',
        "echo 'url ?t=it%27s%24a%22q%20%26%2F%C3%BC&n=1'",
    ]
    run = "name: use\nsecrets: [T]\nrun: |\n" + "".join(f"  {line}\n" for line in lines)
    text = workflow(image, run)
    build = pushrod.api.wait_finished(pushrod.push_workflow(repository, project, text)["id"])
    assert build["state"] == "succeeded", build
    log = pushrod.api.log(step_named(build, "use")["id"]).decode()
    assert 'json {"t": "***"}' in log.splitlines(), log
    assert "url ?t=***&n=1" in log.splitlines(), log
    assert any(line.startswith("+ curl ") and "token=***" in line for line in log.splitlines()), log
    assert "s$a" not in log


def files_with(folder: Path, text: str) -> list[Path]:
    paths = [folder] if folder.is_file() else [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in paths if text.encode() in path.read_bytes()]


def test_a_build_whose_secret_is_missing_fails_and_says_which(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    project = pushrod.create_project("missing secrets")
    text = workflow(
        image, "name: a\nsecrets: [ONE, TWO]\nrun: echo never", "name: b\nrun: echo never"
    )
    pushrod.command("secret", "set", project["slug"], "ONE", given="value")
    build = pushrod.api.build(pushrod.push_workflow(repository, project, text)["id"])
    assert (build["state"], build["reason"]) == ("failed", "missing secret: TWO")
    (problem,) = build["problems"]
    assert "`pushrod secret set default/missing-secrets TWO`" in problem["message"]
    lines = text.splitlines()
    [line] = [number for number, content in enumerate(lines, 1) if "TWO" in content]
    column = lines[line - 1].index("TWO") + 1
    assert (problem["file"], problem["line"], problem["column"]) == (".pushrod.yml", line, column)
    pushrod.command("secret", "set", project["slug"], "TWO", given="value")
    again = pushrod.api.post(f"/api/projects/-/builds/{build['id']}/retry", {})
    assert pushrod.api.wait_finished(again["id"])["state"] == "succeeded"
    assert len(pushrod.api.build(again["id"])["steps"]) == 2
    assert pushrod.command("secret", "delete", project["slug"], "TWO").returncode == 0
    assert "no secret" in pushrod.command("secret", "delete", project["slug"], "TWO").stderr


def test_secrets_are_for_maintainers_of_the_account_alone(
    pushrod: Pushrod, repository: Repository
) -> None:
    project = pushrod.create_project("guarded")
    path = f"/api/projects/{project['id']}/secrets"
    assert pushrod.api.request("PUT", f"{path}/A", {"value": "hunter2"})[0] == 200
    developer = pushrod.api.post(
        "/api/tokens", {"name": "dev", "role": "developer", "account": "default"}
    )
    for method, target, body in (
        ("GET", path, None),
        ("PUT", f"{path}/A", {"value": "x"}),
        ("DELETE", f"{path}/A", None),
    ):
        api = type(pushrod.api)(pushrod.api.url, developer["token"])
        assert api.request(method, target, body)[0] == 403
    for name, value in (("a-b", "x"), ("PUSHROD_A", "x"), ("A", ""), ("A", "a\0b")):
        status, answer, _ = pushrod.api.request("PUT", f"{path}/{name}", {"value": value})
        assert status == 400, answer
    assert b"hunter2" not in pushrod.api.request("GET", path)[1]


def test_a_step_without_network_has_nothing_but_loopback(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    script = "run: |\n  tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"
    text = workflow(
        image,
        f"name: offline\nnetwork: none\n{script}",
        f"name: online\nnetwork: default\n{script}",
    )
    build = built(pushrod, repository, "offline", text)
    assert build["state"] == "succeeded", build
    offline, online = (
        set(pushrod.api.log(step_named(build, name)["id"]).decode().split())
        for name in ("offline", "online")
    )
    assert "lo" in offline
    assert not any(name.startswith(("eth", "en", "wl", "tap", "veth")) for name in offline)
    assert offline != online


def test_limits_hold_or_the_step_says_that_they_do_not(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    script = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes || true"
    text = workflow(image, f"name: a\nresources: {{memory: 64MiB, cpus: 0.5}}\nrun: {script}")
    build = built(pushrod, repository, "limits", text)
    (step,) = build["steps"]
    limit = str(64 * 1024 * 1024)
    holds = limit in pushrod.api.log(step["id"]).decode().split()
    assert holds != ("does not limit memory" in step.get("message", "")), step
