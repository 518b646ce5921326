"""Notifications: of what, to whom, in which words. Pure."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from coordinator.domain.model import Build, Project
from coordinator.domain.outbox.calls import Call, json_call
from coordinator.domain.outbox.messages import Facts, Message, RecipientKind, Status
from pipelines_schema import Notify, Occasion

SIGNATURE = "X-Pushrod-Signature-256"
_NAMESPACE = uuid.UUID("7f0e4f0e-3a57-4d0c-9a53-6f1f1b1d5d10")
_OCCASIONS: Mapping[Status, Sequence[Occasion]] = {
    Status.FAILURE: (Occasion.FAILED,),
    Status.SUCCESS: (Occasion.FIXED, Occasion.SUCCEEDED),
    Status.WAITING: (Occasion.WAITING,),
}
_VERBS = {
    Occasion.FAILED: "failed",
    Occasion.FIXED: "is fixed",
    Occasion.SUCCEEDED: "succeeded",
    Occasion.WAITING: "waits",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A build, as a notification shows it."""

    occasion: Occasion
    project: Project
    message: Message
    facts: Facts
    link: str

    @property
    def title(self) -> str:
        """One line, such as `shop/site: ci #7 failed on main`."""
        facts = self.facts
        where = f"{self.project.account_slug}/{self.project.slug}"
        at = facts.tag or facts.branch
        on = f" on {at}" if at else ""
        said = f"{where}: {facts.workflow} #{facts.number} {_VERBS[self.occasion]}{on}"
        return " ".join(said.split())


def occasions_of(build: Build, status: Status) -> Sequence[Occasion]:
    """Of which a build in that state may be one; what outsiders wrote is none."""
    return () if build.of_fork else _OCCASIONS.get(status, ())


def chosen(status: Status, on: Collection[str], *, broken_before: bool) -> Occasion | None:
    """What somebody who wants to hear of these is told; None where that is nothing."""
    for occasion in _OCCASIONS.get(status, ()):
        if occasion.value in on and (occasion is not Occasion.FIXED or broken_before):
            return occasion
    return None


def of_workflow(
    build: Build, facts: Facts, occasions: Sequence[Occasion]
) -> Sequence[tuple[str, RecipientKind, Facts]]:
    """A message for each address that the build's workflow names, with an id of the recipient."""
    found: dict[str, tuple[str, RecipientKind, Facts]] = {}
    for notify in build.notify:
        if set(notify.on).isdisjoint(occasions):
            continue
        for kind, name, told in _addressed(notify, facts):
            recipient_id = str(uuid.uuid5(_NAMESPACE, f"{build.project_id} {kind.value} {name}"))
            found.setdefault(recipient_id, (recipient_id, kind, told))
    return list(found.values())


def _addressed(notify: Notify, facts: Facts) -> Sequence[tuple[RecipientKind, str, Facts]]:
    on = [occasion.value for occasion in notify.on]
    if notify.webhook is not None:
        told = replace(facts, on=on, secret=notify.webhook)
        return [(RecipientKind.WEBHOOK, notify.webhook, told)]
    return [
        (RecipientKind.EMAIL, address, replace(facts, on=on, email=address))
        for address in notify.email
    ]


def webhook_call(url: str, secret: str, told: Told) -> Call:
    """JSON of which chats show `text`; signed over the body, as webhooks that come in are."""
    call = json_call("POST", url, {}, _payload(told))
    digest = hmac.new(secret.encode(), call.body, hashlib.sha256).hexdigest()
    headers = {
        **call.headers,
        "X-Pushrod-Event": told.occasion.value,
        "X-Pushrod-Delivery": str(told.message.id),
        SIGNATURE: f"sha256={digest}",
    }
    return replace(call, headers=headers)


def _payload(told: Told) -> dict[str, Any]:
    facts = told.facts
    build = {
        "id": told.message.build_id,
        "number": facts.number,
        "url": told.link,
        "status": facts.status.value,
        "words": facts.words,
        "workflow": facts.workflow,
        "event": facts.event,
        "commitHash": facts.commit,
        "branch": facts.branch,
        "tag": facts.tag,
        "pullRequest": facts.pull_request,
        "startedAt": facts.started_at,
        "finishedAt": facts.finished_at,
    }
    project = told.project
    return {
        "text": f"{escaped(told.title)}: {escaped(facts.words)}\n{told.link}",
        "event": told.occasion.value,
        "project": {"id": project.id, "account": project.account_slug, "slug": project.slug},
        "build": {name: value for name, value in build.items() if value is not None},
    }


def escaped(text: str) -> str:
    """For a chat: what stands in `<…>` would call people."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def mail_text(told: Told) -> str:
    facts = told.facts
    lines = [told.title, facts.words, "", told.link]
    if facts.commit:
        lines.append(f"commit {facts.commit}")
    return "\n".join(lines) + "\n"
