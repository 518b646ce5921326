"""A file that LFS keeps, the text of its pointer, and a project that has both."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tests.integration.coordinator_fixture import Caller, WorkTree, new_work_tree
from tests.integration.source_fixture import track_with_lfs, workflow_of

LOCAL = {
    "allow_http_repositories": True,
    "allow_private_addresses": True,
    "fetch_retry_seconds": 0.05,
    "fetch_attempts": 2,
}
BIG = bytes(range(256)) * 5000
SUM = hashlib.sha256(BIG).hexdigest()
LOOK = workflow_of("sha256sum big.bin | cut -c1-64; stat -c %a big.bin; head -c 7 lookalike")
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{SUM}\nsize {len(BIG)}\n"
SEEN = f"{SUM}\n755\nversion"


async def commit_with_lfs(tree: WorkTree, **files: str | bytes) -> str:
    """`big.bin` is kept by LFS and may be executed; `lookalike` is only the text of a pointer."""
    await track_with_lfs(tree)
    (tree.folder / "big.bin").write_bytes(BIG)
    (tree.folder / "big.bin").chmod(0o755)
    return await tree.commit({"lookalike": POINTER, **files})


async def app_with_lfs(
    admin: Caller, folder: Path, workflow: str = LOOK
) -> tuple[dict[str, Any], WorkTree]:
    project = await admin.new_project(name="app")
    tree = await new_work_tree(folder, admin, project, "app")
    await commit_with_lfs(tree, **{".pushrod.yml": workflow})
    return project, tree
