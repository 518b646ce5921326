"""A project's webhook at its forge: made there, and looked at, by the project's own token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coordinator.domain.errors import Conflict
from coordinator.domain.model import Project
from coordinator.domain.outbox.calls import Answered, Call, Outcome, Reply, read_reply
from coordinator.domain.outbox.forge_place import AppKey, ForgePlace, Forges
from coordinator.domain.outbox.hooks import (
    Finding,
    HookForge,
    HookForges,
    SeenHook,
    UnreadableAnswer,
    WantedHook,
    bad,
    faults_of,
    good,
    may_set_status,
    those_of,
)
from coordinator.domain.outbox.messages import Facts, Status
from coordinator.domain.people.permissions import Principal, Right
from coordinator.ports import OutgoingHttp, RemoteFailed
from coordinator.services.audit import Deed
from coordinator.services.core import Core
from coordinator.services.outbox.asking import SEALED_ELSEWHERE, ask_for_reply, without
from coordinator.services.outbox.checks import Checks
from coordinator.services.outbox.forge_tokens import ForgeTokens, place_of
from coordinator.services.outbox.traffic import Traffic
from coordinator.services.projects.project_changes import webhook_secret_of
from coordinator.services.sealing import NotSealedHere

TOKEN, WEBHOOK, STATUSES = "token", "webhook", "statuses"
LATER = "check again later"
NO_COMMIT = "0" * 40
_RIGHTS = frozenset({401, 403, 404})
"""Answers that another token may change."""
_PROBE = Facts(
    status=Status.PENDING,
    words="a try of the token",
    workflow="check",
    number=0,
    event="push",
    commit=NO_COMMIT,
)
"""A status of a commit that isn't there: the answer tells whether the token has the right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _AtForge:
    """A project's repository at its forge, and its webhook as it should be."""

    project: Project
    kind: str
    forge: HookForge
    place: ForgePlace
    app: AppKey | None
    url: str

    @property
    def by_hand(self) -> str:
        """For people who have no token that may."""
        return (
            f"make it at {self.forge.page(self.place)}: address {self.url}, content type JSON, "
            f"events {', '.join(sorted(self.forge.events))}, and the secret that "
            f"`pushrod project webhook-secret {self.project.slug}` gives"
        )

    @property
    def by_token(self) -> str:
        return f"`pushrod project set {self.project.slug} --make-webhook`"

    @property
    def another_token(self) -> str:
        return f"`pushrod project set {self.project.slug} --forge-token-file FILE`"

    @property
    def another_address(self) -> str:
        """What answers there is no such API, as far as one sees."""
        option = "--forge-token-file FILE --forge-url URL"
        return (
            f"is {self.place.url} its forge, a {self.kind}? Else "
            f"`pushrod project set {self.project.slug} {option}`"
        )


