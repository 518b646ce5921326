"""The status of a commit, at the project's forge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from coordinator.domain.model import Project
from coordinator.domain.outbox.calls import GONE, Answered, Call, Outcome, Reply
from coordinator.domain.outbox.forge_place import Forges
from coordinator.domain.outbox.messages import Facts, Message
from coordinator.domain.outbox.recipients import Recipient
from coordinator.ports import OutgoingHttp, RemoteFailed
from coordinator.services.core import Core
from coordinator.services.outbox.forge_tokens import place_of
from coordinator.services.sealing import NotSealedHere

SEALED_ELSEWHERE = Outcome(
    answered=Answered.REFUSED,
    reason="it was encrypted with another key than the coordinator's: set it again",
)


@dataclass(frozen=True, slots=True)
class Statuses:
    core: Core
    http: OutgoingHttp
    forges: Forges

    async def deliver(
        self, message: Message, recipient: Recipient | None, project: Project
    ) -> Outcome:
        if recipient is None:
            return GONE
        forge = self.forges[recipient.forge or ""]
        try:
            place = place_of(self.core, recipient, project)
        except NotSealedHere:
            return SEALED_ELSEWHERE
        link = f"{self.core.public_url}/builds/{message.build_id}"
        call = forge.set_status(place, Facts.from_json(message.facts), link)
        outcome = await ask(self.http, call, lambda reply: forge.read(reply, self.core.now()))
        return without(place.secret, outcome)


async def ask(http: OutgoingHttp, call: Call, read: Callable[[Reply], Outcome]) -> Outcome:
    """An answer that never came may have been a yes: it is asked again."""
    try:
        return read(await http.send(call))
    except RemoteFailed as error:
        answered = Answered.REFUSED if error.permanent else Answered.BUSY
        return Outcome(answered=answered, reason=str(error))


def without(secret: str, outcome: Outcome) -> Outcome:
    """A server may repeat what it was sent."""
    if outcome.reason is None or secret not in outcome.reason:
        return outcome
    return replace(outcome, reason=outcome.reason.replace(secret, "***"))
