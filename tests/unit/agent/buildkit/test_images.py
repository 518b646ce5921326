from __future__ import annotations

import json

import pytest

from agent.engines.buildkit.images import (
    BadImageError,
    ImageConfig,
    User,
    complete_reference,
    parse_config,
    pinned_reference,
    resolve_user,
    step_environment,
)
from agent.engines.buildkit.llb import ROOT, Owner

DIGEST = "sha256:" + "ab" * 32
PASSWD = "root:x:0:0:root:/root:/bin/sh\nbuilder:x:1000:1001::/home/builder:/bin/sh\nbroken\n"
GROUP = "root:x:0:\nwheel:x:10:builder\n"


@pytest.mark.parametrize(
    ("written", "complete"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("docker://busybox", "docker.io/library/busybox:latest"),
        ("acme/tool:2", "docker.io/acme/tool:2"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/acme/tool", "docker.io/acme/tool:latest"),
        ("localhost/tool", "localhost/tool:latest"),
        ("127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b:1"),
        ("registry.example:5000/a", "registry.example:5000/a:latest"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}"),
        (f"a.example/b:1@{DIGEST}", f"a.example/b:1@{DIGEST}"),
    ],
)
def test_a_reference_is_completed(written: str, complete: str) -> None:
    assert complete_reference(written) == complete


@pytest.mark.parametrize(
    "written",
    [
        "",
        "Busybox",
        "a b",
        "x:",
        "x:ta g",
        "-x",
        "x@sha256:short",
        "a//b",
        "../x",
        "x\n",
        "http://x",
    ],
)
def test_what_is_no_reference_is_refused_by_name(written: str) -> None:
    with pytest.raises(BadImageError) as refused:
        complete_reference(written)
    assert repr(written) in str(refused.value) or written in str(refused.value)


def test_an_oci_layout_is_refused_with_what_to_do_instead() -> None:
    with pytest.raises(BadImageError, match=r"not supported.*registry"):
        complete_reference("oci-layout:///srv/image")


def test_a_digest_pins_a_reference_and_replaces_another() -> None:
    assert pinned_reference("a.example/b:1", DIGEST) == f"a.example/b:1@{DIGEST}"
    assert pinned_reference(f"a.example/b@{DIGEST}", DIGEST) == f"a.example/b@{DIGEST}"
    assert pinned_reference("a.example/b:1", "") == "a.example/b:1"


def test_an_image_configuration_gives_environment_and_user() -> None:
    document = {"architecture": "arm64", "config": {"Env": ["A=b=c", "E="], "User": "builder"}}

    config = parse_config(json.dumps(document).encode())

    assert config == ImageConfig(
        environment={"A": "b=c", "E": ""}, user="builder", architecture="arm64"
    )


def test_an_image_configuration_may_say_nothing() -> None:
    assert parse_config(b"{}") == ImageConfig(environment={}, user="", architecture="")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"config": {"Env": [1]}}', b"\xff"])
def test_a_broken_image_configuration_is_refused(content: bytes) -> None:
    with pytest.raises(BadImageError):
        parse_config(content)


@pytest.mark.parametrize(
    ("user", "owner", "home"),
    [
        ("", ROOT, "/root"),
        ("root", ROOT, "/root"),
        ("builder", Owner(uid=1000, gid=1001), "/home/builder"),
        ("1000", Owner(uid=1000, gid=1001), "/home/builder"),
        ("builder:wheel", Owner(uid=1000, gid=10), "/home/builder"),
        ("1000:77", Owner(uid=1000, gid=77), "/home/builder"),
        ("4242", Owner(uid=4242, gid=0), "/"),
    ],
)
def test_a_user_is_resolved_by_the_images_own_files(user: str, owner: Owner, home: str) -> None:
    assert resolve_user(user, passwd=PASSWD, group=GROUP) == User(owner=owner, home=home)


@pytest.mark.parametrize("user", ["nobody", "builder:nogroup"])
def test_an_unknown_user_or_group_is_refused(user: str) -> None:
    with pytest.raises(BadImageError, match="is not in its"):
        resolve_user(user, passwd=PASSWD, group=GROUP)


def test_the_steps_environment_covers_the_images_which_covers_the_usual() -> None:
    config = ImageConfig(environment={"PATH": "/image", "B": "image"}, user="", architecture="")
    user = User(owner=ROOT, home="/root")

    environment = step_environment(config, user, {"B": "step"}, attempt_id="a-1")

    assert environment == {
        "PATH": "/image",
        "HOME": "/root",
        "B": "step",
        "PUSHROD_WORKSPACE": "/workspace",
        "PUSHROD_OUTPUT": "/.pushrod/record/values",
        "PUSHROD_ATTEMPT_ID": "a-1",
    }
