"""Whose images are whose at registries that all accounts share."""

from __future__ import annotations

import re

import pytest

from pipelines_schema.own_registries import OwnRegistries

ALPHA = OwnRegistries(
    registries=["127.0.0.1:5000", "images.example/ci"],
    account="alpha",
    public=["docker://127.0.0.1:5000/beta/open:1"],
)
OWN_OR_ELSEWHERE = [
    "127.0.0.1:5000/alpha/tool:1",
    "127.0.0.1:5000/alpha/a/b/c:1",
    "localhost:5000/alpha/tool:1",
    "127.0.0.1:5001/beta/tool:1",
    "registry.example:5000/beta/tool:1",
    "images.example/beta/tool:1",
    "images.example/ci/alpha/tool:1",
    "images.example/cinema/tool:1",
    "debian:12",
    "beta/tool:1",
]
ANOTHERS = [
    "127.0.0.1:5000/beta/tool:1",
    "127.0.0.1:5000/beta/tool",
    "127.0.0.1:5000/beta/tool@sha256:" + "a" * 64,
    "127.0.0.1:5000/tool:1",
    "127.0.0.1:5000/alpha:1",
    "127.0.0.1:5000/alphabet/tool:1",
    "docker://127.0.0.1:5000/beta/tool:1",
    "images.example/ci/beta/tool:1",
    "Images.Example/ci/beta/tool:1",
    "images.example:443/ci/beta/tool:1",
    "images.example:80/ci/beta/tool:1",
]
SPELT_OTHERWISE = [
    f"{host}/beta/tool:1"
    for host in (
        *("localhost:5000", "LOCALHOST:5000", "a.localhost:5000", "127.0.0.1:05000"),
        *("127.1:5000", "127.0.0.2:5000", "0.0.0.0:5000", "0:5000", "0x7f000001:5000"),
        *("2130706433:5000", "[::1]:5000", "[::ffff:127.0.0.1]:5000", "017700000001:5000"),
        *("[0:0:0:0:0:ffff:7f00:1]:5000", "[0::FFFF:7f00:1]:5000"),
    )
]


def may_fetch(rule: OwnRegistries, source: str) -> bool:
    """As an engine decides it."""
    allowed = True
    for action, pattern in rule.source_rules():
        if re.search(pattern, source):
            allowed = action
    return allowed


@pytest.mark.parametrize("reference", OWN_OR_ELSEWHERE)
def test_an_account_pushes_to_and_reads_its_own_folder_and_other_registries(reference: str) -> None:
    assert ALPHA.push_problem(reference) is None
    assert ALPHA.pull_problem(reference) is None


@pytest.mark.parametrize("reference", [*ANOTHERS, *SPELT_OTHERWISE])
def test_what_is_another_accounts_is_refused_however_it_is_spelt(reference: str) -> None:
    push, pull = ALPHA.push_problem(reference), ALPHA.pull_problem(reference)

    assert push is not None
    assert push.startswith("is not your account's to push to: write `")
    assert pull is not None
    assert pull.startswith("is not your account's to read: write `")


@pytest.mark.parametrize("reference", [*ANOTHERS[:2], *ANOTHERS[7:], *SPELT_OTHERWISE])
def test_an_engine_is_told_to_fetch_nothing_of_another_account(reference: str) -> None:
    assert not may_fetch(ALPHA, f"docker-image://{reference}")


