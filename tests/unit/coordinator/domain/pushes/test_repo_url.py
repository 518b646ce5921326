from __future__ import annotations

import ipaddress

import pytest

from coordinator.domain.pushes.repo_url import (
    RefusedUrl,
    RemotePolicy,
    check_policy,
    is_public,
    parse_url,
    same_repository,
)

NOTHING = RemotePolicy()
ALL = RemotePolicy(http=True, file=True, private_addresses=True)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("https://GitHub.com/anna/shop.git", "https://github.com/anna/shop.git"),
        ("https://git.example.org:8443/a", "https://git.example.org:8443/a"),
        ("git@github.com:anna/shop.git", "git@github.com:anna/shop.git"),
        ("host.example:/srv/a.git", "ssh://git@host.example/srv/a.git"),
        ("ssh://bob@git.example.org:2222/~bob/a", "ssh://bob@git.example.org:2222/~bob/a"),
        ("ssh://git.example.org/a", "ssh://git@git.example.org/a"),
        ("https://[2001:db8::1]/a", "https://[2001:db8::1]/a"),
        ("file:///srv/git/a.git", "file:///srv/git/a.git"),
    ],
)
def test_a_url_as_git_is_given_it(given: str, text: str) -> None:
    assert parse_url(given).text == text


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop",
        "/srv/git/shop.git",
        "../other.git",
        "ext::sh -c id",
        "ext::id",
        "-host:a",
        "host:../a",
        "host:-a",
        "git://github.com/a/b",
        "ftp://x/y",
        "-oProxyCommand=id:x",
        "ssh://-oProxyCommand=id/x",
        "ssh://git@-oProxyCommand=id/x",
        "https://user@github.com/a/b",
        "https://user:token@github.com/a/b",
        "https://github.com",
        "https:///a/b",
        "https://github.com/a b",
        "https://github.com/a\n",
        "https://github.com/a?x=1",
        "https://github.com/a#x",
        "https://github.com:99999/a",
        "https://github.com/a/../../b",
        "ssh://git@host/a;id",
        "ssh://git@host/$(id)",
        "ssh://git@host/'a'",
        "ssh://a b@host/x",
        "file://other/srv",
        "file:///",
        "file:///srv/../etc",
        "https://github.com/" + "a" * 2000,
        "https://githüb.com/\ud800",
    ],
)
def test_what_is_no_repositorys_url_is_refused(url: str) -> None:
    with pytest.raises(RefusedUrl):
        parse_url(url)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://github.com/a/b", "allow_http_repositories"),
        ("file:///srv/git/a.git", "allow_file_repositories"),
        ("https://localhost/a", "allow_private_addresses"),
        ("https://127.0.0.1/a", "allow_private_addresses"),
        ("https://[::1]/a", "allow_private_addresses"),
        ("https://[::ffff:10.0.0.1]/a", "allow_private_addresses"),
        ("ssh://git@192.168.1.2/a", "allow_private_addresses"),
        ("https://169.254.169.254/latest", "allow_private_addresses"),
    ],
)
def test_what_only_the_operator_may_allow_is_refused_by_the_settings_name(
    url: str, word: str
) -> None:
    with pytest.raises(RefusedUrl, match=word):
        check_policy(parse_url(url), NOTHING)
    check_policy(parse_url(url), ALL)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "224.0.0.1",
        "fe80::1",
        "fd00::1",
        "::",
        "ff02::1",
        "64:ff9b::10.0.0.1",
        "2002:7f00:1::",
        "2001:0:1::1",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["140.82.121.3", "2606:50c0:8000::153", "64:ff9b::8c52:7903"])
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_one_repository_has_several_urls() -> None:
    assert same_repository("git@github.com:a/B.git", "https://github.com/A/b/")
    assert same_repository("https://anna@git.example.org/a/b", "https://git.example.org/a/b.git")
    assert same_repository("git://github.com/a/b.git", "https://github.com/a/b")
    assert same_repository("file:///srv/a.git", "file:///srv//a")
    assert not same_repository("file:///srv/a", "file:///srv/A")
    assert not same_repository("https://github.com/a/b", "https://gitlab.com/a/b")
    assert not same_repository("nonsense", "nonsense")
