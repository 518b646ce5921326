"""The script of a step, got by a GET and run by a real bash: what curl and bash alone make."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    Caller,
    Coordinator,
    new_work_tree,
    open_coordinator,
    step_of,
)


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


@dataclass(frozen=True, kw_only=True)
class Ran:
    exit_code: int
    output: str
    errors: str


@dataclass(frozen=True)
class Bash:
    """A worker's shell, with a folder for its temporary files."""

    folder: Path

    async def run(self, script: bytes) -> Ran:
        self.folder.mkdir(exist_ok=True)
        path = self.folder / "script"
        path.write_bytes(script)
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        process = await asyncio.create_subprocess_exec(
            "bash",
            str(path),
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "TMPDIR": str(temporary),
                "LANG": "C.UTF-8",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert list(temporary.iterdir()) == [], "the script cleans up behind itself"
        return Ran(
            exit_code=process.returncode or 0,
            output=out.decode(errors="replace"),
            errors=err.decode(errors="replace"),
        )


@pytest.fixture
def bash(tmp_path: Path) -> Bash:
    return Bash(tmp_path / "worker")


async def run_step(admin: Caller, bash: Bash, step: Mapping[str, Any]) -> Ran:
    script = (await admin.get(f"/api/runner/{step['id']}")).expect(200)
    ran = await bash.run(script.body)
    status = "success" if ran.exit_code == 0 else "failed"
    body = {"status": status, "exitCode": ran.exit_code, "logs": ran.output + ran.errors}
    (await admin.post(f"/api/runner/{step['id']}/complete", body)).expect(200)
    return ran


async def run_script(admin: Caller, bash: Bash, script: str, **more: Any) -> Ran:
    """A step of this script, alone in its build."""
    build = await admin.new_build(await admin.new_project(), step_of("s", runScript=script, **more))
    return await run_step(admin, bash, build["steps"][0])


async def stored(admin: Caller, step: Mapping[str, Any]) -> dict[str, tuple[bytes, int]]:
    found = {}
    for artifact in (await admin.get(f"/api/steps/{step['id']}/artifacts")).expect(200).json:
        path = artifact["url"].removeprefix(admin.coordinator.url)
        found[artifact["name"]] = ((await admin.get(path)).expect(200).body, artifact["mode"])
    return found


async def test_the_steps_script_is_run_in_a_workspace_of_its_own(admin: Caller, bash: Bash) -> None:
    ran = await run_script(admin, bash, 'pwd; echo "$PUSHROD_WORKSPACE"; ls -A; echo $CI')
    where, variable, ci = ran.output.splitlines()
    assert where == variable
    assert where.startswith(str(bash.folder))
    assert (ci, ran.errors, ran.exit_code) == ("true", "", 0)


@pytest.mark.parametrize("code", [1, 7, 127, 255])
async def test_its_exit_code_is_the_scripts(admin: Caller, bash: Bash, code: int) -> None:
    ran = await run_script(admin, bash, f"echo before; exit {code}; echo after")
    assert (ran.exit_code, ran.output) == (code, "before\n")


async def test_a_failing_command_ends_the_script(admin: Caller, bash: Bash) -> None:
    ran = await run_script(admin, bash, "false | true\necho not here")
    assert (ran.exit_code, ran.output) == (1, "")


async def test_a_script_of_nasty_text_is_run_as_it_was_written(admin: Caller, bash: Bash) -> None:
    script = (
        "cat <<'EOF'\nPUSHROD_SCRIPT\n'\"$x`id`\\ ü \u2028 %s {} EOF\nEOF\n"
        'PUSHROD_SCRIPT=5\n#\'\necho "$PUSHROD_SCRIPT"\n'
    )
    ran = await run_script(admin, bash, script)
    assert ran.output == "PUSHROD_SCRIPT\n'\"$x`id`\\ ü \u2028 %s {} EOF\n5\n"
    assert (ran.exit_code, ran.errors) == (0, "")


async def test_a_long_script_comes_whole(admin: Caller, bash: Bash) -> None:
    script = "".join(f"n={n} # {'x' * 100}\n" for n in range(3_000)) + "echo $n"
    assert (await run_script(admin, bash, script)).output == "2999\n"


async def test_the_script_makes_files_that_others_may_read(admin: Caller, bash: Bash) -> None:
    """Its umask is the usual one; only the folder around it is closed to others."""
    ran = await run_script(admin, bash, "umask; touch x; stat -c %a x .; stat -c %a .. ../header")
    assert ran.output.split() == ["0022", "644", "755", "700", "600"]


async def test_a_script_gets_no_input_that_is_the_scripts(admin: Caller, bash: Bash) -> None:
    assert (await run_script(admin, bash, "cat; echo end")).output == "end\n"


async def test_outsiders_text_reaches_the_script_as_it_is(
    admin: Caller, bash: Bash, tmp_path: Path
) -> None:
    nasty = "'; touch /tmp/pushrod-evil; $(id) `id` \"\\ \n ü ${x} %s"
    project = await admin.new_project()
    workflow_id = await admin.new_workflow(
        project, step_of("s", runScript='printf %s "$PUSHROD_BRANCH|$PUSHROD_COMMIT_MESSAGE"')
    )
    body = {"workflowId": workflow_id, "branch": nasty, "commitMessage": nasty}
    made = await admin.post(f"/api/projects/{project['id']}/builds", body)
    build = await admin.build(made.expect(201).json["id"])
    ran = await run_step(admin, bash, build["steps"][0])
    assert ran.output == f"{nasty}|{nasty}"
    assert not Path("/tmp/pushrod-evil").exists()


ODD_NAMES = [
    "plain.txt",
    "with space",
    "ü-日本-\U0001f600",
    "a'b\"c",
    "[1]{2,3}*?#1",
    "-dash",
    "per%41cent",
    "q?x=1&y#z",
    "back\\slash",
    "$(id)",
    ".hidden",
    "~",
    "deep/er/file",
]


async def test_outputs_of_any_name_come_back_and_reach_the_dependants(
    admin: Caller, bash: Bash
) -> None:
    make = "\n".join(
        f'mkdir -p -- "$(dirname -- {quoted})"; printf %s {quoted} > {quoted}'
        for quoted in (
            f"'{'out/' + name.replace(chr(39), chr(39) + chr(92) + chr(39) * 2)}'"
            for name in ODD_NAMES
        )
    )
    build = await admin.new_build(
        await admin.new_project(),
        step_of("make", runScript=make + "\nchmod 755 out/plain.txt", outputPaths=["out/"]),
        step_of(
            "use",
            "make",
            runScript='cd out; find . -type f -print0 | sort -z | tr "\\0" "\\n"; '
            "stat -c %a plain.txt",
        ),
    )
    first, second = build["steps"]
    ran = await run_step(admin, bash, first)
    assert (ran.exit_code, ran.errors) == (0, "")
    found = await stored(admin, first)
    assert found == {
        f"out/{name}": (f"out/{name}".encode(), 0o755 if name == "plain.txt" else 0o644)
        for name in ODD_NAMES
    }
    ran = await run_step(admin, bash, second)
    assert (ran.exit_code, ran.errors) == (0, "")
    *names, mode = ran.output.splitlines()
    assert names == sorted((f"./{name}" for name in ODD_NAMES), key=str.encode)
    assert mode == "755"


async def test_outputs_of_a_failed_script_are_kept_and_its_exit_code_too(
    admin: Caller, bash: Bash
) -> None:
    build = await admin.new_build(
        await admin.new_project(),
        step_of("s", runScript="echo x > report.xml; exit 3", outputPaths=["report.xml"]),
    )
    [step] = build["steps"]
    assert (await run_step(admin, bash, step)).exit_code == 3
    assert await stored(admin, step) == {"report.xml": (b"x\n", 0o644)}


async def test_patterns_find_files_and_one_that_finds_none_is_told(
    admin: Caller, bash: Bash
) -> None:
    script = "mkdir -p 'a b/c'; touch 'a b/c/1.whl' 'a b/2.whl' top.whl skip.txt"
    build = await admin.new_build(
        await admin.new_project(),
        step_of("s", runScript=script, outputPaths=["**/*.whl", "missing.txt", "a b/2.whl"]),
    )
    [step] = build["steps"]
    ran = await run_step(admin, bash, step)
    assert sorted(await stored(admin, step)) == ["a b/2.whl", "a b/c/1.whl", "top.whl"]
    assert "missing.txt was not made" in ran.errors
    assert ran.exit_code == 0


@pytest.mark.parametrize(("code", "shown"), [(0, 1), (3, 3)])
async def test_an_output_that_can_not_be_stored_fails_a_good_script_and_keeps_a_bad_ones_code(
    admin: Caller, bash: Bash, code: int, shown: int
) -> None:
    build = await admin.new_build(
        await admin.new_project(),
        step_of("s", runScript=f"touch $'new\\nline' good; exit {code}", outputPaths=["*"]),
    )
    [step] = build["steps"]
    ran = await run_step(admin, bash, step)
    assert ran.exit_code == shown
    assert "could not be stored" in ran.errors


async def test_a_step_of_a_commit_has_it_checked_out(
    admin: Caller, bash: Bash, tmp_path: Path
) -> None:
    project = await admin.new_project()
    tree = await new_work_tree(tmp_path, admin, project)
    workflow = (
        'name: ci\non: {push: {}}\nenv: {GREETING: "it\'s ü"}\nsteps:\n'
        "  - {name: s, image: base, run: 'cat hello; git rev-parse HEAD; echo $GREETING;"
        " echo $PUSHROD_BRANCH; stat -c %a hello run.sh'}\n"
    )
    (tree.folder / "run.sh").write_text("#!/bin/sh\n")
    (tree.folder / "run.sh").chmod(0o755)
    old = await tree.commit({".pushrod.yml": workflow, "hello": "hello\n"})
    await tree.push()
    await tree.commit({"hello": "later\n"})
    await tree.push()
    build = await admin.build((await admin.builds(project))[1]["id"])
    ran = await run_step(admin, bash, build["steps"][0])
    assert ran.output.splitlines() == ["hello", old, "it's ü", "main", "644", "755"]
    assert (ran.exit_code, ran.errors) == (0, "")


async def test_a_damaged_artifact_stops_the_dependant_before_its_script(
    coordinator: Coordinator, admin: Caller, bash: Bash
) -> None:
    build = await admin.new_build(
        await admin.new_project(),
        step_of("a", runScript="echo 12345 > x", outputPaths=["x"]),
        step_of("b", "a", runScript="echo ran"),
    )
    first, second = build["steps"]
    await run_step(admin, bash, first)
    [blob] = [
        path
        for path in (coordinator.data / "objects").rglob("*")
        if path.is_file() and path.read_bytes() == b"12345\n"
    ]
    blob.write_bytes(b"54321\n")
    ran = await run_step(admin, bash, second)
    assert (ran.exit_code != 0, "ran" in ran.output) == (True, False)


async def test_the_token_is_in_no_argument_while_the_script_runs(admin: Caller, bash: Bash) -> None:
    script = "tr '\\0' ' ' < /proc/$PPID/cmdline; ps -eo args | grep -c '[p]rs_' || true"
    ran = await run_script(admin, bash, script)
    assert "prs_" not in ran.output
    assert ran.output.rstrip().endswith("0")


COUNT = """
old=$(cat deep/er/n 2> /dev/null || echo 0)
mkdir -p deep/er && echo $((old + 1)) | tee deep/er/n
"""


async def test_a_cache_in_the_workspace_is_kept_for_the_next_build(
    admin: Caller, bash: Bash
) -> None:
    project = await admin.new_project()
    step = step_of("a", runScript=COUNT, cacheDirs=["deep/er", "~/.cache/x"])
    workflow = await admin.new_workflow(project, step)

    async def build(**more: Any) -> Ran:
        body = {"workflowId": workflow, **more}
        path = f"/api/projects/{project['id']}/builds"
        made = (await admin.post(path, body)).expect(201).json
        return await run_step(admin, bash, made["steps"][0])

    first = await build()
    assert (first.exit_code, first.output) == (0, "1\n"), first.errors
    assert "cacheDirs: ~/.cache/x is this worker's own" in first.errors
    assert (await build()).output == "2\n"
    kept = bash.folder / ".cache/pushrod"
    [cache] = kept.iterdir()
    assert kept.stat().st_mode & 0o077 == 0, "other users of the worker can't read it"
    assert (await build(cleanBuild=True)).output == "1\n"
    assert (await build()).output == "2\n"
    assert [one.name for one in kept.iterdir()] != [cache.name], "the replaced one is gone"


async def test_the_cache_of_a_clean_build_that_failed_is_not_kept(
    admin: Caller, bash: Bash
) -> None:
    project = await admin.new_project()
    steps = [step_of("a", runScript="touch c/x; exit 3", cacheDirs=["c"])]
    workflow = await admin.new_workflow(project, *steps)
    path = f"/api/projects/{project['id']}/builds"
    body = {"workflowId": workflow, "cleanBuild": True}
    made = (await admin.post(path, body)).expect(201).json
    assert (await run_step(admin, bash, made["steps"][0])).exit_code == 3
    assert list((bash.folder / ".cache/pushrod").iterdir()) == []


async def test_a_cache_behind_a_link_of_the_source_is_refused(
    admin: Caller, bash: Bash, tmp_path: Path
) -> None:
    project = await admin.new_project()
    tree = await new_work_tree(tmp_path, admin, project)
    (tree.folder / "out").symlink_to("/tmp")
    sha = await tree.commit({"a": "1"})
    await tree.push()
    build = await admin.new_build(
        project, step_of("a", cacheDirs=["out/pushrod-cache"]), commitHash=sha
    )
    ran = await run_step(admin, bash, build["steps"][0])
    assert (ran.exit_code, "behind a symbolic link" in ran.errors) == (1, True), ran
    assert not Path("/tmp/pushrod-cache").exists()


async def test_what_it_hands_on_reaches_the_steps_that_depend_on_it(
    admin: Caller, bash: Bash
) -> None:
    build = await admin.new_build(
        await admin.new_project(),
        step_of("a", runScript='echo "k=v 1" >> "$PUSHROD_OUTPUT"'),
        step_of("b", "a", runScript='echo "$PUSHROD_OUTPUT_A_K"'),
    )
    first, second = build["steps"]
    assert (await run_step(admin, bash, first)).exit_code == 0
    assert (await run_step(admin, bash, second)).output == "v 1\n"
    shown = (await admin.build(build["id"]))["steps"]
    assert [step.get("outputs") for step in shown] == [{"k": "v 1"}, None]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo hello", "line 1: write `key=value`"),
        ("echo k=x${KEY}x", "`k` holds a secret of the step"),
        ("head -c 70000 /dev/zero", "a step may write 64 KiB"),
    ],
)
async def test_what_cannot_be_handed_on_fails_it(
    admin: Caller, bash: Bash, tmp_path: Path, script: str, said: str
) -> None:
    project = await admin.new_project()
    path = f"/api/projects/{project['id']}/secrets/KEY"
    (await admin.call("PUT", path, json={"value": "sesame"})).expect(200)
    tree = await new_work_tree(tmp_path, admin, project)
    workflow = (
        "name: ci\non: {push: {}}\nsteps:\n  - name: s\n    image: base\n    secrets: [KEY]\n"
        f'    run: {script} > "$PUSHROD_OUTPUT"\n'
    )
    await tree.commit({".pushrod.yml": workflow})
    await tree.push()
    build = await admin.build((await admin.builds(project))[0]["id"])
    ran = await run_step(admin, bash, build["steps"][0])
    assert ran.exit_code == 1
    assert said in ran.errors
    assert "sesame" not in ran.errors
