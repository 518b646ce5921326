from __future__ import annotations

import subprocess

import pytest

from agent.engines.buildkit import llb
from agent.engines.buildkit.interpreters import SH
from agent.engines.buildkit.pb import ops_pb2 as pb
from agent.engines.buildkit.step_graph import (
    MAX_SCRIPT_BYTES,
    StepGraph,
    cache_problem,
    collected,
    script_problem,
    step_graph,
    unenforced,
)
from agent.engines.buildkit.wrapper import wrapper
from agent.engines.protocol import CacheMount

BUILDER = llb.Owner(uid=1000, gid=1000)


def graph(*, owner: llb.Owner = llb.ROOT, attempt: str = "a", shell: str = "") -> StepGraph:
    return step_graph(
        image="docker.io/library/busybox:latest",
        platform=llb.Platform(architecture="amd64"),
        owner=owner,
        environment={"PUSHROD_ATTEMPT_ID": attempt},
        script="true",
        source=None,
        cache_mounts=[CacheMount(id="pip", path="/root/.cache/pip/")],
        timeout_seconds=60,
        keep_output=True,
        shell=shell,
        description="test",
    )


def test_two_attempts_of_one_step_are_two_processes() -> None:
    assert graph(attempt="a").process.digest != graph(attempt="b").process.digest


def test_the_workspace_and_the_record_belong_to_the_images_user() -> None:
    folders = graph(owner=BUILDER).process.inputs
    made = [
        action.mkdir
        for needed in folders
        for action in pb.Op.FromString(needed.vertex.raw).file.actions
        if action.WhichOneof("action") == "mkdir"
    ]

    owners = {one.path: one.owner.user.byID for one in made}

    assert owners == {"/w": 1000, "/r": 1000, "/c": 1000, "/s": 0}


def test_a_cache_begins_as_a_folder_of_the_user_unless_that_is_root() -> None:
    of_root, of_builder = (
        pb.Op.FromString(graph(owner=owner).process.raw).exec.mounts[-1]
        for owner in (llb.ROOT, BUILDER)
    )

    assert of_root.input == llb.NO_INPUT
    assert (of_builder.input >= 0, of_builder.selector) == (True, "/c")
    assert of_root.dest == of_builder.dest == "/root/.cache/pip"


def test_two_attempts_outputs_are_never_one_copy() -> None:
    workspace = graph().workspace
    one, other = (collected(workspace, ["dist"], unlike=attempt) for attempt in "ab")
    assert one.vertex.digest != other.vertex.digest


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo a\0b", "NUL byte at character 6"),
        ("é" * (MAX_SCRIPT_BYTES // 2 + 1), "1048578 bytes"),
    ],
)
def test_a_script_that_bash_cannot_take_is_refused(script: str, said: str) -> None:
    assert said in (script_problem(script) or "")


def test_a_script_of_the_largest_size_is_taken() -> None:
    assert script_problem("#" * MAX_SCRIPT_BYTES) is None


@pytest.mark.parametrize(
    "path", ["relative", "/", "/workspace", "/workspace/", "/.pushrod/record", "/a/../b", "/proc"]
)
def test_an_impossible_cache_folder_is_refused(path: str) -> None:
    assert repr(path) in (cache_problem([CacheMount(id="x", path=path)]) or "")


def test_the_same_cache_folder_twice_is_refused() -> None:
    twice = [CacheMount(id="x", path="/a"), CacheMount(id="y", path="/a/")]

    assert "twice" in (cache_problem(twice) or "")


def test_cache_folders_may_lie_in_the_workspace_or_outside() -> None:
    good = [CacheMount(id="x", path="/workspace/.cache"), CacheMount(id="y", path="/var/cache")]

    assert cache_problem(good) is None


@pytest.mark.parametrize("keep_output", [True, False])
@pytest.mark.parametrize(("workdir", "shell"), [("", ""), ("it's {odd}", "sh"), ("", "python")])
def test_the_wrapper_is_sound_bash(keep_output: bool, workdir: str, shell: str) -> None:
    text = wrapper(keep_output=keep_output, listens=True, workdir=workdir, shell=shell)

    checked = subprocess.run(["bash", "-n"], input=text.encode(), capture_output=True, check=False)

    assert (checked.returncode, checked.stderr) == (0, b"")


@pytest.mark.parametrize("keep_output", [True, False])
@pytest.mark.parametrize("shell", ["sh", "python"])
def test_the_wrapper_of_an_image_without_bash_is_sound_sh(keep_output: bool, shell: str) -> None:
    text = wrapper(
        keep_output=keep_output,
        secrets=["A"],
        keep_limits=True,
        listens=True,
        keep_sockets=True,
        begins_caches=True,
        workdir="it's",
        shell=shell,
        interpreter=SH,
    )
    checked = subprocess.run(["sh", "-n"], input=text.encode(), capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("shell", "arguments", "files"),
    [
        ("", ["bash", "-p", "/.pushrod/step/wrapper"], 2),
        ("bash -x", ["bash", "-p", "/.pushrod/step/wrapper"], 2),
        ("sh", ["sh", "/.pushrod/step/wrapper.sh"], 3),
        ("python", ["sh", "/.pushrod/step/wrapper.sh"], 3),
    ],
)
def test_only_where_the_script_is_not_bashs_the_first_process_is_sh(
    shell: str, arguments: list[str], files: int
) -> None:
    made = graph(shell=shell).process
    process = pb.Op.FromString(made.raw).exec
    assert list(process.meta.args)[:-2] == arguments
    written = [
        action.mkfile.path
        for needed in made.inputs
        for action in pb.Op.FromString(needed.vertex.raw).file.actions
        if action.WhichOneof("action") == "mkfile"
    ]
    assert len(written) == files


def test_limits_that_are_in_force_need_no_word() -> None:
    asked = llb.Limits(memory_bytes=1024, cpus=0.5)
    assert unenforced(asked, "memory 1024\ncpu 50000\n") == []
    assert unenforced(llb.Limits(), "") == []


@pytest.mark.parametrize("record", ["", "memory max\ncpu max\n", "memory 99999999\ncpu -1\n"])
def test_limits_that_are_not_in_force_are_named(record: str) -> None:
    asked = llb.Limits(memory_bytes=1024, cpus=0.5)
    (note,) = unenforced(asked, record)
    assert "does not limit memory and cpus" in note


@pytest.mark.parametrize("shell", ["", "sh"])
def test_a_secret_may_be_called_as_something_of_the_wrapper(shell: str) -> None:
    names = "DEPLOY_SCRIPT LISTEN LISTEN_PORT OUT SECRETS NAMES PROGRAM COMMAND NO_FOLDER"

    text = wrapper(keep_output=True, secrets=names.split(), shell=shell)

    assert f" in {names}; do" in text


def test_no_secret_stands_in_the_graph_but_its_name() -> None:
    text = wrapper(keep_output=False, secrets=["TOKEN"])
    assert " in TOKEN; do" in text
    mount = llb.Mount(destination="/run/secrets/TOKEN", secret_id="TOKEN", owner=llb.ROOT)
    process = llb.Process(arguments=("true",), environment={}, directory="/", mounts=[mount])
    vertex = llb.execute(process, platform=llb.Platform(architecture="amd64"), description="x")
    operation = pb.Op.FromString(vertex.raw)
    assert operation.exec.mounts[0].mountType == pb.SECRET
    assert operation.exec.mounts[0].secretOpt.mode == 0o400
