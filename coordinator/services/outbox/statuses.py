"""The status of a commit, at the project's forge: a check run where an App tells it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from coordinator.domain.model import Project
from coordinator.domain.outbox.calls import GONE, Outcome
from coordinator.domain.outbox.forge_place import Forges
from coordinator.domain.outbox.messages import Facts, Message
from coordinator.domain.outbox.recipients import Recipient
from coordinator.ports import OutgoingHttp
from coordinator.services.core import Core
from coordinator.services.outbox.asking import SEALED_ELSEWHERE, ask, without
from coordinator.services.outbox.checks import Checks
from coordinator.services.outbox.forge_tokens import place_of
from coordinator.services.sealing import NotSealedHere


@dataclass(frozen=True, slots=True)
class Statuses:
    core: Core
    http: OutgoingHttp
    forges: Forges
    checks: Checks

    async def deliver(
        self, message: Message, recipient: Recipient | None, project: Project
    ) -> Outcome:
        if recipient is None:
            return GONE
        try:
            place, app = place_of(self.core, recipient, project)
        except NotSealedHere:
            return SEALED_ELSEWHERE
        facts = Facts.from_json(message.facts)
        link = f"{self.core.public_url}/builds/{message.build_id}"
        if facts.step is not None:
            link += f"#step={quote(facts.step, safe='')}"
        if app is not None:
            return await self.checks.deliver(message, place, app, facts, link)
        forge = self.forges[recipient.forge or ""]
        call = forge.set_status(place, facts, link)
        outcome = await ask(self.http, call, lambda reply: forge.read(reply, self.core.now()))
        return without(place.secret, outcome)
