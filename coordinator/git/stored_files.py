"""Files that come over the API, kept as commits so that agents get them as they get any source."""

from __future__ import annotations

from collections.abc import Mapping

import pygit2
from pygit2.enums import FileMode

_NOBODY = pygit2.Signature("pushrod", "pushrod@localhost", 0, 0)
"""And no time: the commit's sha depends on its content alone."""


def store_files(
    repository: pygit2.Repository, files: Mapping[str, str], *, ref: str, message: str
) -> str:
    """A commit without parents, kept by `ref`; its sha."""
    index = pygit2.Index()
    for path, content in files.items():
        blob = repository.create_blob(content.encode())
        index.add(pygit2.IndexEntry(path, blob, _mode(content)))
    tree = index.write_tree(repository)
    commit = repository.create_commit(None, _NOBODY, _NOBODY, message, tree, [])
    repository.references.create(ref, commit, force=True)
    return str(commit)


def _mode(content: str) -> FileMode:
    return FileMode.BLOB_EXECUTABLE if content.startswith("#!") else FileMode.BLOB