@pytest.mark.parametrize(
    "source",
    [
        "http://127.0.0.1:5000/v2/beta/tool/manifests/1",
        "http://user:word@localhost:5000/v2/beta/tool/manifests/1",
        "http://a:b@c@127.0.0.1:5000/v2/beta/tool/manifests/1",
        "http://①②⑦.0.0.1:5000/v2/beta/tool/manifests/1",
        "http://127。0.0.1:5000/v2/beta/tool/manifests/1",
        "http://[::1%25lo]:5000/v2/beta/tool/manifests/1",
        "http://127.0.0.1:5000?/v2/",
        "http://127.0.0.1:5000#/v2/",
        "http://127.0.0.1:5000",
        "git://127.0.0.1:5000/v2/beta",
        "https://images.example/v2/ci/beta/tool/manifests/1",
        "https://images.example.:443/v2/ci/beta/tool/manifests/1",
        "https://images.example:/v2/ci/beta/tool/manifests/1",
        "https://images.example/v2/%63i/beta/tool/manifests/1",
        "https://images.example//v2/ci/beta/tool/manifests/1",
        "https://images.example/x/../v2/ci/beta/tool/manifests/1",
    ],
)
def test_an_engine_is_told_not_to_read_the_registry_as_a_plain_site(source: str) -> None:
    assert not may_fetch(ALPHA, source)


@pytest.mark.parametrize(
    "source",
    [
        "https://images.example/downloads/tool.tar",
        "https://example.org:443/ci/tool.tar?a=%20b",
        "http://site.example:5000x/tool",
        "git://git.example/team/tool.git",
        "docker-image://docker.io/library/debian:12@sha256:" + "a" * 64,
    ],
)
def test_an_engine_may_fetch_what_is_elsewhere(source: str) -> None:
    assert may_fetch(ALPHA, source)


def test_a_registry_that_is_named_with_its_default_port_is_the_one_without() -> None:
    alpha = OwnRegistries(registries=["images.example:443"], account="alpha")
    for host in ("images.example:443", "images.example"):
        assert may_fetch(alpha, f"docker-image://{host}/alpha/tool:1")
        assert not may_fetch(alpha, f"docker-image://{host}/beta/tool:1")
        assert alpha.push_problem(f"{host}/alpha/tool:1") is None
        assert alpha.pull_problem(f"{host}/beta/tool:1") is not None


@pytest.mark.parametrize("reference", [OWN_OR_ELSEWHERE[0], *OWN_OR_ELSEWHERE[3:]])
def test_an_engine_may_fetch_what_the_account_may_read(reference: str) -> None:
    assert may_fetch(ALPHA, f"docker-image://{reference}")


def test_the_operators_images_are_everybodys_to_read_and_nobodys_to_push() -> None:
    base = "127.0.0.1:5000/pushrod/debian:12"
    namesake = OwnRegistries(registries=["127.0.0.1:5000"], account="pushrod")

    assert ALPHA.pull_problem(base) is None
    assert may_fetch(ALPHA, f"docker-image://{base}")
    assert ALPHA.push_problem(base) is not None
    assert namesake.push_problem(base) is not None


def test_a_public_image_is_everybodys_to_read_by_its_tag_alone() -> None:
    opened = "127.0.0.1:5000/beta/open"
    for reference in (f"{opened}:1", f"{opened}:1@sha256:{'a' * 64}"):
        assert ALPHA.pull_problem(reference) is None
        assert may_fetch(ALPHA, f"docker-image://{reference}")
        assert ALPHA.push_problem(reference) is not None
    for other in (f"{opened}:2", opened, f"{opened}/x:1", f"{opened}:12"):
        assert ALPHA.pull_problem(other) is not None
        assert not may_fetch(ALPHA, f"docker-image://{other}")


@pytest.mark.parametrize("order", [1, -1])
def test_a_registry_within_another_has_folders_of_its_own(order: int) -> None:
    registries = ["127.0.0.1:5000", "127.0.0.1:5000/built"][::order]
    alpha = OwnRegistries(registries=registries, account="alpha")
    namesake = OwnRegistries(registries=registries, account="built")
    image = "127.0.0.1:5000/built/alpha/tool:1"

    assert alpha.push_problem(image) is None
    assert may_fetch(alpha, f"docker-image://{image}")
    assert namesake.push_problem(image) is not None
    assert not may_fetch(namesake, f"docker-image://{image}")


def test_the_problem_says_what_to_write() -> None:
    assert ALPHA.push_problem("images.example/ci/beta/tool:1") == (
        "is not your account's to push to: write `images.example/ci/alpha/tool`"
    )
