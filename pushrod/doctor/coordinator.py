"""A coordinator elsewhere: reachable, the token taken, the clocks alike."""

from __future__ import annotations

import json
import time
from datetime import datetime
from email.utils import parsedate_to_datetime

import aiohttp

from pushrod.connection import Connection, is_local
from pushrod.doctor.finding import Finding, fail, ok, warn
from pushrod.errors import describe_connection_error

ANSWER_SECONDS = 1.0
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
                findings.append(await _check_token(session, Connection(url=url, token=token)))
            return findings
        except (aiohttp.ClientError, TimeoutError, OSError, UnicodeDecodeError) as error:
            reason = describe_connection_error(error)
            return [fail("coordinator", f"{url} can't be reached: {reason}", f"curl -v {url}/")]


async def _check_token(session: aiohttp.ClientSession, connection: Connection) -> Finding:
    headers = {"Authorization": f"Bearer {connection.token}"}
    url = f"{connection.url}/api/accounts"
    async with session.get(url, headers=headers, allow_redirects=False) as answer:
        if answer.status == 403:
            return ok("token", "valid; not a person's (an agent may register with it)")
        if answer.status == 200:
            return ok("token", f"valid for {len(json.loads(await answer.read()))} account(s)")
        return fail(
            "token",
            f"the coordinator does not take it (status {answer.status})",
            "pushrod token create NAME --role developer  # on the coordinator's machine",
        )


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
