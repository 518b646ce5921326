"""`pushrod hook install`: a bare repository tells the coordinator of its pushes."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import subprocess
from importlib.resources import files
from pathlib import Path

import aiohttp
import click

from pushrod.client import call, run
from pushrod.connection import (
    ConnectionOptions,
    connection_options,
    is_local,
    resolve_connection,
    resolve_url,
)
from pushrod.errors import CommandError, describe_connection_error
from pushrod.presentation import say
from pushrod.references import find_project, is_id
from pushrod.transport import error_message

MARK = "# pushrod: the post-receive hook"
HMAC_BLOCK_BYTES = 64
PING = b'{"event":"ping"}'
PING_SECONDS = 10.0


@click.group()
def hook() -> None:
    """Make a bare repository tell the coordinator of its pushes."""


@hook.command("install")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--project", required=True, help="Its id (or slug, which needs a token).")
@click.option(
    "--secret-file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that holds the project's webhook secret.",
)
@click.option("--force", is_flag=True, help="Install it though the coordinator refuses the secret.")
@connection_options
def install(
    options: ConnectionOptions, folder: Path, project: str, secret_file: Path, *, force: bool
) -> None:
    """Install a post-receive hook into the repository FOLDER.

    A ping tries the secret first. The hook needs sh, curl and sha256sum (or openssl) there. Those
    who push must be able to read FOLDER/pushrod, which holds the key.
    """
    project_id = project
    if not is_id(project):
        connection = resolve_connection(options)
        found = call(connection, lambda client: find_project(client, project))
        project_id = str(found["id"])
    url = f"{resolve_url(options)}/api/webhooks/generic/{project_id.lower()}"
    secret = _read_secret(secret_file)
    git_folder, hooks = (_git_path(folder, *name) for name in (_GIT_FOLDER, _HOOKS))
    script = hooks / "post-receive"
    if script.exists() and MARK not in script.read_text("utf-8", "replace"):
        raise CommandError(f"{script} is another hook: move it away, or call ours from it")
    _try(url, secret, force=force)
    home = git_folder / "pushrod"
    for place in (home, home / "spool"):
        place.mkdir(mode=0o700, exist_ok=True)
    inner, outer = hmac_blocks(secret)
    _write(home / "inner.key", inner, 0o600)
    _write(home / "outer.key", outer, 0o600)
    _write(home / "url", url.encode() + b"\n", 0o600)
    hooks.mkdir(exist_ok=True)
    _write(script, files("pushrod").joinpath("post_receive.sh").read_bytes(), 0o755)
    say(f"installed {script}; pushes to {git_folder} are told to {url}")


_GIT_FOLDER = ("--absolute-git-dir",)
_HOOKS = ("--path-format=absolute", "--git-path", "hooks")


def hmac_blocks(secret: bytes) -> tuple[bytes, bytes]:
    """RFC 2104: what the inner and the outer digest begin with."""
    if len(secret) > HMAC_BLOCK_BYTES:
        secret = hashlib.sha256(secret).digest()
    padded = secret.ljust(HMAC_BLOCK_BYTES, b"\0")
    return bytes(byte ^ 0x36 for byte in padded), bytes(byte ^ 0x5C for byte in padded)


def _try(url: str, secret: bytes, *, force: bool) -> None:
    """Say what a signed ping brings. Raises CommandError where no push would ever be taken."""
    try:
        status, said = run(_ping(url, secret))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        reason = describe_connection_error(error)
        say(f"warning: the coordinator can't be reached, so the secret is not tried: {reason}")
        return
    if 200 <= status < 300:
        say("the coordinator takes the secret")
    elif status in (401, 404) and not force:
        raise CommandError(
            f"{url} answers a ping with {status}: {said}; nothing is installed: "
            "check --url, --project and the secret, or install it all the same by --force"
        )
    else:
        say(f"warning: {url} answers a ping with {status}: {said}")


async def _ping(url: str, secret: bytes) -> tuple[int, str]:
    """Status, and what an error says."""
    headers = {
        "Content-Type": "application/json",
        "X-Pushrod-Delivery": f"ping-{secrets.token_hex(8)}",
        "X-Pushrod-Signature-256": f"sha256={hmac.new(secret, PING, 'sha256').hexdigest()}",
    }
    timeout = aiohttp.ClientTimeout(total=PING_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout, trust_env=not is_local(url)) as session,
        session.post(url, data=PING, headers=headers, allow_redirects=False) as answer,
    ):
        said = error_message(await answer.read())
        return answer.status, said or str(answer.reason or "no reason given")


def _read_secret(path: Path) -> bytes:
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise CommandError(f"{path} can't be read: {error.strerror}") from error
    if not secret or b"\n" in secret:
        raise CommandError(f"{path} must hold the webhook secret, one line")
    return secret


def _git_path(folder: Path, *name: str) -> Path:
    answer = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", *name],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if answer.returncode != 0:
        raise CommandError(f"{folder} is no git repository: {answer.stderr.strip()}")
    return Path(answer.stdout.rstrip("\n"))


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all: a push may run the hook at any time."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.chmod(mode)
    temporary.replace(path)
