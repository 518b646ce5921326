"""The files of a commit that steps name as their `inputs`: what they are, by their ids alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coordinator.git.opened import CommitMissing, find_commit, opened
from coordinator.ports import MAX_INPUT_FILES, TooManyFiles
from pipelines_schema.input_files import is_input, may_hold_inputs, shown_path

if TYPE_CHECKING:
    import pygit2


def input_files(path: Path, sha: str, wanted: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """One walk for all lists, into no folder in which none can find anything."""
    import pygit2

    with opened(path) as repository:
        commit = find_commit(repository, sha)
        if commit is None:
            raise CommitMissing(sha)
        found: list[dict[str, str]] = [{} for _ in wanted]
        try:
            _walk(repository, commit.tree, wanted, found)
        except pygit2.GitError as error:
            raise CommitMissing(sha) from error
        return found


def _walk(
    repository: pygit2.Repository,
    root: pygit2.Tree,
    wanted: Sequence[Sequence[str]],
    found: Sequence[dict[str, str]],
) -> None:
    import pygit2
    from pygit2.enums import FileMode

    todo = [("", root, list(range(len(wanted))))]
    while todo:
        folder, tree, lists = todo.pop()
        for entry in tree:
            name = folder + shown_path(entry.raw_name or b"")
            if entry.filemode == FileMode.TREE:
                below = [one for one in lists if may_hold_inputs(wanted[one], name)]
                if below:
                    todo.append((name + "/", repository[entry.id].peel(pygit2.Tree), below))
                continue
            for one in lists:
                if _counts(wanted[one], name, is_module=entry.filemode == FileMode.COMMIT):
                    found[one][name] = f"{entry.filemode:o} {entry.id}"
                    if len(found[one]) > MAX_INPUT_FILES:
                        raise TooManyFiles


def _counts(patterns: Sequence[str], name: str, *, is_module: bool) -> bool:
    """A submodule does where a file in it may be meant: its commit says what they are."""
    if is_module and may_hold_inputs(patterns, name):
        return True
    return is_input(patterns, name)
