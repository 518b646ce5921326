"""The agent's own credential: registering for it, keeping it, and getting another once refused."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from agent.coordinator_client import CoordinatorClient
from agent.coordinator_errors import CallRefusedError, CoordinatorError, CredentialRefusedError
from agent.retries import keep_trying, pause_after, pause_until
from agent.settings import AgentSettings
from pipelines_schema.contract import RegisterRequest

logger = logging.getLogger(__name__)


class RegistrationRefusedError(Exception):
    """The coordinator does not take this agent; the message is the coordinator's."""


class SignIn:
    """Gives the client its credential. Used on the event loop alone."""

    def __init__(
        self,
        settings: AgentSettings,
        client: CoordinatorClient,
        *,
        instance: str,
        end_scripts: Callable[[], Awaitable[None]],
    ) -> None:
        """`end_scripts` returns when no script runs and none is being begun."""
        self._settings, self._client, self._instance = settings, client, instance
        self._end_scripts = end_scripts
        self._registering = asyncio.Lock()

    def is_still_good(self, credential: str) -> bool:
        """Whether what was handed out under it is this agent's. False from the moment on at which
        the scripts begin to be ended: no other may begin behind that."""
        return credential == self._client.credential and not self._registering.locked()

    async def first(self, draining: asyncio.Event) -> bool:
        """Have a credential; False if drained before. Raises RegistrationRefusedError."""
        settings = self._settings
        stored = await asyncio.to_thread(read_credential, settings.data_dir, settings.url)
        if stored is not None:
            self._client.credential = stored
            return True

        async def registered() -> bool:
            if draining.is_set():
                return False
            await self._register()
            return True

        try:
            return await keep_trying(
                registered,
                lambda error: logger.warning("the coordinator can't be reached: %s", error),
                pause=lambda seconds: pause_until(draining, seconds),
            )
        except (CredentialRefusedError, CallRefusedError) as error:
            raise RegistrationRefusedError(
                f"the coordinator at {settings.url} refused the registration: {error}"
            ) from error

    async def again(self, refused: str) -> None:
        """This credential was refused: get another, unless there is another already. Returns, with
        a pause, also if that failed.

        The coordinator takes what was handed out under the refused one for lost as soon as it hears
        of that one here, and gives it to others: so the scripts are ended before.
        """
        async with self._registering:
            if self._client.credential != refused:
                return
            await self._end_scripts()
            try:
                await self._register(previous=refused)
            except CoordinatorError as error:
                logger.error("registering anew: %s", error)
                await pause_after(10)

    async def _register(self, previous: str | None = None) -> None:
        settings = self._settings
        request = RegisterRequest(
            name=settings.name,
            labels=dict(settings.labels),
            slots=settings.slots,
            instance=self._instance,
            previous=previous,
        )
        answer = await self._client.register(settings.token, request)
        await asyncio.to_thread(write_credential, settings.data_dir, settings.url, answer.token)
        self._client.credential = answer.token
        logger.info("registered as agent %s", answer.agent_id)


def read_credential(data_dir: Path, url: str) -> str | None:
    """The agent's own token, if it was issued by the coordinator at this URL."""
    try:
        stored = json.loads((data_dir / "credential").read_text("utf-8"))
        return str(stored["token"]) if stored["url"] == url else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_credential(data_dir: Path, url: str, token: str) -> None:
    temporary = data_dir / "credential.new"
    number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(number, "w", encoding="utf-8") as file:
        json.dump({"url": url, "token": token}, file)
        file.flush()
        os.fsync(number)
    os.replace(temporary, data_dir / "credential")
