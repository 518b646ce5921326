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
    token: str = field(repr=False)
    forge: str | None
    url: str | None


def forge_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that become the argument `access`, None where no token is given."""

    @click.option(
        "--forge-token-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File that holds the forge's token, or USER:TOKEN: it is told of builds.",
    )
    @click.option(
        "--forge",
        metavar="KIND",
        help="github, gitlab, gitea, forgejo, bitbucket, bitbucket-server (default: by the host).",
    )
    @click.option("--forge-url", metavar="URL", help="The forge's own address, if it has a path.")
    @functools.wraps(command)
    def with_access(
        *args: Any,
        forge_token_file: Path | None,
        forge: str | None,
        forge_url: str | None,
        **options: Any,
    ) -> Any:
        access = _access(forge_token_file, forge, forge_url)
        return command(*args, access=access, **options)

    return with_access


def _access(file: Path | None, forge: str | None, url: str | None) -> ForgeAccess | None:
    if file is None:
        if forge is not None or url is not None:
            raise CommandError("--forge and --forge-url go with --forge-token-file")
        return None
    return ForgeAccess(token=read_secret_file(file), forge=forge, url=url)


def read_secret_file(path: Path) -> str:
    """Its one line. Raises CommandError."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise CommandError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} holds no token or key: it must be ASCII") from error


def set_access(
    options: ConnectionOptions, project_id: str, access: ForgeAccess | None
) -> Json | None:
    """Keep it, or forget it where it is None; where builds are told then."""

    async def change(client: Client) -> Json | None:
        if access is None:
            await client.remove_forge_token(project_id)
            return None
        return await client.set_forge_token(
            project_id, token=access.token, forge=access.forge, url=access.url
        )

    return call(resolve_connection(options), change)
