"""Check runs at GitHub, where a project has an App's id and key."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from coordinator.domain.outbox.calls import Answered, Call, Outcome, Reply
from coordinator.domain.outbox.forge_place import AppKey, CheckForge, ForgePlace
from coordinator.domain.outbox.messages import MAX_PROBLEMS, Facts, Message, Status
from coordinator.domain.outbox.test_places import problems_of_tests
from coordinator.ports import OutgoingHttp
from coordinator.services.core import Core
from coordinator.services.outbox.app_tokens import signed_token
from coordinator.services.outbox.asking import ask_for_reply
from coordinator.storage.outputs.result_comparisons import failed_places

TOKEN_KEPT_FOR = timedelta(minutes=50)
"""Of an hour."""
MAX_REMEMBERED = 2_000
"""Check runs that have not ended, so that the next state changes the same one."""


@dataclass(slots=True)
class Checks:
    core: Core
    http: OutgoingHttp
    forge: CheckForge
    _tokens: dict[tuple[str, str, int], tuple[str, datetime]] = field(default_factory=dict)
    """By forge, repository and App: the installation's, and until when it is good."""
    _runs: OrderedDict[tuple[str, str], int] = field(default_factory=OrderedDict)
    """By build and context."""

    async def deliver(
        self, message: Message, place: ForgePlace, app: AppKey, facts: Facts, link: str
    ) -> Outcome:
        """A run whose answer was lost, or which an earlier process made, is found and changed: by
        the build's id, which it has from us."""
        outcome, token = await self._token(place, app)
        if token is None:
            return outcome
        key = (message.build_id, facts.context)
        as_installed = replace(place, token=token)
        run = self._runs.get(key)
        if run is None:
            outcome, reply = await self._ask(self.forge.find_checks(as_installed, facts))
            if outcome.answered is Answered.BUSY:
                return outcome
            run = self.forge.check_in(reply, message.build_id) if reply else None
        facts = await self._with_tests(message, facts)
        call = self.forge.set_check(as_installed, facts, link, message.build_id, run)
        outcome, reply = await self._ask(call)
        if outcome.answered is Answered.REFUSED:  # the token, or the run, may be gone
            self._tokens.pop(_of(place, app), None)
            self._runs.pop(key, None)
        if reply is not None and outcome.answered is Answered.TAKEN:
            self._remember(key, None if facts.status.is_over else self.forge.id_of(reply))
        return outcome

    async def _with_tests(self, message: Message, facts: Facts) -> Facts:
        """Of what failed, with the places of its failed tests besides."""
        if facts.status is not Status.FAILURE:
            return facts
        failed = await self.core.database.read(
            lambda connection: failed_places(connection, message.build_id, limit=MAX_PROBLEMS)
        )
        problems = [*(facts.problems or ()), *problems_of_tests(failed, facts.step)]
        return replace(facts, problems=problems[:MAX_PROBLEMS] or None)

    def _remember(self, key: tuple[str, str], run: int | None) -> None:
        self._runs.pop(key, None)
        if run is not None:
            self._runs[key] = run
        while len(self._runs) > MAX_REMEMBERED:
            self._runs.popitem(last=False)

    async def try_app(self, place: ForgePlace, app: AppKey) -> Outcome:
        """Whether it gets a token that may write checks."""
        self._tokens.pop(_of(place, app), None)
        outcome, _ = await self._token(place, app)
        return outcome

    async def _token(self, place: ForgePlace, app: AppKey) -> tuple[Outcome, str | None]:
        """An installation's; else what the forge said instead."""
        now = self.core.now()
        kept = self._tokens.get(_of(place, app))
        if kept is not None and kept[1] > now:
            return Outcome(answered=Answered.TAKEN), kept[0]
        as_app = replace(place, token=signed_token(app, now))
        outcome, reply = await self._ask(self.forge.find_installation(as_app))
        installation = self.forge.id_of(reply) if reply else None
        if installation is None:
            return _missing(outcome, "the App is not installed in this repository"), None
        outcome, reply = await self._ask(self.forge.get_token(as_app, installation))
        token = self.forge.token_of(reply) if reply else None
        if token is None:
            return _missing(outcome, "the App gets no token that may write checks"), None
        self._tokens[_of(place, app)] = (token, now + TOKEN_KEPT_FOR)
        return outcome, token

    async def _ask(self, call: Call) -> tuple[Outcome, Reply | None]:
        return await ask_for_reply(self.http, call, self.core.now())


def _of(place: ForgePlace, app: AppKey) -> tuple[str, str, int]:
    return place.url, place.repository, app.id


def _missing(outcome: Outcome, words: str) -> Outcome:
    if outcome.answered is Answered.BUSY:
        return outcome
    said = f" ({outcome.reason})" if outcome.reason else ""
    return Outcome(answered=Answered.REFUSED, reason=words + said)
