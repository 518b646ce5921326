"""Which repository a submodule's URL means."""

from __future__ import annotations

import pytest

from coordinator.domain.pushes.repo_url import RefusedUrl, parse_url
from coordinator.domain.pushes.submodules import (
    Declaration,
    HostedPlace,
    UnreadableSubmodules,
    declarations,
    place_of,
    same_host,
)

HERE = "https://ci.example"


@pytest.mark.parametrize(
    ("parent", "url", "wanted"),
    [
        ("https://forge.example/anna/app.git", "../lib.git", "https://forge.example/anna/lib.git"),
        ("https://forge.example/anna/app.git", "../../bo/lib", "https://forge.example/bo/lib"),
        ("https://forge.example/anna/app/", "./../lib.git", "https://forge.example/anna/lib.git"),
        ("https://forge.example:8443/a/b.git", "../c.git", "https://forge.example:8443/a/c.git"),
        ("git@forge.example:anna/app.git", "../lib.git", "git@forge.example:anna/lib.git"),
        ("ssh://git@forge.example/a/b.git", "../c.git", "ssh://git@forge.example/a/c.git"),
        ("https://forge.example/a/b", "https://anna@other.example/c", "https://other.example/c"),
        ("https://forge.example/a/b", "git@other.example:c/d", "git@other.example:c/d"),
    ],
)
def test_a_relative_url_starts_from_the_parents_own(parent: str, url: str, wanted: str) -> None:
    place = place_of(parse_url(parent), url, HERE)
    assert place.text == wanted


@pytest.mark.parametrize(
    ("url", "account", "project"),
    [
        ("../lib.git", "acme", "lib"),
        ("../lib", "acme", "lib"),
        ("../../other/lib.git", "other", "lib"),
        ("https://ci.example/git/other/lib.git", "other", "lib"),
    ],
)
def test_a_project_here_is_named_by_its_slugs(url: str, account: str, project: str) -> None:
    parent = HostedPlace(account="acme", project="app")
    assert place_of(parent, url, HERE) == HostedPlace(account=account, project=project)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "..",
        "../",
        "../../../../etc",
        "../../../data/x",
        "../a/b.git",
        "ext::sh -c x",
        "--upload-pack=x",
        "-oProxyCommand=x:y",
        "ssh://-oProxyCommand=x/y",
        "file://host/etc",
        "https://user:word@host/x",
        "https://host/x?y",
        "https://host/../x",
        "https://ci.example/git/../../x",
        "https://ci.example/git/a/b/c",
        "host:$(touch x)",
        "git://host/x",
        "c:\\x",
        "http://[::1/x",
    ],
)
def test_what_leads_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(RefusedUrl):
        place_of(HostedPlace(account="acme", project="app"), url, HERE)


def test_a_relative_url_does_not_leave_its_host() -> None:
    with pytest.raises(RefusedUrl, match="above the root"):
        place_of(parse_url("https://forge.example/a/b.git"), "../../../other.example/x", HERE)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("https://forge.example/x/y", True),
        ("https://forge.example:8443/x/y", False),
        ("http://forge.example/x/y", False),
        ("ssh://git@forge.example/x/y", False),
        ("https://forge.example.evil/x/y", False),
    ],
)
def test_a_credential_is_for_its_scheme_host_and_port(other: str, same: bool) -> None:
    assert same_host(parse_url(other), parse_url("https://forge.example/a/b")) is same


def test_sections_of_gitmodules_are_read_by_their_last_values() -> None:
    config = (
        b"core.x\n1\0submodule.a.b.path\nlib\0submodule.a.b.url\n../x\0submodule.a.b.url\n../y\0"
        b"submodule.no.url\nz\0submodule.off.path\noff/\0submodule.off.update\nnone\0"
    )
    assert declarations(config) == [
        Declaration(path="lib", url="../y", skipped=False),
        Declaration(path="off", url="", skipped=True),
    ]


@pytest.mark.parametrize("config", [b"submodule.x.path\na\nb\0", b"submodule.x.path\n\xff\0"])
def test_a_path_that_no_line_can_hold_is_refused(config: bytes) -> None:
    with pytest.raises(UnreadableSubmodules):
        declarations(config)
