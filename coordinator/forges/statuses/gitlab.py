"""GitLab: docs.gitlab.com/api/commits, "Set commit pipeline status". Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote

from coordinator.domain.outbox.calls import TAKEN, Call, Outcome, Reply, json_call, read_reply
from coordinator.domain.outbox.forge_place import ForgePlace
from coordinator.domain.outbox.messages import Facts, Status
from coordinator.forges.statuses.words import distinct, has_label, shortened

MAX_CHARACTERS = 255
STATES: Mapping[Status, str] = {
    Status.WAITING: "pending",
    Status.PENDING: "pending",
    Status.RUNNING: "running",
    Status.SUCCESS: "success",
    Status.FAILURE: "failed",
    Status.CANCELLED: "canceled",
}


class GitLab:
    name = "gitlab"

    def is_at(self, host: str) -> bool:
        return host == "gitlab.com" or has_label(host, "gitlab")

    def set_status(self, place: ForgePlace, facts: Facts, link: str) -> Call:
        body = {
            "state": STATES[facts.status],
            "name": distinct(facts.context),
            "target_url": link,
            "description": shortened(facts.words, MAX_CHARACTERS),
        }
        ref = facts.tag or facts.branch
        if ref and facts.pull_request is None:  # whose branch may be a fork's
            body["ref"] = ref
        project = quote(place.repository, safe="")
        url = f"{place.url}/api/v4/projects/{project}/statuses/{facts.commit}"
        return json_call("POST", url, {"PRIVATE-TOKEN": place.secret}, body)

    def read(self, reply: Reply, now: datetime) -> Outcome:
        """A state that the status has already is refused there: it was taken before."""
        if reply.status == 400 and b"Cannot transition status" in reply.body:
            return TAKEN
        return read_reply(reply, now)
