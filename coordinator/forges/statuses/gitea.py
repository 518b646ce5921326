"""Gitea and Forgejo: `repoCreateStatus` of their API. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from coordinator.domain.outbox.calls import Call, Outcome, Reply, json_call, read_reply
from coordinator.domain.outbox.forge_place import ForgePlace
from coordinator.domain.outbox.messages import Facts
from coordinator.forges.statuses.github import STATES
from coordinator.forges.statuses.words import distinct, has_label, shortened

MAX_DESCRIPTION_CHARACTERS = 255
_KNOWN = {"codeberg.org": "forgejo", "gitea.com": "gitea"}


@dataclass(frozen=True, slots=True)
class Gitea:
    """Both speak the same; people know them by two names."""

    name: str

    def is_at(self, host: str) -> bool:
        return _KNOWN.get(host) == self.name or has_label(host, self.name)

    def set_status(self, place: ForgePlace, facts: Facts, link: str) -> Call:
        body = {
            "state": STATES[facts.status],
            "target_url": link,
            "description": shortened(facts.words, MAX_DESCRIPTION_CHARACTERS),
            "context": distinct(facts.context),
        }
        url = f"{place.url}/api/v1/repos/{quote(place.repository)}/statuses/{facts.commit}"
        return json_call("POST", url, {"Authorization": f"token {place.secret}"}, body)

    def read(self, reply: Reply, now: datetime) -> Outcome:
        return read_reply(reply, now)
