"""GitHub's check runs, which an App alone may make: docs.github.com/rest/checks/runs. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from coordinator.domain.outbox.calls import Call, Reply, get, json_call
from coordinator.domain.outbox.forge_place import ForgePlace
from coordinator.domain.outbox.messages import Facts, Status
from coordinator.forges.github.api import api_url, headers, repository_url
from coordinator.forges.words import distinct, shortened

MAX_TITLE_CHARACTERS = 255
MAX_MESSAGE_CHARACTERS = 10_000
MAX_CHECKS_LOOKED_AT = 10
"""Each has some 4 KB; there is one for each build of the commit."""
_STATUSES = {Status.WAITING: "queued", Status.PENDING: "queued", Status.RUNNING: "in_progress"}
_CONCLUSIONS = {
    Status.SUCCESS: "success",
    Status.FAILURE: "failure",
    Status.CANCELLED: "cancelled",
}


class GitHubChecks:
    """`place.token` is the App's signed one for the first two calls, then the installation's."""

    def find_installation(self, place: ForgePlace) -> Call:
        return get(f"{repository_url(place)}/installation", headers(place.token))

    def get_token(self, place: ForgePlace, installation: int) -> Call:
        url = f"{api_url(place.url)}/app/installations/{installation}/access_tokens"
        return json_call("POST", url, headers(place.token), {"permissions": {"checks": "write"}})

    def find_checks(self, place: ForgePlace, facts: Facts) -> Call:
        query = urlencode(
            {
                "check_name": distinct(facts.context),
                "filter": "all",
                "per_page": MAX_CHECKS_LOOKED_AT,
            }
        )
        url = f"{repository_url(place)}/commits/{facts.commit}/check-runs?{query}"
        return get(url, headers(place.token))

    def check_in(self, reply: Reply, build_id: str) -> int | None:
        runs = _read(reply).get("check_runs")
        found = [run for run in runs if isinstance(run, dict)] if isinstance(runs, list) else []
        ids = [run.get("id") for run in found if run.get("external_id") == build_id]
        return next((id_ for id_ in ids if isinstance(id_, int)), None)

    def set_check(
        self, place: ForgePlace, facts: Facts, link: str, build_id: str, check: int | None
    ) -> Call:
        """`check` is the run's id, where it was made before."""
        body: dict[str, Any] = {
            "name": distinct(facts.context),
            "details_url": link,
            "external_id": build_id,
            "output": {
                "title": shortened(facts.words, MAX_TITLE_CHARACTERS),
                "summary": facts.words,
                "annotations": _annotations(facts.problems or ()),
            },
        }
        if facts.status.is_over:
            body |= {"status": "completed", "conclusion": _CONCLUSIONS[facts.status]}
        else:
            body["status"] = _STATUSES[facts.status]
        if facts.started_at is not None:
            body["started_at"] = facts.started_at
        runs = f"{repository_url(place)}/check-runs"
        if check is not None:
            return json_call("PATCH", f"{runs}/{check}", headers(place.token), body)
        return json_call("POST", runs, headers(place.token), {**body, "head_sha": facts.commit})

    def id_of(self, reply: Reply) -> int | None:
        """Of an installation, or a check run."""
        found = _read(reply).get("id")
        return found if isinstance(found, int) else None

    def token_of(self, reply: Reply) -> str | None:
        found = _read(reply).get("token")
        return found if isinstance(found, str) and found else None


def _annotations(problems: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "path": problem["file"],
            "start_line": problem["line"],
            "end_line": problem["line"],
            "annotation_level": "failure",
            "message": shortened(problem["message"], MAX_MESSAGE_CHARACTERS),
        }
        for problem in problems
    ]


def _read(reply: Reply) -> Mapping[str, Any]:
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
