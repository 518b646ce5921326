"""Files that come over the API, kept as commits so that agents get them as they get any source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pygit2


def store_files(
    repository: pygit2.Repository, files: Mapping[str, str], *, ref: str, message: str
) -> str:
    """A commit without parents, kept by `ref`; its sha."""
    import pygit2
    from pygit2.enums import FileMode

    index = pygit2.Index()
    for path, content in files.items():
        blob = repository.create_blob(content.encode())
        mode = FileMode.BLOB_EXECUTABLE if content.startswith("#!") else FileMode.BLOB
        index.add(pygit2.IndexEntry(path, blob, mode))
    tree = index.write_tree(repository)
    # By nobody, and at no time: the commit's sha depends on its content alone.
    nobody = pygit2.Signature("pushrod", "pushrod@localhost", 0, 0)
    commit = repository.create_commit(None, nobody, nobody, message, tree, [])
    repository.references.create(ref, commit, force=True)
    return str(commit)
