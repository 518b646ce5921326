"""`pushrod git-credential`: git's credential helper protocol, for the coordinator's URL alone."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

import click

from pushrod.connection import (
    ConnectionOptions,
    connection_options,
    resolve_connection,
    resolve_url,
)
from pushrod.presentation import say

DEFAULT_PORTS = {"http": 80, "https": 443}


@click.command("git-credential")
@click.argument("operation")
@connection_options
def git_credential(options: ConnectionOptions, operation: str) -> None:
    """Give git the token as the password for the coordinator's repositories.

    git config credential.URL.helper '!pushrod git-credential --url URL --token-file FILE'
    """
    asked = parse_attributes(sys.stdin)
    if operation != "get":
        return  # `store` and `erase` are for helpers that keep passwords, and others may come.
    ours = resolve_url(options)
    if is_for(asked, ours):
        click.echo(f"username=pushrod\npassword={resolve_connection(options).token}")
    else:
        theirs = f"{asked.get('protocol', '')}://{asked.get('host', '')}"
        say(
            f"pushrod: no token for {theirs}: the coordinator is {ours}; "
            "another is named by --url or PUSHROD_URL"
        )


def parse_attributes(lines: Iterable[str]) -> dict[str, str]:
    """git's `name=value` lines, up to an empty one."""
    attributes = {}
    for line in lines:
        name, equals, value = line.rstrip("\r\n").partition("=")
        if not name:
            break
        if equals:
            attributes[name] = value
    return attributes


def is_for(asked: Mapping[str, str], url: str) -> bool:
    """Whether git asks for the coordinator: same scheme, host and port, at or below its path."""
    ours = urlsplit(url)
    theirs = urlsplit(f"{asked.get('protocol', '')}://{asked.get('host', '')}")
    try:
        same_place = _place(theirs.scheme, theirs.hostname, theirs.port) == _place(
            ours.scheme, ours.hostname, ours.port
        )
    except ValueError:
        return False
    # git leaves the path out unless credential.useHttpPath is set.
    path = "/" + asked.get("path", "")
    base = ours.path.rstrip("/") + "/"
    return same_place and ("path" not in asked or path.startswith(base))


def _place(scheme: str, host: str | None, port: int | None) -> tuple[str, str | None, int | None]:
    return scheme, host, port if port is not None else DEFAULT_PORTS.get(scheme)