@dataclass(frozen=True, slots=True)
class ForgeSetup:
    core: Core
    http: OutgoingHttp
    statuses: Forges
    hooks: HookForges
    checks: Checks
    tokens: ForgeTokens
    traffic: Traffic
    address: Callable[[str, str], str]
    """Of the webhook of a forge by its name, and a project by its id."""

    async def make(self, principal: Principal, project: Project) -> Sequence[Finding]:
        """Make the webhook, or put right the one that is there, and try the token for statuses.

        Raises Conflict where the project has no token.
        """
        principal.require(Right.MANAGE)
        at = await self._at_forge(project)
        if isinstance(at, Finding):
            raise Conflict(f"{at.says}: {at.remedy}")
        hooks = await self._hooks(at)
        seen = not isinstance(hooks, Finding)
        made = hooks if isinstance(hooks, Finding) else await self._write(principal, at, hooks)
        return [made, await self._status(at, made, seen=seen)]

    async def check(self, principal: Principal, project: Project) -> Sequence[Finding]:
        """What is there and what is missing, at the forge and here."""
        principal.require(Right.MANAGE)
        if project.repo_url is None:
            raise Conflict("this project has no repoUrl: its source is what is pushed here")
        at = await self._at_forge(project)
        here = await self.traffic.look(project)
        if isinstance(at, Finding):
            return [at, *here]
        hooks = await self._hooks(at)
        if isinstance(hooks, Finding):
            return [hooks, await self._status(at, hooks, seen=False), *here]
        found = await self._look(at, those_of(hooks, project.id, at.url))
        return [*found, await self._status(at, found[0], seen=True), *here]

    async def _at_forge(self, project: Project) -> _AtForge | Finding:
        recipient = await self.tokens.of(project)
        remedy = f"`pushrod project set {project.slug} --forge-token-file FILE`"
        if recipient is None:
            return bad(TOKEN, "this project has no token for its forge", remedy)
        try:
            place, app = place_of(self.core, recipient, project)
        except NotSealedHere:
            return bad(TOKEN, SEALED_ELSEWHERE.reason or "", remedy)
        kind = recipient.forge or ""
        return _AtForge(
            project=project,
            kind=kind,
            forge=self.hooks[kind],
            place=place,
            app=app,
            url=self.address(kind, project.id),
        )

    async def _hooks(self, at: _AtForge) -> Sequence[SeenHook] | Finding:
        """Those of the repository."""
        if at.app is not None:
            return bad(WEBHOOK, "an App's key neither sees nor makes webhooks", at.by_hand)
        outcome, reply = await self._ask(at, at.forge.list_hooks(at.place))
        if reply is None:
            return _refused(at, f"the forge doesn't show its webhooks: {outcome.reason}", outcome)
        try:
            return at.forge.read_hooks(reply)
        except UnreadableAnswer as error:
            return bad(WEBHOOK, str(error), at.another_address)

    async def _write(
        self, principal: Principal, at: _AtForge, hooks: Sequence[SeenHook]
    ) -> Finding:
        known = next(iter(those_of(hooks, at.project.id, at.url)), None)
        secret = await webhook_secret_of(self.core, at.project.id)
        wanted = WantedHook(url=at.url, secret=secret)
        for call in at.forge.write_hook(at.place, wanted, known.id if known else None):
            outcome, reply = await self._ask(at, call)
            if reply is None:
                said = (outcome.reason or "").replace(secret, "***")
                return _refused(at, f"the forge makes no webhook: {said}", outcome)
        deed = Deed(self.core, principal, at.project)
        await self.core.database.write(
            lambda connection: deed.record(connection, "forge_webhook.made", forge=at.kind)
        )
        return good(WEBHOOK, f"{'updated' if known else 'made'}: {at.url}")

    async def _look(self, at: _AtForge, own: Sequence[SeenHook]) -> Sequence[Finding]:
        if not own:
            return [bad(WEBHOOK, "there is none at the forge", f"{at.by_token}, or {at.by_hand}")]
        hook, *others = own
        found = []
        if faults := faults_of(hook, at.url, at.forge.events):
            found.append(bad(WEBHOOK, "; ".join(faults), at.by_token))
        if others:
            says = f"there are {len(own)} of this project, each of which builds"
            found.append(bad(WEBHOOK, says, f"remove the others at {at.forge.page(at.place)}"))
        if fault := hook.last_answer or await self._last_answer(at, hook):
            says = f"its last delivery went wrong, as the forge says: {fault}"
            remedy = f"see {at.forge.page(at.place)}; after a wrong secret (401) {at.by_token}"
            found.append(bad(WEBHOOK, says, remedy))
        return found or [good(WEBHOOK, f"there, with its events: {hook.url}")]

    async def _last_answer(self, at: _AtForge, hook: SeenHook) -> str | None:
        """Older versions don't tell: that is no fault."""
        call = at.forge.ask_last(at.place, hook.id)
        _, reply = await self._ask(at, call) if call else (None, None)
        try:
            return at.forge.read_last(reply) if reply else None
        except UnreadableAnswer:
            return None

    async def _status(self, at: _AtForge, before: Finding, *, seen: bool) -> Finding:
        """`before`: of what was asked first; `seen`: the token was shown the webhooks."""
        if at.app is not None:
            outcome = await self.checks.try_app(at.place, at.app)
            if outcome.answered is Answered.TAKEN:
                return good(STATUSES, "the App may write checks")
            return bad(STATUSES, outcome.reason or "", "install the App, with Checks: write")
        if before.remedy == LATER:  # to ask again would only take as long again
            return bad(STATUSES, "not tried", LATER)
        call = self.statuses[at.kind].set_status(at.place, _PROBE, self.core.public_url)
        try:
            reply = await self.http.send(call)
        except RemoteFailed as error:
            return bad(STATUSES, str(error), "can this machine reach it? Then check again")
        if may_set_status(reply, at.forge.unknown_commit, seen=seen):
            return good(STATUSES, "the token may set them")
        outcome = without(at.place.secret, read_reply(reply, self.core.now()))
        if outcome.answered is Answered.BUSY:
            return bad(STATUSES, outcome.reason or "", LATER)
        if outcome.answered is Answered.TAKEN:
            return bad(STATUSES, "the answer is a page for people", at.another_address)
        says = f"the token may not set them: {outcome.reason}"
        if outcome.status not in _RIGHTS:
            return bad(STATUSES, says, at.another_address)
        return bad(
            STATUSES, says, f"give it {at.forge.status_right}, or another: {at.another_token}"
        )

    async def _ask(self, at: _AtForge, call: Call) -> tuple[Outcome, Reply | None]:
        outcome, reply = await ask_for_reply(self.http, call, self.core.now())
        return without(at.place.secret, outcome), reply


def _refused(at: _AtForge, says: str, outcome: Outcome) -> Finding:
    if outcome.answered is Answered.BUSY:
        return bad(WEBHOOK, says, LATER)
    if outcome.status not in _RIGHTS:
        return bad(WEBHOOK, says, at.another_address)
    return bad(WEBHOOK, says, f"give the token {at.forge.hook_right}, or {at.by_hand}")
