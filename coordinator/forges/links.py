"""Where a forge shows what a build was made for. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from coordinator.domain.model import Build
from coordinator.domain.pushes.repo_url import DEFAULT_PORTS, RemoteUrl

_EMAIL = re.compile(r"<([^<>\s]{1,300})>\s*$")
_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryPage:
    """A repository's page, and what is below it: paths in which `{commit}`, `{branch}`, `{tag}`,
    `{pull}` and `{email}` (the author's) are replaced; None where the forge has no such page."""

    address: str
    commit: str
    branch: str
    tag: str
    pull_request: str
    author: str | None = None


def links_of(page: RepositoryPage, build: Build) -> Mapping[str, str]:
    """The addresses of what the build has, by RepositoryPage's names.

    A fork's branch is not the project's, so there is no link to it.
    """
    email = _EMAIL.search(build.commit_author or "")
    values = {
        "commit": build.commit_hash,
        "branch": None if build.of_fork else build.branch,
        "tag": build.tag,
        "pull": str(build.pull_request.number) if build.pull_request else None,
        "email": email[1] if email else None,
    }
    paths = {
        "commit": page.commit,
        "branch": page.branch,
        "tag": page.tag,
        "pull_request": page.pull_request,
        "author": page.author,
    }
    filled = {name: _filled(path, values) for name, path in paths.items() if path is not None}
    return {name: page.address + path for name, path in filled.items() if path is not None}


def _filled(path: str, values: Mapping[str, str | None]) -> str | None:
    """None where the build lacks something that stands in it."""
    if any(not values[name] for name in _FIELD.findall(path)):
        return None
    query = path.find("?")

    def escaped(match: re.Match[str]) -> str:
        in_path = query < 0 or match.start() < query
        return quote(values[match[1]] or "", safe="/" if in_path else "", errors="replace")

    return _FIELD.sub(escaped, path)


def web_address(url: RemoteUrl) -> str | None:
    """Of a repository's page, from where it is cloned; None for a file."""
    if url.scheme == "file":
        return None
    host = f"[{url.host}]" if ":" in url.host else url.host
    scheme = "http" if url.scheme == "http" else "https"
    # The port of ssh says nothing about the page's.
    own_port = url.scheme != "ssh" and url.port != DEFAULT_PORTS[scheme]
    path = unquote(url.path).strip("/").removesuffix(".git")
    return f"{scheme}://{host}{f':{url.port}' if own_port else ''}/{quote(path, safe='/~@:+,=')}"
