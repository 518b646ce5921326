"""Asking other people's servers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from coordinator.domain.outbox.calls import Answered, Call, Outcome, Reply, read_reply
from coordinator.ports import OutgoingHttp, RemoteFailed

SEALED_ELSEWHERE = Outcome(
    answered=Answered.REFUSED,
    reason="it was encrypted with another key than the coordinator's: set it again",
)


async def ask(http: OutgoingHttp, call: Call, read: Callable[[Reply], Outcome]) -> Outcome:
    """An answer that never came may have been a yes: it is asked again."""
    try:
        return read(await http.send(call))
    except RemoteFailed as error:
        answered = Answered.REFUSED if error.permanent else Answered.BUSY
        return Outcome(answered=answered, reason=str(error))


async def ask_for_reply(
    http: OutgoingHttp, call: Call, now: datetime
) -> tuple[Outcome, Reply | None]:
    """The reply too, where it was a yes."""
    replies: list[Reply] = []

    def read(reply: Reply) -> Outcome:
        replies.append(reply)
        return read_reply(reply, now)

    outcome = await ask(http, call, read)
    return outcome, replies[0] if outcome.answered is Answered.TAKEN else None


def without(secret: str, outcome: Outcome) -> Outcome:
    """A server may repeat what it was sent."""
    if outcome.reason is None or secret not in outcome.reason:
        return outcome
    return replace(outcome, reason=outcome.reason.replace(secret, "***"))
