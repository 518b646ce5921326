"""Who may have a git process now: a bounded number of them, shared out fairly.

A person's clients are as slow as they like, and steps can't begin without their source. So some of
the slots are the agents' own, and of the others no account ever has more than half.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

AGENTS_OWN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GitClient:
    """For whom a git process is to run."""

    account_id: str
    is_agent: bool = False
    """It fetches the source of a step."""


ANYBODY = GitClient(account_id="")


@dataclass(slots=True)
class GitSlots:
    """`agents_own` of `total` are kept for agents, who may have any of them."""

    total: int
    agents_own: int = 0
    _agents: Counter[str] = field(default_factory=Counter)
    """How many of the agents' own slots an account's have."""
    _accounts: Counter[str] = field(default_factory=Counter)
    """How many of the others an account has."""
    _waiting: list[tuple[GitClient, asyncio.Future[bool]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # One is for the others, however few there are.
        self.agents_own = min(self.agents_own, self.total - 1)

    @asynccontextmanager
    async def slot(self, client: GitClient) -> AsyncIterator[None]:
        """Waits for its turn; those of one kind and account in the order they came."""
        is_own = self._take(client)
        if is_own is None:
            is_own = await self._wait(client)
        try:
            yield
        finally:
            self._give_back(client, is_own)

    def _take(self, client: GitClient) -> bool | None:
        """Whether the slot is one of the agents' own; None if there is none for this client."""
        if client.is_agent and self._has_own_slot_for(client.account_id):
            self._agents[client.account_id] += 1
            return True
        others = self.total - self.agents_own
        share = max(others // 2, 1)
        if self._accounts.total() < others and self._accounts[client.account_id] < share:
            self._accounts[client.account_id] += 1
            return False
        return None

    def _has_own_slot_for(self, account_id: str) -> bool:
        # Of several, one account's agents leave one to the others'.
        share = max(self.agents_own - 1, 1)
        return self._agents.total() < self.agents_own and self._agents[account_id] < share

    def _give_back(self, client: GitClient, is_own: bool) -> None:
        taken = self._agents if is_own else self._accounts
        taken[client.account_id] -= 1
        if not taken[client.account_id]:
            del taken[client.account_id]
        self._hand_on()

    def _hand_on(self) -> None:
        """To whoever came first of those who may have it now."""
        still_waiting = []
        for client, turn in self._waiting:
            is_own = None if turn.done() else self._take(client)
            if is_own is not None:
                turn.set_result(is_own)
            elif not turn.done():
                still_waiting.append((client, turn))
        self._waiting = still_waiting

    async def _wait(self, client: GitClient) -> bool:
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((client, turn))
        try:
            return await turn
        except asyncio.CancelledError:
            # It may have got its turn in the very moment in which its client went.
            if turn.done() and not turn.cancelled():
                self._give_back(client, turn.result())
            raise
