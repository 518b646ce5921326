"""The `pushrod` command: its table of commands; each is imported when it is called."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import click

from pushrod.connection import ConnectionOptions
from pushrod.interrupts import end_when_swallowed, is_interrupt
from pushrod.lazy_group import LazyGroup

COMMANDS = {
    "up": ("pushrod.commands.up:up", "Run coordinator, agent and engine, all local."),
    "demo": ("pushrod.commands.demo:demo", "Show the whole way from a git push to a build."),
    "coordinator": ("pushrod.commands.coordinator:coordinator", "Run the coordinator alone."),
    "agent": ("pushrod.commands.agent:agent", "Run an agent, admit and manage agents."),
    "backup": ("pushrod.commands.backup:backup", "Copy the installation while it runs."),
    "restore": ("pushrod.commands.backup:restore", "Make an installation of a backup."),
    "migrate": (
        "pushrod.commands.migrate:migrate",
        "Move the installation to PostgreSQL and a bucket.",
    ),
    "engine": ("pushrod.commands.engine:engine", "The private BuildKit engine: up, down, status."),
    "doctor": ("pushrod.commands.doctor:doctor", "Say what this machine lacks, and what mends it."),
    "validate": ("pushrod.commands.validate:validate", "Check workflow files, without a server."),
    "run": ("pushrod.commands.run:run", "Run a workflow of the working tree, here and now."),
    "import": ("pushrod.commands.import_:import_", "Write workflows from another system's files."),
    "project": ("pushrod.commands.project:project", "Create and list projects; their credentials."),
    "why": ("pushrod.commands.why:why", "Say why a step ran, or what it was taken from."),
    "build": ("pushrod.commands.build:build", "Create, list, cancel, retry, approve builds."),
    "delivery": ("pushrod.commands.delivery:delivery", "Webhooks in, messages out; repeat one."),
    "hook": ("pushrod.commands.hook:hook", "Make a bare repository tell of its pushes."),
    "logs": ("pushrod.commands.logs:logs", "Print the log of a build or step, live with -f."),
    "artifact": (
        "pushrod.commands.artifact:artifact",
        "List and download what steps have left.",
    ),
    "tests": ("pushrod.commands.tests:tests", "Test results, coverage; the history of a test."),
    "retention": ("pushrod.commands.retention:retention", "What is kept, and for how long."),
    "storage": ("pushrod.commands.storage:storage", "What uses how much, by project and kind."),
    "image": ("pushrod.commands.image:image", "Name container images by slugs."),
    "registry": (
        "pushrod.commands.registry:registry",
        "Log projects in to registries, for images to pull and to push.",
    ),
    "secret": ("pushrod.commands.secret:secret", "Set, list and delete a project's secrets."),
    "key": ("pushrod.commands.key:key", "Make the key that an installation's secrets need."),
    "token": ("pushrod.commands.token:token", "Create, list and revoke tokens."),
    "user": ("pushrod.commands.user:user", "Create, list and change users with passwords."),
    "git-credential": (
        "pushrod.commands.git_credential:git_credential",
        "Give git the token (a credential helper).",
    ),
    "completion": (
        "pushrod.commands.completion:completion",
        "Print the shell's completion script.",
    ),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--url", help="The coordinator (or PUSHROD_URL).")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that holds the token (or PUSHROD_TOKEN).",
)
@click.version_option(package_name="pushrod", message="pushrod %(version)s")
@click.pass_context
def pushrod(context: click.Context, url: str | None, token_file: Path | None) -> None:
    """Self-hosted CI that turns a git push into running containers."""
    context.obj = ConnectionOptions(url=url, token_file=token_file)


def main() -> None:
    """The console script. Ctrl-C ends a command as a signal does everywhere: 130, and no words."""
    end_when_swallowed()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 1  # also of what is not caught here
    # The first that is registered comes last, when threads and temporary folders had their end.
    atexit.register(lambda: _end(code))
    try:
        code = pushrod.main(prog_name="pushrod", standalone_mode=False) or 0
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:
        code = _told(error)
    sys.exit(code)


def _told(error: BaseException) -> int:
    """The exit code. Raises what is a fault of ours."""
    if isinstance(error, click.Abort) or is_interrupt(error):
        return 130
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, BrokenPipeError):  # whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    raise error


def _end(code: int) -> None:
    """Where the object store's library was used, with the interpreter left standing: a thread of
    it that has just told its result waits for the interpreter once more, and in 3.11 dies of its
    being gone by an abort of the whole process, after all was done (seen: exit code -6)."""
    if "obstore" not in sys.modules:
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
