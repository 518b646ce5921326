"""Which coordinator a command talks to, and with which token."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from pushrod.errors import CommandError, describe_os_error

DEFAULT_URL = "http://127.0.0.1:3000"
LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
ADMIN_TOKEN_NAME = "admin-token"  # noqa: S105 the name of a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A coordinator's base URL, without a slash at its end, and a token for it."""

    url: str
    token: str = field(repr=False)
    socket: Path | None = None
    """The path that it listens on, where that is no port: `url` is but its name then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    """`--url` and `--token-file` as given, before the command or after it."""

    url: str | None = None
    token_file: Path | None = None


def default_data_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Where `pushrod up` keeps its data: PUSHROD_DATA, else below the user's data folder."""
    variables = os.environ if environment is None else environment
    if chosen := variables.get("PUSHROD_DATA"):
        return Path(chosen).absolute()
    home = Path(variables.get("HOME") or "/").absolute()
    return Path(variables.get("XDG_DATA_HOME") or home / ".local/share") / "pushrod"


def is_local(url: str) -> bool:
    """Whether the URL names this machine."""
    return urlsplit(url).hostname in LOCAL_HOSTS


def checked_url(url: str) -> str:
    """The URL without its last slash. Raises CommandError if it isn't one of a coordinator."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise CommandError(f"the URL {url!r} must look like {DEFAULT_URL}")
    if parts.username is not None or parts.password is not None:
        raise CommandError("the URL must not hold a token: give it by --token-file")
    return url.rstrip("/")


def read_token(path: Path) -> str:
    """The token that stands alone in a file. Raises CommandError, never showing the content."""
    try:
        token = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise CommandError(
            f"the token file {path} can't be read: {describe_os_error(error)}"
        ) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"the token file {path} holds something else than a token") from error
    if not token or len(token.split()) != 1:
        raise CommandError(f"the token file {path} must hold one token and nothing else")
    return token


def resolve_url(options: ConnectionOptions, environment: Mapping[str, str] | None = None) -> str:
    """`--url`, else PUSHROD_URL, else the local default. Raises CommandError."""
    variables = os.environ if environment is None else environment
    return checked_url(options.url or variables.get("PUSHROD_URL") or DEFAULT_URL)


def resolve_connection(
    options: ConnectionOptions, environment: Mapping[str, str] | None = None
) -> Connection:
    """`--token-file`, else PUSHROD_TOKEN, else, for a local URL, the data folder's admin token.

    Raises: CommandError that says how to give a token.
    """
    variables = os.environ if environment is None else environment
    url = resolve_url(options, variables)
    if options.token_file is not None:
        return Connection(url=url, token=read_token(options.token_file))
    if token := variables.get("PUSHROD_TOKEN", "").strip():
        return Connection(url=url, token=token)
    fallback = default_data_folder(variables) / ADMIN_TOKEN_NAME
    if is_local(url) and fallback.exists():
        return Connection(url=url, token=read_token(fallback))
    raise CommandError(
        "no token: give one by --token-file FILE or in PUSHROD_TOKEN"
        + (f" (there is no {fallback})" if is_local(url) else "")
    )


def connection_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--url` and `--token-file`; the command gets both as one `options` argument.

    The group takes them too, before the command: the nearer one wins.
    """

    @click.option("--url", help=f"The coordinator (or PUSHROD_URL; default {DEFAULT_URL}).")
    @click.option(
        "--token-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File that holds the token (or PUSHROD_TOKEN).",
    )
    @wraps(command)
    def with_options(*, url: str | None, token_file: Path | None, **arguments: Any) -> None:
        outer = click.get_current_context().find_object(ConnectionOptions) or ConnectionOptions()
        options = ConnectionOptions(url=url or outer.url, token_file=token_file or outer.token_file)
        command(options=options, **arguments)

    return with_options


def server_url_option(command: Callable[..., None]) -> Callable[..., None]:
    """As `connection_options`, for a command whose own `--token-file` is another server's."""

    @click.option("--url", help=f"The coordinator (or PUSHROD_URL; default {DEFAULT_URL}).")
    @wraps(command)
    def with_options(*, url: str | None, **arguments: Any) -> None:
        outer = click.get_current_context().find_object(ConnectionOptions) or ConnectionOptions()
        options = ConnectionOptions(url=url or outer.url, token_file=outer.token_file)
        command(options=options, **arguments)

    return with_options
