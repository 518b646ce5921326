"""Forges: what their webhooks say, and what their APIs are asked. Pure: one package per forge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coordinator.domain.model import Build, Project
from coordinator.domain.outbox.forge_place import guessed_forge
from coordinator.domain.pushes.repo_url import RefusedUrl, parse_url
from coordinator.forges.bitbucket.webhooks import Bitbucket
from coordinator.forges.forge import Forge, ForgeApi
from coordinator.forges.generic import Generic
from coordinator.forges.gitea.webhooks import Gitea
from coordinator.forges.github.webhooks import GitHub
from coordinator.forges.gitlab.webhooks import GitLab
from coordinator.forges.links import links_of, web_address
from coordinator.forges.payload import ParsedDelivery
from pipelines_schema import Watch

_ALL: Sequence[Forge] = (Generic(), Gitea(), GitHub(), GitLab(), Bitbucket())
"""Gitea before GitHub, whose headers it sends, too."""
FORGES: Mapping[str, Forge] = {forge.name: forge for forge in _ALL}
"""By the name that stands in the webhook's path."""
APIS: Mapping[str, ForgeApi] = {api.name: api for forge in _ALL for api in forge.apis}
"""By the name of the kind, of which some forges have two."""


def forge_of(named: str | None, repo_url: str | None) -> Forge:
    """Whose a project's repository is: as the project says, else by the repository's host."""
    if named is not None and named in FORGES:
        return FORGES[named]
    try:
        kind = guessed_forge(APIS, repo_url or "", None)
    except RefusedUrl:
        kind = None
    return receiver_of(kind)


def receiver_of(kind: str | None) -> Forge:
    """Who reads the webhooks of such a forge, by the name of its kind."""
    kinds = {api.name: forge for forge in _ALL for api in forge.apis}
    return kinds.get(kind or "", FORGES["generic"])


def sender_of(headers: Mapping[str, str], addressed: Forge) -> Forge:
    """Who sent a webhook: as its headers say, else the one to whose address it came."""
    return next((forge for forge in _ALL if forge.recognises(headers)), addressed)


def webhook_url(base: str, forge: Forge, project_id: str) -> str:
    return f"{base}/api/webhooks/{forge.name}/{project_id}"


def build_links(project: Project, build: Build) -> Mapping[str, str]:
    """Where its forge shows what the build was made for; nothing for one that is no forge."""
    try:
        address = web_address(parse_url(project.repo_url or ""))
    except RefusedUrl:
        return {}
    page = forge_of(project.forge, project.repo_url).page(address) if address else None
    return links_of(page, build) if page is not None else {}


def parse_delivery(
    watch: Watch, name: str, headers: Mapping[str, str], body: bytes
) -> ParsedDelivery:
    """For a process of its own: the values of a large body take a second. Raises Unreadable."""
    return FORGES[name].parse(headers, body)
