"""A coordinator elsewhere: reachable, the token taken, the clocks alike."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from pushrod.connection import Connection, is_local
from pushrod.doctor.finding import Finding, fail, ok, warn
from pushrod.errors import describe_connection_error
from pushrod.transport import quoted

ANSWER_SECONDS = 1.0
MAX_ACCOUNTS = 20
SHOWN_PROJECTS = 5
CLOCK_WARN_SECONDS = 30.0


async def check_coordinator(url: str, token: str | None) -> list[Finding]:
    """Without a token only whether a coordinator answers."""
    session = aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS), trust_env=not is_local(url)
    )
    async with session:
        try:
            async with session.get(f"{url}/healthz", allow_redirects=False) as answer:
                healthy = answer.status == 200 and await answer.text() == "ok\n"
                date = answer.headers.get("Date")
            if not healthy:
                return [
                    fail(
                        "coordinator",
                        f"what answers at {url} is no coordinator",
                        "export PUSHROD_URL=http://HOST:PORT",
                    )
                ]
            findings = [ok("coordinator", f"answers at {url}"), *_compare_clocks(date)]
            if token is not None:
                connection = Connection(url=url, token=token)
                findings += await _check_token(session, connection)
            return findings
        except (aiohttp.ClientError, TimeoutError, OSError, UnicodeDecodeError) as error:
            reason = describe_connection_error(error)
            return [fail("coordinator", f"{url} can't be reached: {reason}", f"curl -v {url}/")]


async def _check_token(session: aiohttp.ClientSession, connection: Connection) -> list[Finding]:
    status, accounts = await _get(session, connection, "/api/accounts")
    if status == 403:
        return [ok("token", "valid; not a person's (an agent may register with it)")]
    if status != 200:
        return [
            fail(
                "token",
                f"the coordinator does not take it (status {status})",
                "pushrod token create NAME --role developer  # on the coordinator's machine",
            )
        ]
    valid = ok("token", f"valid for {len(accounts)} account(s)")
    return [
        valid,
        *await _look_at_forges(session, connection, accounts),
        *await _look_at_retention(session, connection),
    ]


async def _look_at_retention(
    session: aiohttp.ClientSession, connection: Connection
) -> list[Finding]:
    """Whether anything old is ever deleted; nothing for a token of one account."""
    headers = {"Authorization": f"Bearer {connection.token}"}
    url = f"{connection.url}/api/retention"
    try:
        async with session.get(url, headers=headers, allow_redirects=False) as answer:
            found = json.loads(await answer.read()) if answer.status == 200 else None
    except (aiohttp.ClientError, TimeoutError):  # it answers, if slowly: that is all we asked
        return []
    if not isinstance(found, dict) or found.get("enforced", True):
        return []
    return [
        warn(
            "retention",
            "no old build is ever deleted: this installation had builds before there were limits",
            "pushrod retention show  # what would go; then: pushrod retention set --enforce",
        )
    ]


async def _look_at_forges(
    session: aiohttp.ClientSession, connection: Connection, accounts: Sequence[Any]
) -> list[Finding]:
    """Of all projects at forges that hear nothing of their builds, one finding."""
    untold: list[str] = []
    try:
        for account in accounts[:MAX_ACCOUNTS]:
            untold += await _untold(session, connection, str(account["id"]))
    except (aiohttp.ClientError, TimeoutError):  # it answers, if slowly: that is all we asked
        return []
    if not untold:
        return []
    names = ", ".join(untold[:SHOWN_PROJECTS])
    more = f" and {len(untold) - SHOWN_PROJECTS} more" if len(untold) > SHOWN_PROJECTS else ""
    return [
        warn(
            "statuses",
            f"no token for the forge, which is told nothing of builds: {names}{more}",
            f"pushrod project set {untold[0]} --forge-token-file FILE",
        )
    ]


async def _untold(
    session: aiohttp.ClientSession, connection: Connection, account_id: str
) -> list[str]:
    _, projects = await _get(session, connection, f"/api/projects?accountId={quoted(account_id)}")
    return [
        f"{one['account']}/{one['slug']}"
        for one in projects
        if "repoUrl" in one and "tellsForge" not in one and "archivedAt" not in one
    ]


async def _get(
    session: aiohttp.ClientSession, connection: Connection, path: str
) -> tuple[int, list[Any]]:
    """The status, and the list that is answered, if one is."""
    headers = {"Authorization": f"Bearer {connection.token}"}
    url = f"{connection.url}{path}"
    async with session.get(url, headers=headers, allow_redirects=False) as answer:
        found = json.loads(await answer.read()) if answer.status == 200 else []
        return answer.status, found if isinstance(found, list) else []


def _compare_clocks(date: str | None) -> list[Finding]:
    try:
        there: datetime | None = parsedate_to_datetime(date) if date else None
    except ValueError:
        there = None
    if there is None:
        return []
    apart = abs(time.time() - there.timestamp())
    if apart < CLOCK_WARN_SECONDS:
        return [ok("clocks", "this machine's and the coordinator's agree")]
    return [
        warn(
            "clocks",
            f"this machine's and the coordinator's are {apart:.0f} s apart",
            "timedatectl set-ntp true  # on both",
        )
    ]
