"""The token with which a project's forge is told of its builds, as commands take it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from pushrod.client import Client, call
from pushrod.connection import ConnectionOptions, resolve_connection
from pushrod.errors import CommandError
from pushrod.transport import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgeAccess:
    token: str | None = field(repr=False)
    app_id: int | None
    app_key: str | None = field(repr=False)
    """The two of a GitHub App, instead of a token."""
    url: str | None


def forge_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that become the argument `access`, None where no token is given."""

    @click.option(
        "--forge-token-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File that holds the forge's token, or USER:TOKEN: it is told of builds.",
    )
    @click.option(
        "--forge-app-id", type=click.IntRange(1), help="A GitHub App's, for check runs: no token."
    )
    @click.option(
        "--forge-key-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File that holds the App's private key.",
    )
    @click.option("--forge-url", metavar="URL", help="The forge's own address, if it has a path.")
    @functools.wraps(command)
    def with_access(
        *args: Any,
        forge_token_file: Path | None,
        forge_app_id: int | None,
        forge_key_file: Path | None,
        forge_url: str | None,
        **options: Any,
    ) -> Any:
        if (forge_app_id is None) != (forge_key_file is None):
            raise CommandError("--forge-app-id and --forge-key-file go together")
        access = _access(forge_token_file, forge_app_id, forge_key_file, forge_url)
        return command(*args, access=access, **options)

    return with_access


def _access(
    file: Path | None, app_id: int | None, key: Path | None, url: str | None
) -> ForgeAccess | None:
    if file is None and key is None:
        if url is not None:
            raise CommandError("--forge-url goes with --forge-token-file")
        return None
    if file is not None and key is not None:
        raise CommandError("give --forge-token-file, or an App's --forge-app-id and key")
    return ForgeAccess(
        token=read_secret_file(file) if file else None,
        app_id=app_id,
        app_key=read_secret_file(key) if key else None,
        url=url,
    )


def read_secret_file(path: Path) -> str:
    """What it holds. Raises CommandError."""
    try:
        secret = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise CommandError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} holds no token or key: it must be ASCII") from error
    if not secret:
        raise CommandError(f"{path} is empty")
    return secret


def set_access(
    options: ConnectionOptions, project_id: str, access: ForgeAccess | None
) -> Json | None:
    """Keep it, or forget it where it is None; where builds are told then."""

    async def change(client: Client) -> Json | None:
        if access is None:
            await client.remove_forge_token(project_id)
            return None
        body = {
            "token": access.token,
            "appId": access.app_id,
            "appKey": access.app_key,
            "url": access.url,
        }
        return await client.set_forge_token(project_id, body)

    return call(resolve_connection(options), change)
