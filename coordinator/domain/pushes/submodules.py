"""Submodules: what a commit declares, and which repository a URL of `.gitmodules` means. Pure.

Where a submodule lies in the work tree is told by the commit's trees alone; `.gitmodules`, which
anybody may have written, only tells URLs, and they pass the same rules as a project's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from coordinator.domain.pushes.repo_url import RefusedUrl, RemoteUrl, parse_url

MAX_SUBMODULES = 200
"""Of one commit, those within submodules counted."""
MAX_DEPTH = 10

_GIT_FOLDER = "git"


class UnreadableSubmodules(ValueError):
    """`.gitmodules` is not one; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One section of `.gitmodules`."""

    path: str
    url: str
    skipped: bool
    """`update = none`: the folder stays empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredSubmodule(Declaration):
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedPlace:
    """A repository at this coordinator, by slugs."""

    account: str
    project: str

    @property
    def text(self) -> str:
        return f"/git/{self.account}/{self.project}.git"


Place = HostedPlace | RemoteUrl


def declarations(config: bytes) -> list[Declaration]:
    """The sections of `.gitmodules` from what `git config --list -z` says of it.

    Raises UnreadableSubmodules.
    """
    sections: dict[str, dict[str, str]] = {}
    for name, key, value in _settings(config):
        sections.setdefault(name, {})[key] = value
    return [_declaration(name, values) for name, values in sections.items() if values.get("path")]


def _settings(config: bytes) -> Iterator[tuple[str, str, str]]:
    try:
        entries = config.decode().split("\0")
    except UnicodeDecodeError as error:
        raise UnreadableSubmodules(".gitmodules is not UTF-8") from error
    for entry in entries:
        full, _, value = entry.partition("\n")
        section, _, rest = full.partition(".")
        name, _, key = rest.rpartition(".")
        if section == "submodule" and name:
            yield name, key, value


def _declaration(name: str, values: dict[str, str]) -> Declaration:
    path = values["path"].rstrip("/")
    if not path.isprintable() or not values.get("url", "").isprintable():
        raise UnreadableSubmodules(f"the submodule {name!r} has a control character in its path")
    return Declaration(path=path, url=values.get("url", ""), skipped=values.get("update") == "none")


def place_of(parent: Place, url: str, public_url: str) -> Place:
    """Where a submodule's URL leads from its parent's repository. Raises RefusedUrl."""
    if not url:
        raise RefusedUrl("it has no url in .gitmodules")
    if url.startswith(("./", "../")):
        return _relative(parent, url)
    here = f"{public_url}/{_GIT_FOLDER}/"
    if url.startswith(here):
        return _hosted([_GIT_FOLDER, *_segments(url.removeprefix(here))])
    # Some forges show clone URLs with the reader's name in them; it has no meaning for others.
    return parse_url(re.sub(r"^(https?://)[^/@:]+@", r"\1", url))


def _relative(parent: Place, url: str) -> Place:
    base = parent.text if isinstance(parent, HostedPlace) else parent.path
    segments = _segments(base)
    for part in url.split("/"):
        if part == "..":
            if not segments:
                raise RefusedUrl(f"{url} leads above the root of its host")
            segments.pop()
        elif part not in ("", "."):
            segments.append(part)
    if isinstance(parent, HostedPlace):
        return _hosted(segments)
    absolute = "/" if parent.path.startswith("/") else ""
    return parse_url(replace(parent, path=absolute + "/".join(segments)).text)


def _segments(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _hosted(segments: list[str]) -> HostedPlace:
    if len(segments) != 3 or segments[0] != _GIT_FOLDER or ".." in segments:
        raise RefusedUrl(
            "it leads to no project of this coordinator: write ../PROJECT.git for another of the "
            "same account"
        )
    return HostedPlace(account=segments[1], project=segments[2].removesuffix(".git"))


def same_host(one: Place, other: RemoteUrl) -> bool:
    """Whether a credential for `other` may be sent to `one`."""
    return isinstance(one, RemoteUrl) and (one.scheme, one.host, one.port) == (
        other.scheme,
        other.host,
        other.port,
    )
