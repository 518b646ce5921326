"""Where a project's forge takes statuses, and the forge as a class. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from urllib.parse import urlsplit

from coordinator.domain.errors import Invalid
from coordinator.domain.outbox.calls import Call, Outcome, Reply
from coordinator.domain.outbox.messages import Facts
from coordinator.domain.pushes.repo_url import DEFAULT_PORTS, RefusedUrl, RemoteUrl, parse_url


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgePlace:
    """One repository at its forge, and the token for it."""

    url: str
    """The forge's own, without a slash at its end."""
    repository: str
    """Its path there: `owner/name`, on GitLab with all groups."""
    token: str = field(repr=False)
    """TOKEN or USER:TOKEN."""

    @property
    def secret(self) -> str:
        return self.token.rpartition(":")[2]


class StatusForge(Protocol):
    """One kind of forge, to which statuses of commits are told."""

    @property
    def name(self) -> str: ...

    @property
    def family(self) -> str:
        """As projects say whose their repository is: some forges are of two kinds."""

    def is_at(self, host: str) -> bool:
        """Whether the forge at a host is surely of this kind, by its name."""

    def set_status(self, place: ForgePlace, facts: Facts, link: str) -> Call:
        """Of the facts' commit; `link` is the build's page. A repeat changes nothing."""

    def read(self, reply: Reply, now: datetime) -> Outcome: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AppKey:
    """Of a GitHub App."""

    id: int
    key: str = field(repr=False)
    """Its private one, PEM."""


class CheckForge(Protocol):
    """The forge of which Apps make check runs."""

    def find_installation(self, place: ForgePlace) -> Call: ...

    def get_token(self, place: ForgePlace, installation: int) -> Call: ...

    def find_checks(self, place: ForgePlace, facts: Facts) -> Call:
        """Of the facts' commit and context, some of the newest."""

    def check_in(self, reply: Reply, build_id: str) -> int | None:
        """The id of the build's, among those that were found."""

    def set_check(
        self, place: ForgePlace, facts: Facts, link: str, build_id: str, check: int | None
    ) -> Call: ...

    def id_of(self, reply: Reply) -> int | None: ...

    def token_of(self, reply: Reply) -> str | None: ...


Forges = Mapping[str, StatusForge]
"""By name."""


def guessed_forge(forges: Forges, repo_url: str, said: str | None) -> str | None:
    """As the project says whose its repository is, else by the host's name; None where neither
    tells. Of a family the host tells which, else it is the first: a server of one's own."""
    host = parse_url(repo_url).host
    by_host = next((name for name, forge in forges.items() if forge.is_at(host)), None)
    family = [name for name, forge in forges.items() if forge.family == said]
    return by_host if by_host in family or not family else family[0]


def forge_url_of(repo_url: str) -> str:
    """The forge's own address, where it is at the root of the repository's host."""
    url = parse_url(repo_url)
    if url.scheme not in ("http", "https", "ssh"):
        raise Invalid(f"{repo_url} is not at a forge: name the forge's own address (--forge-url)")
    scheme = url.scheme if url.scheme == "http" else "https"
    host = f"[{url.host}]" if ":" in url.host else url.host
    plain = url.scheme == "ssh" or url.port == DEFAULT_PORTS[scheme]
    return f"{scheme}://{host}" + ("" if plain else f":{url.port}")


def checked_forge_url(text: str) -> str:
    """An http or https address, which may have a path. Raises Invalid."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise Invalid("the forge's address must be as https://forge.example")
    try:
        return parse_url(text.rstrip("/") + "/root").text.removesuffix("/root")
    except RefusedUrl as error:
        raise Invalid(f"the forge's address: {error}") from error


def repository_at(repo_url: str, forge_url: str) -> str:
    """The repository's path below the forge's address."""
    url: RemoteUrl = parse_url(repo_url)
    path = url.path.strip("/").removesuffix(".git")
    below = urlsplit(forge_url).path.strip("/")
    return path.removeprefix(f"{below}/") if below else path
