"""Other versions of pushrod than this one, to run beside it: each a folder of code."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from coordinator.storage.migrate import HEAD

ROOT = Path(__file__).parents[2]
CODE = ("agent", "coordinator", "pushrod", "pipelines-schema")
WITH_PEERS = "88d648f8"
"""The first commit of which several coordinators work beside each other, as it was landed."""
NEXT_HEAD = f"{int(HEAD) + 1:04}"
LEFT_OUT = shutil.ignore_patterns("*.egg-info", "*.pyc.*")
"""Of a copy; the latter are what is being compiled at this moment."""
_MIGRATION = f'''"""what the next version adds"""

import sqlalchemy as sa
from alembic import op

revision = "{NEXT_HEAD}"
down_revision = "{HEAD}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("builds", sa.Column("added", sa.Text, nullable=False, server_default="next"))
    op.create_index("ix_builds_added", "builds", ["project_id", "added"])
'''


def code_of(commit: str, folder: Path) -> Path | None:
    """As it was at that commit; None where the clone has no such commit."""
    archived = subprocess.run(
        ["git", "-C", str(ROOT), "archive", "--format=tar", commit, *CODE],
        capture_output=True,
        check=False,
    )
    if archived.returncode != 0:
        return None
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archived.stdout, check=True)
    return folder


def this_code(folder: Path) -> Path:
    """A copy of this version."""
    # With what is compiled of it, which goes by the files' size and time: they are the same.
    for name in CODE:
        shutil.copytree(ROOT / name, folder / name, ignore=LEFT_OUT)
    return folder


def next_code(folder: Path) -> Path:
    """This version and one migration more."""
    storage = this_code(folder) / "coordinator" / "storage"
    migrate = storage / "migrate.py"
    text, changed = re.subn(
        rf'^HEAD = "{HEAD}"$', f'HEAD = "{NEXT_HEAD}"', migrate.read_text(), flags=re.MULTILINE
    )
    assert changed == 1
    migrate.write_text(text)
    (storage / "migrations" / "versions" / f"{NEXT_HEAD}_next.py").write_text(_MIGRATION)
    return folder


def program(code: Path) -> Sequence[str]:
    """`pushrod` of that folder, and of no other: also in the processes that it starts."""
    path = f"PYTHONPATH={code}:{code / 'pipelines-schema'}"
    return ["env", path, "PYTHONSAFEPATH=1", sys.executable, "-m", "pushrod"]
