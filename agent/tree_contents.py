"""What a work tree holds besides its commit's own bytes: submodules, and LFS files' content.

Kept beside the tree, so that a switch to another commit rewrites only what differs. Paths are
relative to the tree, with bytes that are not UTF-8 as os.fsdecode gives them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from pipelines_schema.contract_sources import LfsObject


@dataclass(slots=True)
class TreeContents:
    gitlinks: dict[str, str] = field(default_factory=dict)
    """Where the trees name a submodule's commit: path → commit."""
    laid: dict[str, str] = field(default_factory=dict)
    """The submodules whose files are there: path → commit."""
    pointers: dict[str, LfsObject] = field(default_factory=dict)
    """Files that are LFS pointers in git: path → what they point to."""
    filled: dict[str, str] = field(default_factory=dict)
    """Those of them that have their content: path → oid."""

    def forget(self, path: str) -> None:
        """A file or folder was removed."""
        below = path + "/"
        for known in (self.gitlinks, self.laid, self.pointers, self.filled):
            for name in [name for name in known if name == path or name.startswith(below)]:
                del known[name]

    def submodule_of(self, path: str) -> str:
        """The innermost submodule that a file is in; empty for the project itself."""
        inside = [name for name in self.laid if path.startswith(name + "/")]
        return max(inside, key=len, default="")

    def pointers_by_submodule(self) -> dict[str, list[str]]:
        groups: dict[str, list[str]] = {}
        for path in self.pointers:
            groups.setdefault(self.submodule_of(path), []).append(path)
        return groups

    def save(self, file: Path) -> None:
        values = {
            "gitlinks": self.gitlinks,
            "laid": self.laid,
            "pointers": {path: item.to_json() for path, item in self.pointers.items()},
            "filled": self.filled,
        }
        file.write_text(json.dumps(values), "ascii")

    @classmethod
    def load(cls, file: Path) -> TreeContents | None:
        """None where an agent that knew nothing of this, or a kill, left none."""
        try:
            values = json.loads(file.read_text("ascii"))
            pointers = values["pointers"].items()
            return cls(
                gitlinks=values["gitlinks"],
                laid=values["laid"],
                pointers={path: LfsObject.model_validate(item) for path, item in pointers},
                filled=values["filled"],
            )
        except (OSError, ValueError, KeyError, AttributeError):
            return None
