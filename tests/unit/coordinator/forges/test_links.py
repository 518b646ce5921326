"""Where each forge shows what a build was made for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.lifecycle import BuildState
from coordinator.domain.model import Build, Project, PullRequestRef
from coordinator.forges import FORGES, build_links

SHA = "9b8a7c6d5e4f30211203f4e5d6c7b8a990817263"
NOW = datetime(2026, 11, 28, tzinfo=UTC)


def project(repo_url: str | None, forge: str | None = None) -> Project:
    return Project(
        id="p",
        account_id="a",
        account_slug="acme",
        name="shop",
        slug="shop",
        repo_url=repo_url,
        build_count=0,
        created_at=NOW,
        updated_at=NOW,
        forge=forge,
    )


def build(**more: Any) -> Build:
    return Build(
        id="b",
        project_id="p",
        account_id="a",
        workflow_id=None,
        workflow_name="ci",
        number=1,
        state=BuildState.QUEUED,
        event="push",
        version=1,
        created_at=NOW,
        updated_at=NOW,
        commit_hash=SHA,
        **more,
    )


ALL = {
    "branch": "feature/größe #1",
    "tag": "v1.0+x",
    "commit_author": "Anna <anna+ci@example.org>",
    "pull_request": PullRequestRef(number=7, head="pears", base="main", fork=False),
}
BRANCH = "feature/gr%C3%B6%C3%9Fe%20%231"
GITHUB = {
    "commit": f"/commit/{SHA}",
    "branch": f"/tree/{BRANCH}",
    "tag": "/releases/tag/v1.0%2Bx",
    "pull_request": "/pull/7",
    "author": "/commits?author=anna%2Bci%40example.org",
}
GITEA = {
    "commit": f"/commit/{SHA}",
    "branch": f"/src/branch/{BRANCH}",
    "tag": "/src/tag/v1.0%2Bx",
    "pull_request": "/pulls/7",
    "author": f"/commits/branch/{BRANCH}/search?q=author:anna%2Bci%40example.org",
}
GITLAB = {
    "commit": f"/-/commit/{SHA}",
    "branch": f"/-/tree/{BRANCH}",
    "tag": "/-/tags/v1.0%2Bx",
    "pull_request": "/-/merge_requests/7",
    "author": "/-/commits/HEAD?author=anna%2Bci%40example.org",
}
CLOUD = {
    "commit": f"/commits/{SHA}",
    "branch": f"/branch/{BRANCH}",
    "tag": "/commits/tag/v1.0%2Bx",
    "pull_request": "/pull-requests/7",
}
DATA_CENTER = {
    "commit": f"/commits/{SHA}",
    "branch": f"/browse?at=refs/heads/{BRANCH.replace('/', '%2F')}",
    "tag": "/browse?at=refs/tags/v1.0%2Bx",
    "pull_request": "/pull-requests/7",
}


@pytest.mark.parametrize(
    ("url", "forge", "page", "paths"),
    [
        ("https://github.com/anna/shop.git", None, "https://github.com/anna/shop", GITHUB),
        ("git@github.com:anna/shop.git", None, "https://github.com/anna/shop", GITHUB),
        ("https://ghe.example.org/a/b", "github", "https://ghe.example.org/a/b", GITHUB),
        ("https://gitlab.com/a/b/c.git", None, "https://gitlab.com/a/b/c", GITLAB),
        ("http://git.example.org:3000/a/b", "gitea", "http://git.example.org:3000/a/b", GITEA),
        ("ssh://git@git.example.org:2222/a/b", "gitea", "https://git.example.org/a/b", GITEA),
        ("https://bitbucket.org/anna/shop.git", None, "https://bitbucket.org/anna/shop", CLOUD),
        (
            "https://bb.example.org/scm/shop/web.git",
            "bitbucket",
            "https://bb.example.org/projects/shop/repos/web",
            DATA_CENTER,
        ),
        (
            "https://example.org/bb/scm/~anna/web.git",
            "bitbucket",
            "https://example.org/bb/users/anna/repos/web",
            DATA_CENTER,
        ),
        (
            "ssh://git@bb.example.org:7999/shop/web.git",
            "bitbucket",
            "https://bb.example.org/projects/shop/repos/web",
            DATA_CENTER,
        ),
    ],
)
def test_each_forge_has_pages_of_what_a_build_was_made_for(
    url: str, forge: str | None, page: str, paths: dict[str, str]
) -> None:
    found = build_links(project(url, forge), build(**ALL))
    assert found == {name: page + path for name, path in paths.items()}


@pytest.mark.parametrize(
    ("url", "forge"),
    [
        (None, "github"),
        ("https://git.example.org/a/b", None),
        ("https://github.com/a/b", "generic"),
        ("file:///srv/git/shop.git", "gitea"),
        ("https://bb.example.org/shop", "bitbucket"),
    ],
)
def test_what_has_no_page_has_no_links(url: str | None, forge: str | None) -> None:
    assert build_links(project(url, forge), build(**ALL)) == {}


def test_there_are_only_links_to_what_a_build_has_and_never_to_a_forks_branch() -> None:
    shop = project("https://github.com/anna/shop")
    assert set(build_links(shop, build())) == {"commit"}
    fork = PullRequestRef(number=7, head="main", base="main", fork=True)
    theirs = build(branch="pull/7", pull_request=fork, commit_author="Eve")
    assert set(build_links(shop, theirs)) == {"commit", "pull_request"}


@given(text=st.text(min_size=1, max_size=40), forge=st.sampled_from(sorted(FORGES)))
def test_no_name_leaves_its_place_in_an_address(text: str, forge: str) -> None:
    shop = project("https://git.example.org/scm/anna/shop", forge)
    odd = build(branch=text, tag=text, commit_author=f"x <{text}>")
    for address in build_links(shop, odd).values():
        assert address.startswith("https://git.example.org/")
        assert address.isascii()
        assert not set(address) & set(" \"'<>\\#\n\t")
        assert address.count("?") <= 1
