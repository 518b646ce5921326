"""Whom a project notifies of its builds, and how notifications leave."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from coordinator.domain.errors import Invalid, NotFound
from coordinator.domain.model import Project
from coordinator.domain.outbox.calls import GONE, Answered, Outcome, read_reply
from coordinator.domain.outbox.messages import Facts, Message, RecipientKind
from coordinator.domain.outbox.notifications import Told, chosen, mail_text, webhook_call
from coordinator.domain.outbox.recipients import Recipient
from coordinator.domain.people.permissions import Principal, Right
from coordinator.ports import Mailer, OutgoingHttp, RemoteFailed
from coordinator.services.core import Core, new_id
from coordinator.services.outbox.asking import SEALED_ELSEWHERE, ask, without
from coordinator.services.projects.sealed_things import SealedThings
from coordinator.services.projects.secrets import open_secrets
from coordinator.services.sealing import NotSealedHere
from coordinator.storage.builds.before import failed_before
from coordinator.storage.builds.builds import find_build
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outbox import recipients as stored
from coordinator.storage.outbox.messages import forget_recipient
from coordinator.storage.projects.sealed_things import RECIPIENTS
from pipelines_schema import Occasion, email_problem

MAX_RECIPIENTS = 50
"""Of one project."""
NO_MAIL = "the coordinator sends no e-mail: its operator sets smtp_server and mail_from"
NOTHING = Outcome(answered=Answered.NEEDLESS, reason="nothing was broken before")

_SEALED = SealedThings(
    table=RECIPIENTS,
    purpose="recipient {project_id} {id}",
    key=("id",),
    most=MAX_RECIPIENTS,
    too_many=f"the project notifies {MAX_RECIPIENTS} already: remove one first",
    set_action="notification.added",
    remove_action="notification.removed",
    noted=("id", "notification"),
)


@dataclass(frozen=True, slots=True)
class Notifications:
    core: Core
    http: OutgoingHttp
    mailer: Mailer | None
    """None where the operator named no mail server."""

    # Whom

    async def list_of(self, principal: Principal, project: Project) -> Sequence[Recipient]:
        principal.require(Right.MANAGE)
        found = await self.core.database.read(
            lambda connection: stored.recipients_of(connection, project.id)
        )
        return [one for one in found if one.kind is not RecipientKind.STATUS]

    async def add(
        self,
        principal: Principal,
        project: Project,
        on: Sequence[Occasion],
        *,
        email: str | None,
        webhook: str | None,
    ) -> Recipient:
        """One of the two. Raises Invalid."""
        principal.require(Right.MANAGE)
        if (email is None) == (webhook is None):
            raise Invalid("give either an e-mail address or a webhook's")
        kind, address = self._checked(email, webhook)
        recipient_id = new_id()
        await _SEALED.set(
            self.core,
            principal,
            project,
            json.dumps({"address": email or webhook}),
            also=lambda connection: stored.count_tells(connection, project.id),
            id=recipient_id,
            kind=kind.value,
            address=address,
            occasions=" ".join(dict.fromkeys(occasion.value for occasion in on)),
        )
        found = await self.core.database.read(
            lambda connection: stored.find_recipient(connection, recipient_id)
        )
        if found is None:
            raise NotFound("the notification was removed meanwhile")
        return found

    def _checked(self, email: str | None, webhook: str | None) -> tuple[RecipientKind, str]:
        """Its kind, and what may be shown of it."""
        if email is not None:
            if (fault := email_problem(email)) is not None:
                raise Invalid(f"{email[:100]!r} {fault}")
            if self.mailer is None:
                raise Invalid(NO_MAIL)
            return RecipientKind.EMAIL, email
        try:
            return RecipientKind.WEBHOOK, self.http.server_of(webhook or "")
        except RemoteFailed as error:
            raise Invalid(f"the webhook's address: {error}") from error

    async def remove(self, principal: Principal, project: Project, recipient_id: str) -> None:
        """Raises NotFound."""
        principal.require(Right.MANAGE)
        missing = "the project has no such notification"
        if recipient_id == project.id:  # its forge's
            raise NotFound(missing)

        async def also(connection: AsyncConnection) -> None:
            await forget_recipient(connection, recipient_id, self.core.now())
            await stored.count_tells(connection, project.id)

        await _SEALED.remove(self.core, principal, project, missing, also=also, id=recipient_id)

    def signing_secret(self, project: Project) -> str:
        """With which all its webhooks are signed."""
        return self.core.keys.outgoing_secret(project.id)

    # How

    async def deliver(
        self, message: Message, recipient: Recipient | None, project: Project
    ) -> Outcome:
        facts = Facts.from_json(message.facts)
        on = recipient.occasions.split() if recipient else facts.on
        if on is None:
            return GONE
        try:
            broken_before, address = await self.core.database.read(
                lambda connection: self._read(connection, message, recipient, facts)
            )
        except NotSealedHere:
            return SEALED_ELSEWHERE
        occasion = chosen(facts.status, on, broken_before=broken_before)
        if occasion is None:
            return NOTHING
        if address is None:
            reason = (
                f"the project has no secret {facts.secret}, which holds the address, or none that "
                "this build may have"
            )
            return Outcome(answered=Answered.REFUSED, reason=reason)
        told = Told(
            occasion=occasion,
            project=project,
            message=message,
            facts=facts,
            link=f"{self.core.public_url}/builds/{message.build_id}",
        )
        if message.kind is RecipientKind.EMAIL:
            return await self._mail(address, told)
        call = webhook_call(address, self.signing_secret(project), told)
        read = await ask(self.http, call, lambda reply: read_reply(reply, self.core.now()))
        return without(address, read)

    async def _read(
        self,
        connection: AsyncConnection,
        message: Message,
        recipient: Recipient | None,
        facts: Facts,
    ) -> tuple[bool, str | None]:
        """Whether it was broken before; and where to, None where the secret is missing."""
        broken = await failed_before(connection, message.build_id)
        if recipient is not None:
            row = {
                "project_id": recipient.project_id,
                "id": recipient.id,
                "sealed": recipient.sealed,
            }
            return broken, str(json.loads(_SEALED.open(self.core, row))["address"])
        if facts.secret is None:
            return broken, facts.email
        name = facts.secret
        build = await find_build(connection, message.build_id)
        opened = await open_secrets(self.core, connection, build, [name], build) if build else {}
        return broken, opened[name].strip() if name in opened else None

    async def _mail(self, address: str, told: Told) -> Outcome:
        if self.mailer is None:
            return Outcome(answered=Answered.REFUSED, reason=NO_MAIL, final=True)
        try:
            await self.mailer.send(address, told.title, mail_text(told))
        except RemoteFailed as error:
            answered = Answered.REFUSED if error.permanent else Answered.BUSY
            return Outcome(answered=answered, reason=str(error))
        return Outcome(answered=Answered.TAKEN)
