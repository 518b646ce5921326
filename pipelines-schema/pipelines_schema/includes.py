"""What a workflow includes: files with `templates`, `defaults` and `env`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines_schema.problem import Place, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Include:
    """A file of the repository itself, at the same commit, or of another project."""

    file: str
    """Normalised path in the repository."""
    project: str | None = None
    """Slug of another project of the account."""
    ref: str | None = None
    """A tag, branch or commit of that project; None is its default branch."""
    place: Place | None = field(default=None, compare=False)

    @property
    def not_there(self) -> str:
        """That there is no such file, and what to do."""
        where = "in this repository"
        if self.project is not None:
            at = f"at {shown(self.ref)}" if self.ref else "on its default branch"
            where = f"in the project {shown(self.project)} {at}"
        return (
            f"there is no file {shown(self.file)} {where}: correct the path, or add the file; a "
            "folder or a link is none"
        )

    def __str__(self) -> str:
        """As problems name it."""
        if self.project is None:
            return self.file
        return f"{self.project}/{self.file}" + (f"@{self.ref}" if self.ref else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class IncludedFile:
    """What was found; with neither a content nor a fault it could not be looked up."""

    content: bytes | None = None
    fault: str | None = None
    """Why there is none, and what to do."""
    sha: str | None = None
    """Of the commit, where it is another project's."""


Included = Mapping[Include, IncludedFile]


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedInclude:
    """A file of another project as a build had it."""

    project: str
    ref: str | None
    file: str
    sha: str

    def to_json(self) -> dict[str, Any]:
        return {"project": self.project, "ref": self.ref, "file": self.file, "sha": self.sha}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PinnedInclude:
        return cls(project=value["project"], ref=value["ref"], file=value["file"], sha=value["sha"])
