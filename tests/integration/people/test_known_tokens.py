"""Who a token speaks for is remembered for seconds, but never across its revocation."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from coordinator.domain.errors import Unauthenticated
from coordinator.domain.people.permissions import RIGHTS, Principal, PrincipalKind
from coordinator.domain.people.tokens import Role, TokenKind
from coordinator.services.people.accounts import Accounts
from coordinator.services.people.logins import Logins
from coordinator.storage.database import Database
from tests.integration.core_fixture import open_core

pytestmark = pytest.mark.usefixtures("each_database")

ADMIN = Principal(
    kind=PrincipalKind.PERSON,
    name="admin",
    token_id="t",
    account_id=None,
    rights=RIGHTS[Role.ADMIN],
)


@dataclass(slots=True)
class SlowReader:
    """A database whose answers to reads are under way until they are let go."""

    database: Database
    read_done: asyncio.Event = field(default_factory=asyncio.Event)
    arrives: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, work: Any) -> Any:
        answer = await self.database.read(work)
        self.read_done.set()
        await self.arrives.wait()
        return answer

    async def write(self, work: Any, **options: Any) -> Any:
        return await self.database.write(work, **options)

    async def note(self, work: Any) -> None:
        await self.database.note(work)


async def test_an_answer_of_before_a_revocation_is_not_remembered_after_it(tmp_path: Path) -> None:
    async with open_core(tmp_path) as tested:
        slow = SlowReader(tested.core.database)
        core = replace(tested.core, database=cast("Any", slow))
        accounts = Accounts(core, Logins(core))
        token, _, secret = await accounts.create_token(
            ADMIN,
            kind=TokenKind.USER,
            name="leaver",
            role=Role.VIEWER,
            account=None,
            all_accounts=True,
            expires_in=None,
        )
        asked = asyncio.create_task(accounts.authenticate(secret))
        await slow.read_done.wait()
        await accounts.revoke_token(ADMIN, token.id)
        slow.arrives.set()
        await asked
        with pytest.raises(Unauthenticated):
            await accounts.authenticate(secret)
