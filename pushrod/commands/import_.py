"""`pushrod import`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import click

from pipelines_schema.limits import MAX_FILE_BYTES
from pushrod.errors import CommandError, describe_os_error
from pushrod.importing import FORMATS, Choices, Format, Imported, Unreadable, imported
from pushrod.importing.images import DEFAULT_IMAGE
from pushrod.importing.ledger import said
from pushrod.presentation import print_json, problem_line, say

NOT_WHOLE = 3
"""Exit code: written, but something was left out."""
STDOUT = Path("-")
_BRANCH = re.compile(r"ref: refs/(?:heads|remotes/origin)/(\S+)")


@dataclass(frozen=True, slots=True)
class Found:
    """The files of one format in a repository, by their paths from its root."""

    form: Format
    root: Path
    paths: Sequence[str]


@click.command(name="import")
@click.argument("path", default=".", type=click.Path(path_type=Path))
@click.option(
    "--from",
    "system",
    type=click.Choice([form.name for form in FORMATS]),
    help="Whose files, where a repository has several systems'.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File to write, `-` for stdout [default: .pushrod.yml; .pushrod/*.yml if several].",
)
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
@click.option(
    "--image", default=DEFAULT_IMAGE, show_default=True, help="Of steps that name no image."
)
@click.option("--default-branch", metavar="NAME", help="[default: what git says, else main]")
@click.option("--json", "as_json", is_flag=True, help="Tell what became of each key as JSON.")
def import_(
    path: Path,
    system: str | None,
    output: Path | None,
    force: bool,
    image: str,
    default_branch: str | None,
    as_json: bool,
) -> None:
    """Write workflows from another system's files: GitHub, GitLab, Woodpecker, Drone, Bitbucket,
    Buildkite.

    PATH is a repository (default: this folder) or one file. What is written passes `pushrod
    validate`, with a comment at each thing that could not be carried over. Exit code 0: all was
    carried over; 3: written, but something was left out; 1: nothing written.
    """
    if as_json and output == STDOUT:
        raise click.UsageError("--json and --output - both write to stdout: leave one out")
    found = _found(path, system)
    choices = Choices(image=image, default_branch=default_branch or _default_branch(found.root))
    files = {one: _content(found.root / one) for one in found.paths}
    try:
        done = imported(found.form, files, choices, lambda name: repository_file(found.root, name))
    except Unreadable as error:
        for problem in error.problems:
            click.echo(problem_line(problem.to_json()), err=True)
        raise CommandError(f"{', '.join(files)} can't be imported: nothing was written") from None
    written = _write(found.root, done.workflows, output, force)
    if as_json:
        _print_json(done, written)
    else:
        _tell(found.form, done, written)
    if not done.is_whole:
        raise click.exceptions.Exit(NOT_WHOLE)


def _found(path: Path, system: str | None) -> Found:
    """Raises CommandError where there is nothing, or it is not clear which."""
    forms = [form for form in FORMATS if system in (None, form.name)]
    if not path.exists():
        raise CommandError(f"there is no {path}")
    found = _of_file(path, forms) if not path.is_dir() else _of_folder(path, forms)
    if not found:
        looked = ", ".join(form.patterns[0] for form in forms)
        raise CommandError(
            f"nothing to import in {path.absolute()}: looked for {looked}"
            if path.is_dir()
            else f"{path}: whose file is it? Name the system by --from"
        )
    if len(found) > 1:
        listed = "; ".join(f"--from {one.form.name} ({', '.join(one.paths)})" for one in found)
        raise CommandError(f"there are files of several systems: choose {listed}")
    return found[0]


def _of_folder(root: Path, forms: Sequence[Format]) -> list[Found]:
    found: list[Found] = []
    for form in forms:
        files = [file for pattern in form.patterns for file in sorted(root.glob(pattern))]
        paths = [file.relative_to(root).as_posix() for file in files if file.is_file()]
        if paths:
            found.append(Found(form, root, list(dict.fromkeys(paths))))
    return found


def _of_file(file: Path, forms: Sequence[Format]) -> list[Found]:
    absolute = file.absolute()
    for form in forms:
        for pattern in form.patterns:
            depth = len(PurePosixPath(pattern).parts)
            tail = "/".join(absolute.parts[-depth:])
            if fnmatchcase(tail, pattern):
                return [Found(form, absolute.parents[depth - 1], [tail])]
    if len(forms) == 1:
        return [Found(forms[0], absolute.parent, [absolute.name])]
    return []


def _content(file: Path) -> bytes:
    if not file.is_file():
        raise CommandError(f"{file} is no file")
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{file} can't be read: {describe_os_error(error)}") from error


def repository_file(root: Path, name: str) -> bytes | None:
    """A file that an imported one includes; None where it is none, or behind a link."""
    parts = [part for part in PurePosixPath(name).parts if part != "/"]
    path = root.joinpath(*parts)
    beneath = [path, *(one for one in path.parents if root in one.parents)]
    if ".." in parts or any(one.is_symlink() for one in beneath) or not path.is_file():
        return None
    return _content(path)


def _default_branch(root: Path) -> str:
    """As the repository was cloned, or the branch that is checked out."""
    for name in ("refs/remotes/origin/HEAD", "HEAD"):
        file = root / ".git" / name
        try:
            found = _BRANCH.match(file.read_text(errors="replace")) if file.is_file() else None
        except OSError:
            continue
        if found:
            return found[1]
    return "main"


def _write(root: Path, workflows: Mapping[str, str], output: Path | None, force: bool) -> list[str]:
    """The files that were written; all of them or none. Raises CommandError."""
    if output is not None and len(workflows) > 1:
        raise CommandError(
            f"these are {len(workflows)} workflows ({', '.join(workflows)}), and --output names "
            "one file: import one file, or leave --output out"
        )
    if output == STDOUT:
        click.echo("".join(workflows.values()), nl=False)
        return []
    targets = {output or root / path: text for path, text in workflows.items()}
    there = [str(target) for target in targets if target.exists() or target.is_symlink()]
    if there and not force:
        raise CommandError(f"there is {', '.join(there)} already: --force overwrites it")
    for target, text in targets.items():
        try:
            _put(target, text)
        except OSError as error:
            message = f"{target} can't be written: {describe_os_error(error)}"
            raise CommandError(message) from error
    return [str(target) for target in targets]


def _put(target: Path, text: str) -> None:
    """In the place of what is there, so that a link is replaced and not followed."""
    target.parent.mkdir(exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    beside.write_text(text)
    beside.replace(target)


def _tell(form: Format, done: Imported, written: Sequence[str]) -> None:
    for report in done.reports:
        for finding in report.findings:
            say(said(finding))
    for report in done.reports:
        total = report.carried + report.changed + report.left
        say(
            f"{report.file} ({form.title}): of {total} keys, {report.carried} carried over, "
            f"{report.changed} changed in meaning, {report.left} left out"
        )
    if done.secrets:
        say(f"secrets to set (pushrod secret set PROJECT NAME): {', '.join(done.secrets)}")
    for path in written:
        say(f"wrote {path}")


def _print_json(done: Imported, written: Sequence[str]) -> None:
    print_json(
        {
            "written": list(written),
            "secrets": list(done.secrets),
            "files": [
                {
                    "file": report.file,
                    "carried": report.carried,
                    "changed": report.changed,
                    "left": report.left,
                    "findings": [
                        {
                            "file": one.place.file,
                            "line": one.place.line,
                            "column": one.place.column,
                            "key": one.what,
                            "verdict": one.verdict.name.lower(),
                            "why": one.why,
                        }
                        for one in report.findings
                    ],
                }
                for report in done.reports
            ],
        }
    )
