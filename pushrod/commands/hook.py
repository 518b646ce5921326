"""`pushrod hook install`: a bare repository tells the coordinator of its pushes."""

from __future__ import annotations

import hashlib
import os
import subprocess
from importlib.resources import files
from pathlib import Path

import click

from pushrod.client import call
from pushrod.connection import (
    ConnectionOptions,
    connection_options,
    resolve_connection,
    resolve_url,
)
from pushrod.errors import CommandError
from pushrod.presentation import say
from pushrod.references import find_project, is_id

MARK = "# pushrod: the post-receive hook"
HMAC_BLOCK_BYTES = 64


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
@connection_options
def install(options: ConnectionOptions, folder: Path, project: str, secret_file: Path) -> None:
    """Install a post-receive hook into the repository FOLDER.

    It needs sh, curl and sha256sum (or openssl) there. Those who push must be able to read
    FOLDER/pushrod, which holds the key.
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
