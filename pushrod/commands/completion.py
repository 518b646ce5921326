"""`pushrod completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

INSTALL = {
    "bash": 'eval "$(pushrod completion bash)"     # in ~/.bashrc',
    "zsh": 'eval "$(pushrod completion zsh)"      # in ~/.zshrc, after compinit',
    "fish": "pushrod completion fish > ~/.config/fish/completions/pushrod.fish",
}
VARIABLE = "_PUSHROD_COMPLETE"
"""What click's scripts set when the shell asks."""


@click.command(epilog="To have it in every shell: " + "; ".join(INSTALL.values()))
@click.argument("shell", type=click.Choice(list(INSTALL)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the shell's completion script; its first line says how to install it."""
    script = get_completion_class(shell)
    assert script is not None  # noqa: S101 the choices are click's own shells
    root = context.find_root()
    # Not `source()`: for bash that runs bash to look at its version, slow and not always there.
    made = script(root.command, {}, "pushrod", VARIABLE)
    click.echo(f"# install: {INSTALL[shell]}")
    click.echo(made.source_template % made.source_vars())
