from __future__ import annotations

import hashlib

from agent.engines.buildkit import llb
from agent.engines.buildkit.pb import ops_pb2 as pb

PLATFORM = llb.Platform(architecture="amd64")
IMAGE = llb.image("docker.io/library/busybox:latest", PLATFORM)


def operations(definition: pb.Definition) -> list[pb.Op]:
    return [pb.Op.FromString(raw) for raw in getattr(definition, "def")]


def process(*mounts: llb.Mount, environment: dict[str, str] | None = None) -> llb.Vertex:
    return llb.execute(
        llb.Process(
            arguments=("true",), environment=environment or {}, directory="/", mounts=mounts
        ),
        platform=PLATFORM,
        description="process",
    )


def test_a_definition_ends_with_an_operation_that_only_points_at_the_target() -> None:
    vertex = process(llb.Mount(destination="/", source=IMAGE, keep=True))

    last = operations(llb.definition(vertex.output(0)))[-1]

    assert [one.digest for one in last.inputs] == [vertex.digest]
    assert last.WhichOneof("op") is None


def test_the_digest_of_every_input_is_the_hash_of_an_earlier_operation() -> None:
    vertex = process(llb.Mount(destination="/", source=IMAGE, keep=True))
    outputs = llb.files(
        [llb.Copy(source=vertex.output(0), source_path="/a", destination="/b")], description=""
    )
    seen: set[str] = set()

    for raw in getattr(llb.definition(outputs), "def"):
        assert {one.digest for one in pb.Op.FromString(raw).inputs} <= seen
        seen.add("sha256:" + hashlib.sha256(raw).hexdigest())


def test_a_vertex_that_is_needed_twice_stands_once_in_the_definition() -> None:
    vertex = process(
        llb.Mount(destination="/", source=IMAGE, keep=True),
        llb.Mount(destination="/again", source=IMAGE, readonly=True),
    )

    assert len(operations(llb.definition(vertex.output(0)))) == 3
    assert len(pb.Op.FromString(vertex.raw).inputs) == 1


def test_outputs_are_numbered_in_the_order_of_the_mounts_that_are_kept() -> None:
    vertex = process(
        llb.Mount(destination="/", source=IMAGE, keep=True),
        llb.Mount(destination="/readonly", source=IMAGE, readonly=True),
        llb.Mount(destination="/kept", keep=True),
    )

    mounts = pb.Op.FromString(vertex.raw).exec.mounts

    assert [one.output for one in mounts] == [0, llb.NO_OUTPUT, 1]
    assert [one.input for one in mounts] == [0, 0, llb.NO_INPUT]


def test_the_same_values_give_the_same_digest_and_another_environment_another() -> None:
    root = llb.Mount(destination="/", source=IMAGE, keep=True)

    assert process(root, environment={"ID": "1"}).digest == (
        process(root, environment={"ID": "1"}).digest
    )
    assert process(root, environment={"ID": "1"}).digest != (
        process(root, environment={"ID": "2"}).digest
    )


def test_file_actions_build_on_each_other_and_only_the_last_is_the_output() -> None:
    output = llb.files(
        [
            llb.Directory(path="/a", owner=llb.Owner(uid=7, gid=8)),
            llb.File(path="/a/b", content=b"x"),
        ],
        description="",
    )

    actions = pb.Op.FromString(output.vertex.raw).file.actions

    assert [(one.input, one.output) for one in actions] == [(-1, -1), (0, 0)]
    assert actions[0].mkdir.owner.user.byID == 7
    assert actions[0].mkdir.owner.group.byID == 8


def test_a_copy_reads_its_source_as_second_input_and_starts_from_nothing() -> None:
    copy = llb.Copy(source=IMAGE, source_path="/w", destination="/f", include=("a/*",))

    action = pb.Op.FromString(llb.files([copy], description="").vertex.raw).file.actions[0]

    assert (action.input, action.secondaryInput, action.output) == (-1, 0, 0)
    assert list(action.copy.include_patterns) == ["a/*"]
    assert not action.copy.followSymlink


def test_a_cache_mount_is_shared_by_all_that_name_it() -> None:
    vertex = process(
        llb.Mount(destination="/", source=IMAGE, keep=True),
        llb.Mount(destination="/cache", cache_id="pip"),
    )

    mount = pb.Op.FromString(vertex.raw).exec.mounts[1]

    assert (mount.mountType, mount.cacheOpt.ID, mount.cacheOpt.sharing) == (
        pb.CACHE,
        "pip",
        pb.SHARED,
    )


def test_limits_stand_beside_the_operation_so_that_its_digest_stays() -> None:
    platform = llb.Platform(architecture="amd64")

    def definition_with(limits: llb.Limits | None) -> pb.Definition:
        mounts = [llb.Mount(destination="/", source=llb.image("a", platform), keep=True)]
        process = llb.Process(
            arguments=("true",), environment={}, directory="/", mounts=mounts, limits=limits
        )
        vertex = llb.execute(process, platform=platform, description="x")
        return llb.definition(vertex.output(0))

    free, limited = definition_with(None), definition_with(llb.Limits(memory_bytes=1024, cpus=1.5))
    assert getattr(free, "def") == getattr(limited, "def")
    resources = [
        one.linux_resources for one in limited.metadata.values() if one.linux_resources.memory
    ]
    assert [(r.memory, r.memorySwap, r.cpuPeriod, r.cpuQuota) for r in resources] == [
        (1024, 1024, 100_000, 150_000)
    ]


def test_a_process_without_network_says_so_in_its_operation() -> None:
    process = llb.Process(arguments=("true",), environment={}, directory="/", offline=True)
    vertex = llb.execute(process, platform=llb.Platform(architecture="amd64"), description="x")
    assert pb.Op.FromString(vertex.raw).exec.network == pb.NONE
